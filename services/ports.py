"""What the use cases need from the outside world, as small protocols, and how it can fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from decision_engine.contact_ledger import ReservationRequest
from decision_engine.features.linked import LinkRef
from decision_engine.identifiers import CustomerId, DecisionId
from decision_engine.outcomes import Outcome
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from decision_engine.volume_view import VolumeUse, VolumeView


class ShellError(Exception):
    """Base of the shell's errors."""


class StoreUnavailable(ShellError):
    """The store did not answer in time, or not at all."""


class StoreSlow(StoreUnavailable):
    """The store is there and did not answer in time; what was asked may still happen."""


class BusUnavailable(ShellError):
    """The bus did not acknowledge in time, or not at all."""


class SettingsInvalid(ShellError):
    """One or more settings are unknown, malformed or contradict each other."""


class StrategyUnknown(ShellError):
    """No strategy of that version is kept, or what is kept cannot be trusted or read."""


class Clock(Protocol):
    """The moment decisions and windows are read at; during a replay it follows the events."""

    def now_ms(self) -> int: ...


class IdFactory(Protocol):
    """Makes sortable unique ids (ULID text, 26 characters)."""

    def new_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StoredState:
    """A customer's state as stored; None where there is none."""

    customer_id: CustomerId
    value: bytes | None


@dataclass(frozen=True, slots=True)
class MemoryWrite:
    """A new trigger memory (None: none any more), accepted only while the stored one is still `expected`. `due_ms` is
    the earliest moment something of it is due, noted in the due index of the customer's `partition` with it; after
    `keep_ms` milliseconds the memory lapses (None: never)."""

    customer_id: CustomerId
    expected: bytes | None
    value: bytes | None
    partition: int
    due_ms: int | None
    keep_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StateWrite:
    """A new value (empty: none any more), accepted only while the stored one is still `expected` (None: while there is
    none). With `memory` both are accepted, or neither."""

    customer_id: CustomerId
    expected: bytes | None
    value: bytes
    memory: MemoryWrite | None = None


class StateStore(Protocol):
    """Customer states of one layout. Raises StoreUnavailable."""

    async def load(self, customer_id: CustomerId) -> bytes | None: ...

    async def load_many(self, customer_ids: Sequence[CustomerId]) -> list[bytes | None]:
        """In the order asked, one round trip."""
        ...

    async def save_many(self, writes: Sequence[StateWrite]) -> list[CustomerId]:
        """Writes in one round trip under the version check; answers the customers whose state had changed meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class DueCustomer:
    """A customer of a partition of whom something is due, and the moment as noted (epoch milliseconds)."""

    customer_id: CustomerId
    due_ms: int


class TriggerStore(Protocol):
    """Trigger memories, and by partition the moments at which something of them is due. Raises StoreUnavailable."""

    async def load_watched(
        self, customer_ids: Sequence[CustomerId], watched: Sequence[CustomerId]
    ) -> tuple[list[bytes | None], list[bytes | None]]:
        """The states of the former and the memories of the latter, in the order asked, one round trip."""
        ...

    async def remember(self, writes: Sequence[MemoryWrite]) -> list[CustomerId]:
        """Writes in one round trip; answers the customers whose memory had changed meanwhile."""
        ...

    async def due(self, partition: int, until_ms: int, most: int) -> list[DueCustomer]:
        """Those of whom something is due up to that moment, the earliest first."""
        ...

    async def begun(self, now_ms: int) -> int:
        """When these memories were begun: now, if there were none. What fired before may have been published by an
        owner whose memories are lost."""
        ...

    async def postpone(self, partition: int, moved: Sequence[tuple[DueCustomer, int | None]]) -> None:
        """Notes later moments (None: nothing is due), except where a sooner one was noted meanwhile."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactResponse:
    """An outcome for one tracked contact. The scope keys and flags let a lost record be made anew. `response_id` is
    told apart by whose it is."""

    response_id: str
    tracking: bytes
    outcome: Outcome
    at_ms: int
    offer: int
    group: int
    issue: int
    channel: int
    flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseClaim:
    """A response id being given for `says`, which names the option and the outcome."""

    customer_id: CustomerId
    response_id: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierResponse:
    """What is known of a response id: what it was given for before (None: it is new), whether its response is on the
    bus, and whether it was taken in whole."""

    said: str | None = None
    published: bool = False
    taken: bool = False


