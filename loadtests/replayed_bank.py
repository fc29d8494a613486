"""What the API stands on in `loadtests.replayed_decisions`: the simulated bank's states, a ledger a customer, volumes
and a bus, all in this process, of which one or another fails in every so manieth decision.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decision_engine.contact_ledger import ReservationRequest, encode_records
from decision_engine.features.linked import LinkRef
from decision_engine.identifiers import CustomerId, DecisionId, key64
from decision_engine.kill_switches import Switches
from decision_engine.online import OnlinePlan, OnlineTable, Row
from decision_engine.outcomes import Outcome
from decision_engine.propensity import FeatureSchema, Matrix, Scorer
from decision_engine.scoring import PRIOR
from decision_engine.volume_view import VolumeStanding, VolumeUse, VolumeView
from event_schemas.topics import DECISIONS
from services.ports import (
    BusPosition,
    BusUnavailable,
    ContactResponse,
    CustomerReading,
    EarlierResponse,
    IdempotencyClaim,
    Metrics,
    OutgoingEvent,
    ResponseClaim,
    StoreUnavailable,
    TrackedOption,
    VolumeHold,
)
from services.simulation.in_process_ledger import InProcessLedger
from services.simulation.in_process_states import InProcessStates
from services.use_cases.kill_switches import KillSwitches

EVERY = {
    "read": 17, "reserve": 19, "ledger bytes": 23, "state bytes": 29, "lost": 11, "refused": 37, "model": 31,
    "links": 7, "save": 41, "hold": 13, "commit": 43, "rebuilding": 47, "incomplete": 53,
}  # fmt: skip
"""Each of these goes wrong in every so manieth decision; "lost" means that another decision took the first place."""
SWITCHES = ("", "offer:reward_coffee", "group:cards", "channel:mobile", "model:cross_sell")
"""Kill switches engaged in turn, for one decision in so many each."""


class Failing(Protocol):
    """Says which decision it is, and whether something goes wrong in it."""

    @property
    def number(self) -> int: ...

    def wrong(self, what: str) -> bool: ...


class LinkedStates(InProcessStates):
    """States as bytes, and those of the people and companies a customer is linked to."""

    def bytes_of(self, customer_id: str, now_ms: int) -> bytes | None:
        """The state as it is folded up to now."""
        self._read_alone(customer_id, now_ms)
        return self._states.get(customer_id)

    def linked(self, customer_id: str, refs: Sequence[LinkRef], now_ms: int) -> list[list[bytes | None]]:
        """For each link the states of those it may lead to."""
        return [[self.bytes_of(other, now_ms) for other in self._others(ref, customer_id)] for ref in refs]


@dataclass
class ReplayedBank:
    """Store, ledger, bus, clock and ids of a node. `number` is the decision's, `moment` its time."""

    states: LinkedStates
    ledgers: dict[str, InProcessLedger] = field(default_factory=dict)
    published: list[OutgoingEvent] = field(default_factory=list)
    saved: dict[str, bytes] = field(default_factory=dict)
    number: int = 0
    moment: int = 0

    def wrong(self, what: str) -> bool:
        """Whether its turn has come."""
        return self.number % EVERY[what] == 0

    async def read_for_decision(self, customer_id: CustomerId, claim: IdempotencyClaim | None) -> CustomerReading:
        if self.wrong("read"):
            raise StoreUnavailable("gone")
        records = self._ledger(customer_id).records
        ledger = encode_records(records) if records else None
        return CustomerReading(
            state=b"\x07junk" if self.wrong("state bytes") else self.states.bytes_of(customer_id, self.moment),
            ledger=b"odd" if self.wrong("ledger bytes") else ledger,
            complete=not self.wrong("incomplete"),
        )

    async def read_linked(self, customer_id: CustomerId, refs: Sequence[LinkRef]) -> list[list[bytes | None]]:
        if self.wrong("links"):
            raise StoreUnavailable("gone")
        return self.states.linked(customer_id, refs, self.moment)

    async def claim(self, claim: IdempotencyClaim) -> bytes | None:
        return None

    async def claimed(self, idempotency_key: str) -> bytes | None:
        return None

    async def save(
        self,
        decision_id: DecisionId,
        record: bytes,
        options: Sequence[TrackedOption],
        claim: IdempotencyClaim | None,
        answer: bytes,
    ) -> bytes | None:
        if self.wrong("save"):
            raise StoreUnavailable("gone")
        self.saved[decision_id] = record
        return None

    async def keep_answer(self, claim: IdempotencyClaim, answer: bytes) -> bytes | None:
        return None

    async def record(self, decision_id: DecisionId) -> bytes | None:
        return self.saved.get(decision_id)

    async def tracked(self, tracking_ids: Sequence[str]) -> list[TrackedOption | None]:
        return [None for _ in tracking_ids]

    async def read(self, customer_id: CustomerId) -> bytes | None:
        return encode_records(self._ledger(customer_id).records)

    async def reserve(self, customer_id: CustomerId, request: ReservationRequest) -> list[int | None]:
        if self.wrong("reserve"):
            raise StoreUnavailable("gone")
        if self.wrong("refused"):
            return [None] * len(request.positions)
        taken = self._ledger(customer_id).reserve(request)
        if self.wrong("lost"):
            taken[0] = 1 if len(request.positions[0]) > 1 else None
        return taken

    async def claim_responses(self, claims: Sequence[ResponseClaim]) -> list[EarlierResponse]:
        return [EarlierResponse() for _ in claims]

    async def respond(self, customer_id: CustomerId, responses: Sequence[ContactResponse]) -> list[bool]:
        return [True for _ in responses]

    def note(self, customer_id: str, tracking_id: str, outcome: Outcome) -> None:
        """What the customer did with an option, so that ledgers have something to say."""
        tracking = key64(tracking_id).to_bytes(8, "little")
        self._ledger(customer_id).respond(tracking, outcome, self.moment + 500)

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[BusPosition]:
        raise BusUnavailable("decisions are enqueued")

    def enqueue(self, event: OutgoingEvent) -> None:
        if event.topic == DECISIONS:
            self.published.append(event)

    def now_ms(self) -> int:
        return self.moment

    def new_id(self) -> str:
        self.number += 1
        return f"01JDAY{self.number:020}"

    def _ledger(self, customer_id: str) -> InProcessLedger:
        return self.ledgers.setdefault(customer_id, InProcessLedger())


