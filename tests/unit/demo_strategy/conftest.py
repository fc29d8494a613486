"""A demo bank without servers: wire events are decoded and folded, decisions are reserved in a ledger in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from decision_engine.contact_ledger import ContactRecord, first_refusal
from decision_engine.decision import Candidate, Decision, DecisionRequest, PlacementRequest
from decision_engine.engine import decide, prepare, settle
from decision_engine.experiment import Arm, assign_arm
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import EVENT_FIELDS, topic_index, update_from_event
from decision_engine.identifiers import key64
from decision_engine.outcomes import ContactStatus, Fate, Outcome, status_of
from decision_engine.prepared import PreparedStrategy
from decision_engine.strategy import Strategy
from decision_engine.volume_view import VolumeStanding
from event_schemas.codec import decode, encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import topic_for
from services.adapters.file_strategy_source import load_strategy_file

FOLDER = Path(__file__).parents[3] / "deploy" / "strategies"
DAY = 86_400_000
HOUR = 3_600_000
NOW = int(datetime.fromisoformat("2026-11-21T10:00:00+08:00").timestamp()) * 1000
CHANNELS = {
    "home_banner": "mobile",
    "card_page_tile": "mobile",
    "wealth_page_tile": "mobile",
    "agent_panel": "contact_centre",
    "branch_tablet": "branch",
    "inbox_lead": "manager",
    "outbound_message": "sms",
}
CREDITWORTHY = {"age": 35, "credit_score": 720, "overdue_days": 0, "income_band": 4, "life_stage": "family_builder"}


@dataclass(slots=True)
class Person:
    """One customer of the bank, from first event to last response."""

    prepared: PreparedStrategy
    features: CompiledFeatures
    customer_id: str
    now_ms: int = NOW
    state: bytes | None = None
    records: list[ContactRecord] = field(default_factory=list)
    volumes: dict[str, VolumeStanding] = field(default_factory=dict)
    tracked: dict[str, Candidate] = field(default_factory=dict)
    decisions: int = 0
    events: int = 0

    def happens(self, event_type: str, data: Mapping[str, Any], days_ago: float = 0) -> None:
        """An event goes over the wire form into the state."""
        self.events += 1
        header = {
            "id": f"e-{self.events}",
            "source": "bank",
            "subject": self.customer_id,
            "time": from_epoch_ms(self.now_ms - int(days_ago * DAY)),
        }
        event = decode(encode_trusted(event_type, header, data))
        update = PositionedUpdate(topic_index(topic_for(event_type)), self.events, update_from_event(event))
        folded = fold(self.features, self.state, [update])
        assert folded.applied + folded.late == 1  # late: outside every window, yet what is held or known counts
        self.state = folded.value

    def is_known_as(self, **attributes: Any) -> None:
        self.happens("bank.profile.updated", {"attributes": attributes})

    def posts(self, direction: str, kind: str, amount: int, days_ago: float = 0, **more: Any) -> None:
        """A posting of so many minor units."""
        data = {"account_id": "1", "direction": direction, "kind": kind, "amount": amount, "currency": "CNY"}
        self.happens("bank.transaction.posted", data | more, days_ago)

    def consents(self, purpose: str, *, granted: bool) -> None:
        self.happens("bank.consent.changed", {"purpose": purpose, "granted": granted})

    def holds(self, product: str, days_ago: float = 400) -> None:
        self.happens("bank.product.opened", {"product": product, "account_id": f"{product}-1"}, days_ago)

    def asks(self, placement: str, count: int = 5, **context: Any) -> Decision:
        """A decision, reserved as the ledger would."""
        return self.asks_in_full(placement, count, **context)[1]

    def asks_in_full(self, placement: str, count: int = 5, **context: Any) -> tuple[DecisionRequest, Decision]:
        """The request with its decision."""
        self.decisions += 1
        request = DecisionRequest(
            decision_id=f"D{self.decisions}",
            customer_id=self.customer_id,
            channel=CHANNELS[placement],
            placements=(PlacementRequest(id=placement, count=count),),
            now_ms=self.now_ms,
            context=context,
        )
        snapshot = read_snapshot(self.features, self.state, self.now_ms)
        draft = decide(self.prepared, request, snapshot, self.records, {}, self.volumes)
        taken = self._reserve(draft.reservation)
        decision = settle(self.prepared, draft, taken)
        for answer in decision.placements:
            for option in answer.options:
                self.tracked[option.tracking_id] = option.candidate
        return request, decision

    def responds(self, decision: Decision, offer: str, outcome: Outcome) -> None:
        """The outcome reaches the ledger, and the features by way of the bus."""
        option = next(o for answer in decision.placements for o in answer.options if o.candidate.offer == offer)
        tracking = key64(option.tracking_id).to_bytes(8, "little")
        self.records = [
            record._replace(
                status=(record.status & ~ContactStatus.RESERVED) | status_of(outcome),
                outcome_ms=record.outcome_ms if outcome is Outcome.IMPRESSION else self.now_ms,
            )
            if record.tracking == tracking
            else record
            for record in self.records
        ]
        self._publish_response(decision, option.candidate, option.tracking_id, outcome)

    def days_later(self, days: float) -> None:
        self.now_ms += int(days * DAY)

    def attribute(self, name: str) -> Any:
        return read_snapshot(self.features, self.state, self.now_ms).attributes.get(name)

    def _reserve(self, request: Any) -> list[int | None]:
        taken: list[int | None] = []
        offered: set[int] = set()
        for tracking, position in zip(request.trackings, request.positions, strict=True):
            choice = None
            for index, alternative in enumerate(position):
                refusal = first_refusal(alternative.rules, self.records, request.now_ms)
                if refusal is None and alternative.offer not in offered:
                    choice = index
                    offered.add(alternative.offer)
                    self.records.append(_reservation(tracking, alternative, request))
                    break
            taken.append(choice)
        return taken

    def _publish_response(self, decision: Decision, candidate: Candidate, tracking: str, outcome: Outcome) -> None:
        offer = self.prepared.strategy.offer(candidate.offer)
        assert offer is not None
        moment = from_epoch_ms(self.now_ms)
        data = {
            "response_id": f"r-{self.events}",
            "tracking_id": tracking,
            "decision_id": decision.decision_id,
            "customer_id": self.customer_id,
            "offer": offer.name,
            "group": offer.group,
            "issue": offer.issue,
            "treatment": candidate.treatment,
            "channel": CHANNELS[candidate.placement],
            "placement": candidate.placement,
            "outcome": outcome.value,
            "time": moment,
            "decided_at": moment,
        }
        self.happens("nbo.response.recorded", data)


def _reservation(tracking: bytes, alternative: Any, request: Any) -> ContactRecord:
    return ContactRecord(
        tracking=tracking,
        offer=alternative.offer,
        group=alternative.group,
        issue=alternative.issue,
        channel=alternative.channel,
        status=int(ContactStatus.RESERVED),
        flags=0,
        reserved_ms=request.now_ms,
        expires_ms=request.lapses_ms,
        contact_ms=request.now_ms,
        outcome_ms=0.0,
    )


def fate_of(decision: Decision, offer: str) -> str | None:
    """`offered`, `ranked_lower`, or the reason code of the rejection; None when the offer was no candidate."""
    for candidate in decision.candidates:
        if candidate.offer == offer:
            return str(candidate.code) if candidate.fate is Fate.REJECTED else str(candidate.fate.value)
    return None


def offers_in(decision: Decision, placement: str | None = None) -> set[str]:
    """What is offered, in one placement or in all."""
    answers = [answer for answer in decision.placements if placement in (None, answer.id)]
    return {str(option.candidate.offer) for answer in answers for option in answer.options}


def reasons_for(decision: Decision, offer: str) -> set[str]:
    """The reason codes an offer was given with."""
    options = [option for answer in decision.placements for option in answer.options]
    return {code for option in options if option.candidate.offer == offer for code, _ in option.reasons}


@pytest.fixture(scope="session")
def offered() -> Callable[..., set[str]]:
    return offers_in


@pytest.fixture(scope="session")
def reasons() -> Callable[[Decision, str], set[str]]:
    return reasons_for


@pytest.fixture(scope="session")
def fate() -> Callable[[Decision, str], str | None]:
    return fate_of


@pytest.fixture(scope="session", params=["demo_bank", "berka"])
def any_strategy(request: pytest.FixtureRequest) -> Strategy:
    return load_strategy_file(FOLDER / request.param)


@pytest.fixture(scope="session")
def demo_bank() -> Strategy:
    return load_strategy_file(FOLDER / "demo_bank")


@pytest.fixture(scope="session")
def berka() -> Strategy:
    return load_strategy_file(FOLDER / "berka")


def customers_of(strategy: Strategy) -> Callable[..., Person]:
    """Makes customers in the arm asked for, full arbitration by default."""
    prepared, features = prepare(strategy), compile_features(strategy.declarations, EVENT_FIELDS)

    def make(arm: Arm = Arm.FULL, **attributes: Any) -> Person:
        salt = strategy.experiment.salt
        number = next(n for n in range(10_000) if assign_arm(salt, prepared.arms, f"retail:{n}") is arm)
        person = Person(prepared, features, f"retail:{number}")
        if attributes:
            person.is_known_as(**attributes)
        return person

    return make


@pytest.fixture(scope="session")
def customer(demo_bank: Strategy) -> Callable[..., Person]:
    return customers_of(demo_bank)


@pytest.fixture(scope="session")
def czech_customer(berka: Strategy) -> Callable[..., Person]:
    return customers_of(berka)


@pytest.fixture(scope="session")
def creditworthy() -> Mapping[str, Any]:
    return CREDITWORTHY