class ContactLedger(Protocol):
    """One person's contacts over all channels. Raises StoreUnavailable."""

    async def read(self, customer_id: CustomerId) -> bytes | None:
        """The records as stored (`decision_engine.contact_ledger.decode_records`)."""
        ...

    async def reserve(self, customer_id: CustomerId, request: ReservationRequest) -> list[int | None]:
        """Checks and reserves in one atomic step: for each position the index of the alternative taken, or None."""
        ...

    async def claim_responses(self, claims: Sequence[ResponseClaim]) -> list[EarlierResponse]:
        """Binds each response id to what it says, unless it is bound already; what was known of it. One round trip."""
        ...

    async def respond(self, customer_id: CustomerId, responses: Sequence[ContactResponse]) -> list[bool]:
        """Applies outcomes atomically; False for those whose response id had been applied before."""
        ...


class VolumeHold(Protocol):
    """Units taken from volumes for one option, until they are charged or given back."""


class VolumeLeases(Protocol):
    """This node's part of the bank's volumes. Charges are local; `commit` makes them known to the store, which must
    happen before anything charged is handed out."""

    @property
    def rebuilding(self) -> bool:
        """Whether nothing can be handed out because what was is being read from the log."""
        ...

    def view(self, now_ms: int) -> VolumeView:
        """What may be handed out now, and at what price; valid until the loop's next turn."""
        ...

    def hold(self, use: VolumeUse, now_ms: int) -> VolumeHold | None:
        """Takes all of these units, or none (None)."""
        ...

    def give_back(self, hold: VolumeHold) -> None: ...

    async def commit(self, holds: Sequence[VolumeHold]) -> bool:
        """Whether the store has these on record; if not, they are void. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerReading:
    """What one round trip brings for a decision. `claimed` is the answer or claim another request with the same
    idempotency key left behind, None when the key is now ours (or none was given)."""

    state: bytes | None
    ledger: bytes | None
    claimed: bytes | None = None
    complete: bool = True
    """Whether the states hold the whole log. If not, what a person refused or withdrew may be among what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedOption:
    """What a response needs to know of the option it answers."""

    tracking_id: str
    decision_id: DecisionId
    customer_id: CustomerId
    offer: str
    group: str
    issue: str
    treatment: str
    channel: str
    placement: str
    decided_ms: int
    flags: int = 0
    """What the contact ledger keeps of the option besides its keys (mandatory, outbound)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyClaim:
    """One attempt's hold on an idempotency key: `value`, which no other attempt has, stands under the key until the
    answer does."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """A customer's profile said at a moment that its link has a value, such as a household's id."""

    link: str
    value: str
    customer_id: CustomerId
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvidence:
    """What online learning has counted of one partition of the log, as stored: a header that says how far the log was
    taken, cells and options by name."""

    header: bytes
    cells: Mapping[str, bytes]
    options: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceWrite:
    """What changed of it (None: gone), accepted only while the header is still `expected` (None: none yet)."""

    expected: bytes | None
    header: bytes
    cells: Mapping[str, bytes | None]
    options: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceChange:
    """The cells that were written since (None: gone), and the header they were written under last."""

    header: bytes
    cells: Mapping[str, bytes | None]


class EvidenceStore(Protocol):
    """What online learning has counted, by partition of the log. Raises StoreUnavailable."""

    async def header(self, partition: int) -> bytes | None: ...

    async def load(self, partition: int) -> StoredEvidence | None: ...

    async def save(self, partition: int, write: EvidenceWrite) -> bool:
        """Writes all of it in one step, or nothing: False where the header was another."""
        ...


class EvidenceReader(Protocol):
    """The same for those who decide by it. Raises StoreUnavailable."""

    async def headers(self) -> dict[int, bytes]:
        """By partition; a header that is the same means the same evidence."""
        ...

    async def cells(self, partition: int) -> dict[str, bytes]: ...

    async def changes(self, partition: int, known: bytes, header: bytes) -> EvidenceChange | None:
        """What was written since the evidence with the header `known`, up to the one with `header` at least; None
        where that cannot be told, and all has to be read."""
        ...


class CustomerReader(Protocol):
    """Where the states of one layout are read. Raises StoreUnavailable."""

    async def read_for_decision(self, customer_id: CustomerId, claim: IdempotencyClaim | None) -> CustomerReading:
        """State, ledger and what stands under the idempotency key in one round trip; claims the key when it is free."""
        ...

    async def read_linked(self, customer_id: CustomerId, refs: Sequence[LinkRef]) -> list[list[bytes | None]]:
        """For each link the states of those it may lead to, the customer's own left out, newest members first."""
        ...