class EngagedSwitches(KillSwitches):
    """Kill switches that are engaged for some decisions and released for others."""

    def __init__(self, metrics: Metrics, bank: Failing) -> None:
        super().__init__(metrics)
        self._bank = bank

    def __call__(self) -> Switches:
        """Those of this decision."""
        number = self._bank.number
        engaged = SWITCHES[number // 3 % len(SWITCHES)]
        return (engaged,) if number % 3 == 0 and engaged else ()


class Leases:
    """This node's part of the volumes, of which another number of units is left at another price in every decision."""

    def __init__(self, volumes: Sequence[str], bank: Failing) -> None:
        self._volumes = volumes
        self._bank = bank

    @property
    def rebuilding(self) -> bool:
        return self._bank.wrong("rebuilding")

    def view(self, now_ms: int) -> VolumeView:
        number = self._bank.number
        return {volume: _standing(number + place, place) for place, volume in enumerate(self._volumes)}

    def hold(self, use: VolumeUse, now_ms: int) -> VolumeHold | None:
        return None if self._bank.wrong("hold") else _Hold()

    def give_back(self, hold: VolumeHold) -> None: ...

    async def commit(self, holds: Sequence[VolumeHold]) -> bool:
        return not self._bank.wrong("commit")


def _standing(turn: int, place: int) -> VolumeStanding:
    return VolumeStanding(remaining=turn % 5, paced=turn % 3 == 0, price=37.25 * (turn % 9) / (1 + place))


class _Hold:
    """Units of a decision."""


class Unreliable:
    """A model that raises whenever its turn has come."""

    def __init__(self, scorer: Scorer, bank: Failing) -> None:
        self.version: str = scorer.version
        self.schema: FeatureSchema = scorer.schema
        self._scorer, self._bank = scorer, bank

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        if self._bank.wrong("model"):
            raise RuntimeError("out of memory")
        return self._scorer.score(matrix)


def beliefs(plan: OnlinePlan, versions: Sequence[str], seed: int) -> Callable[[int], OnlineTable]:
    """What online learning believes at a moment: other multipliers for every model version and segment."""
    draw, count = np.random.default_rng(seed), len(plan.treatments)

    def row() -> Row:
        return Row(multipliers=draw.uniform(0.4, 2.5, count), shapes=draw.uniform(1.0, 80.0, count))

    segments = ("", *plan.terms.segments)
    rows: Mapping[tuple[str, str], Row] = {
        (version, name): row() for version in (PRIOR, *versions) for name in segments
    }
    unseen = Row(multipliers=np.ones(count), shapes=np.ones(count))

    def table(now_ms: int) -> OnlineTable:
        return OnlineTable(treatments=plan.treatments, unseen=unseen, rows=rows, as_of_ms=now_ms - 1_000)

    return table