class LinkMembers(Protocol):
    """Who said to belong where, by link and value. Too many is harmless: whoever reads asks the members' states. Raises
    StoreUnavailable."""

    async def join(self, memberships: Sequence[Membership]) -> None:
        """One round trip; repeatable."""
        ...

    async def leave(self, memberships: Sequence[Membership]) -> None:
        """Forgets what they said up to the moments given, as for those who are erased. Repeatable."""
        ...


class DecisionStore(CustomerReader, Protocol):
    """Recent decisions by id, tracked options by tracking id, answers by idempotency key. Raises StoreUnavailable."""

    async def claim(self, claim: IdempotencyClaim) -> bytes | None:
        """Claims the key: None when it is this claim's, now or since before, else what another attempt left there."""
        ...

    async def claimed(self, idempotency_key: str) -> bytes | None: ...

    async def save(
        self,
        decision_id: DecisionId,
        record: bytes,
        options: Sequence[TrackedOption],
        claim: IdempotencyClaim | None,
        answer: bytes,
    ) -> bytes | None:
        """Keeps the record, its options and the idempotent answer, one round trip; the answer as `keep_answer` does,
        and nothing at all where another attempt has the key."""
        ...

    async def keep_answer(self, claim: IdempotencyClaim, answer: bytes) -> bytes | None:
        """Puts the answer under its key if the key is free, or has this claim or this answer. None when it is kept,
        else what another attempt left there. Repeating it changes nothing."""
        ...

    async def record(self, decision_id: DecisionId) -> bytes | None: ...

    async def tracked(self, tracking_ids: Sequence[str]) -> list[TrackedOption | None]: ...


class SessionStore(Protocol):
    """Sessions of people at the screens, by the SHA-256 (hexadecimal) of their tokens. Raises StoreUnavailable."""

    async def load(self, digest: str) -> bytes | None: ...

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        """Keeps it for so long."""
        ...

    async def remove(self, digest: str) -> None: ...


class AccessReasons(Protocol):
    """Why persons have opened customers. All raise StoreUnavailable."""

    async def give_reason(self, person: str, customer_id: str, reason: str, seconds: int) -> None:
        """Keeps it for so long."""
        ...

    async def reason(self, person: str, customer_id: str) -> str | None:
        """None where none was given, or not lately."""
        ...


class RecentCustomers(Protocol):
    """Which customers a person at the screens opened last. Raises StoreUnavailable."""

    async def opened(self, person: str, customer_id: str, at_ms: int) -> None: ...

    async def recent(self, person: str) -> list[tuple[str, int]]:
        """Customers with the moment of opening (epoch milliseconds), the newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """A CloudEvent ready for the bus: its topic, key (the customer id) and structured JSON bytes."""

    topic: str
    key: str
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)
    partition: int | None = None
    """Where it is to stand; None: where its key belongs."""
    record_of: DecisionId | None = None
    """The decision whose record it is."""


BusPosition = tuple[str, int, int]
"""Topic, partition, offset."""


class EventPublisher(Protocol):
    """The way onto the bus."""

    async def publish(self, events: Sequence[OutgoingEvent]) -> Sequence[BusPosition]:
        """Returns when the bus has acknowledged all of them, with their positions. Raises BusUnavailable."""
        ...

    def enqueue(self, event: OutgoingEvent) -> None:
        """Hands over without waiting; bounded. Raises BusUnavailable when the buffer is full."""
        ...


class Delivery(NamedTuple):
    """One record as it came from the bus."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int = 0
    """When the record reached the bus (epoch milliseconds)."""


class ModelProvider(Protocol):
    """The scorers that are live now; a swap replaces the whole mapping at once."""

    def scorers(self) -> Scorers: ...


class StrategyVersions(Protocol):
    """Every strategy that ever decided, by version."""

    def prepared(self, version: str) -> PreparedStrategy:
        """Reads files when the version is not at hand: not for the event loop. Raises StrategyUnknown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceUse:
    """A node (`role` is `api`, `state-builder` or `rebuild`) that serves or builds the states of a layout, and for
    which strategy version."""

    role: str
    node: str
    layout: str
    version: str


class Metrics(Protocol):
    """The measurements of contract.md, by their names without the prefix; labels are bounded by the strategy."""

    def observe(self, name: str, value: float, **labels: str) -> None: ...

    def observe_each(self, name: str, observations: Sequence[tuple[str, float]]) -> None:
        """One observation for each of these values of the only label that the metric has."""
        ...

    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...

    def count_each(self, name: str, series: Sequence[tuple[str, ...]], amounts: NDArray[np.int64]) -> None:
        """Raises many counters of one name at once: those with these label values, in the order declared, by as much
        each. `series` is known by its identity and must not change."""
        ...

    def gauge(self, name: str, value: float, /, **labels: str) -> None: ...
