"""A small bank for tests of the API and its use cases: a strategy, a customer's state, and ports that can fail.

Loaded by the conftest files of the folders that use it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from decision_engine.contact_ledger import (
    ContactClock,
    ContactRecord,
    ReservationRequest,
    Scope,
    decode_records,
    encode_records,
    first_refusal,
)
from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    ContextAttribute,
    FeatureDeclarations,
    FeatureDefinition,
    ProfileAttribute,
    Window,
)
from decision_engine.features.dictionary import attribute_infos
from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate, Update
from decision_engine.offers import Offer, Placement, Reason, Rule, Treatment
from decision_engine.outcomes import ContactStatus
from decision_engine.prepared import prepare
from decision_engine.strategy import ConsentPurpose, ContactLimit, ContactWindow, Experiment, Exploration, Strategy
from services.api.authentication import OpenAccess
from services.api.runtime import ApiRuntime
from services.ports import (
    BusUnavailable,
    ContactResponse,
    CustomerReading,
    EarlierResponse,
    IdempotencyClaim,
    OutgoingEvent,
    ResponseClaim,
    StoreUnavailable,
    TrackedOption,
)
from services.use_cases.make_decision import Live

NOW = 1_795_254_600_123
"""2026-11-21T09:50:00.123Z"""
DAY = 86_400_000


def treatment(offer: str, channel: str, *placements: str) -> Treatment:
    return Treatment(
        name=f"{offer}.{channel}.main",
        channel=channel,
        placements=placements,
        content={"zh-CN": {"title": f"{offer} 标题"}, "en": {"title": f"{offer} title"}},
        script={"zh-CN": "您好", "en": "Good day"} if channel == "contact_centre" else None,
    )


def offer(name: str, **overrides: Any) -> Offer:
    defaults: dict[str, Any] = {
        "name": name,
        "group": "cards",
        "issue": "acquire",
        "value": 10_000,
        "base_rate": 0.1,
        "lever": 0.0,
        "model": "cross_sell",
        "title": {"zh-CN": name, "en": name},
        "treatments": (
            treatment(name, "mobile", "home_banner", "card_page_tile"),
            treatment(name, "contact_centre", "agent_panel"),
        ),
    }
    return Offer(**(defaults | overrides))


def placement(id_: str, channel: str, max_count: int = 3) -> Placement:
    content = {"zh-CN": {"title": "欢迎"}, "en": {"title": "Welcome"}}
    return Placement(
        id=id_,
        channel=channel,
        max_count=max_count,
        fallback_treatment=f"generic.{channel}.{id_}",
        fallback_content=content,
    )


DECLARATIONS = FeatureDeclarations(
    time_zone="Asia/Shanghai",
    profile=(
        ProfileAttribute(name="age", type=AttributeType.INT, theme="basic", description={"en": "Age"}),
        ProfileAttribute(name="joined_at", type=AttributeType.TIMESTAMP, theme="basic", description={"en": "Joined"}),
        ProfileAttribute(
            name="phone", type=AttributeType.STRING, theme="basic", description={"en": "Phone"}, sensitive=True
        ),
    ),
    features=(
        FeatureDefinition(
            name="card_spend_sum",
            source="bank.transaction.posted",
            aggregate=Aggregate.SUM,
            theme="transaction",
            description={"en": "Card spend"},
            field="amount",
            windows=(Window("d", 30),),
            default=0,
        ),
    ),
    context=(
        ContextAttribute(name="page", type=AttributeType.STRING, description={"en": "Page"}),
        ContextAttribute(name="basket", type=AttributeType.INT, description={"en": "Basket"}),
        ContextAttribute(name="since", type=AttributeType.TIMESTAMP, description={"en": "Since"}),
    ),
)
REJECTED_LATELY = ContactLimit(
    id="rejected_lately",
    scope=Scope.OFFER,
    of=None,
    statuses=ContactStatus.REJECT,
    clock=ContactClock.OUTCOME,
    window=ContactWindow(rolling_seconds=30 * 86_400),
    limit=1,
    code="REJECTED_LATELY",
    text={"en": "Refused lately"},
)
OFFERS = (
    offer(
        "gold_card",
        value=20_000,
        eligibility=(Rule(id="adult", when="age >= 18", code="UNDER_AGE", text={"en": "Too young"}),),
        reasons=(
            Reason(
                code="HIGH_CARD_SPEND",
                when="card_spend_sum_30d >= 100000",
                text={"zh-CN": "消费较高", "en": "You spend a lot"},
            ),
        ),
    ),
    offer("cash_plan", issue="grow", group="loans"),
    offer(
        "no_pension",
        eligibility=(Rule(id="senior", when="age >= 60", code="TOO_YOUNG", text={"en": "Not yet"}),),
    ),
)


def strategy(*offers: Offer, **overrides: Any) -> Strategy:
    defaults: dict[str, Any] = {
        "name": "small_bank",
        "version": "strategy-1",
        "time_zone": "Asia/Shanghai",
        "currency": "CNY",
        "locales": ("zh-CN", "en"),
        "declarations": DECLARATIONS,
        "dictionary": attribute_infos(DECLARATIONS),
        "offers": offers or OFFERS,
        "placements": {
            place.id: place
            for place in (
                placement("home_banner", "mobile"),
                placement("card_page_tile", "mobile", 2),
                placement("agent_panel", "contact_centre"),
            )
        },
        "consents": {
            name: ConsentPurpose(name=name, granted_by_default=True, text={"en": name})
            for name in ("marketing", "personalisation")
        },
        "suitability": None,
        "contact_limits": (REJECTED_LATELY,),
        "reservation_seconds": 600,
        "exploration": Exploration(),
        "experiment": Experiment(salt="s", shares={}),
        "models": ("cross_sell",),
        "required_models": frozenset(),
        "texts": {"REJECTED_LATELY": {"en": "Refused lately"}, "UNDER_AGE": {"en": "Too young"}},
    }
    return Strategy(**(defaults | overrides))


def live(*offers: Offer, **overrides: Any) -> Live:
    made = strategy(*offers, **overrides)
    return Live.of(prepare(made), compile_features(made.declarations), {})


def state(features: CompiledFeatures, attributes: Mapping[str, Any] | None = None, spent: int = 150_000) -> bytes:
    """A customer of 40 who spent some money today."""
    profile = {"age": 40, "phone": "13800000000", "joined_at": NOW - 400 * DAY} | dict(attributes or {})
    updates = (
        Update(event_key=1, source="bank.profile.updated", time_ms=NOW - 3 * DAY, attributes=profile),
        Update(event_key=2, source="bank.transaction.posted", time_ms=NOW - 420, fields={"amount": spent}),
    )
    return fold(features, None, [PositionedUpdate(0, place, update) for place, update in enumerate(updates)]).value


@dataclass
class FakeStore:
    """A store in memory; `fail` names the calls that find it gone, `hang` those that never return."""

    states: dict[str, bytes] = field(default_factory=dict)
    ledgers: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    options: dict[str, TrackedOption] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """What each response id was given for."""
    fail: set[str] = field(default_factory=set)
    hang: set[str] = field(default_factory=set)
    gate: asyncio.Event | None = None
    """When set, reading waits for it."""
    reads: int = 0

    async def _reach(self, call: str) -> None:
        if call in self.hang:
            await asyncio.Event().wait()
        if call in self.fail:
            raise StoreUnavailable(call)

    async def read_for_decision(self, customer_id: str, claim: IdempotencyClaim | None) -> CustomerReading:
        await self._reach("read")
        self.reads += 1
        claimed = None
        if claim is not None:
            claimed = self.answers.get(claim.key)
            self.answers.setdefault(claim.key, claim.value)
        if self.gate is not None:
            await self.gate.wait()
        return CustomerReading(
            state=self.states.get(customer_id), ledger=self.ledgers.get(customer_id), claimed=claimed
        )

    async def claim(self, claim: IdempotencyClaim) -> bytes | None:
        await self._reach("claim")
        held = self.answers.setdefault(claim.key, claim.value)
        return None if held == claim.value else held

    async def claimed(self, idempotency_key: str) -> bytes | None:
        await self._reach("claimed")
        return self.answers.get(idempotency_key)

    async def save(
        self,
        decision_id: str,
        record: bytes,
        options: Sequence[TrackedOption],
        claim: IdempotencyClaim | None,
        answer: bytes,
    ) -> bytes | None:
        await self._reach("save")
        self.records[decision_id] = record
        self.options |= {option.tracking_id: option for option in options}
        return None if claim is None else await self.keep_answer(claim, answer)

    async def keep_answer(self, claim: IdempotencyClaim, answer: bytes) -> bytes | None:
        await self._reach("save")
        held = self.answers.get(claim.key)
        if held is not None and held not in (claim.value, answer):
            return held
        self.answers[claim.key] = answer
        return None

    async def record(self, decision_id: str) -> bytes | None:
        await self._reach("record")
        return self.records.get(decision_id)

    async def tracked(self, tracking_ids: Sequence[str]) -> list[TrackedOption | None]:
        await self._reach("tracked")
        return [self.options.get(tracking_id) for tracking_id in tracking_ids]

    async def read(self, customer_id: str) -> bytes | None:
        return self.ledgers.get(customer_id)

    async def reserve(self, customer_id: str, request: ReservationRequest) -> list[int | None]:
        await self._reach("reserve")
        records = list(decode_records(self.ledgers.get(customer_id)))
        taken: list[int | None] = []
        for tracking, alternatives in zip(request.trackings, request.positions, strict=True):
            taken.append(None)
            for index, choice in enumerate(alternatives):
                repeated = any(
                    record.offer == choice.offer and record.reserved_ms == request.now_ms for record in records
                )
                if repeated or first_refusal(choice.rules, records, request.now_ms):
                    continue
                records.append(
                    ContactRecord(
                        tracking, choice.offer, choice.group, choice.issue, choice.channel,
                        int(ContactStatus.RESERVED), int(choice.mandatory), float(request.now_ms),
                        float(request.lapses_ms), float(request.now_ms), 0.0,
                    )
                )  # fmt: skip
                taken[-1] = index
                break
        self.ledgers[customer_id] = encode_records(records)
        return taken

    async def claim_responses(self, claims: Sequence[ResponseClaim]) -> list[EarlierResponse]:
        await self._reach("claim_responses")
        known = []
        for claim in claims:
            said = self.said.get(claim.response_id)
            taken = f"response:{claim.customer_id}:{claim.response_id}" in self.answers
            known.append(EarlierResponse(said=said, published=taken, taken=taken))
            self.said.setdefault(claim.response_id, claim.says)
        return known

    async def respond(self, customer_id: str, responses: Sequence[ContactResponse]) -> list[bool]:
        await self._reach("respond")
        records = list(decode_records(self.ledgers.get(customer_id)))
        new = []
        for response in responses:
            key = f"response:{customer_id}:{response.response_id}"
            new.append(key not in self.answers)
            self.answers[key] = b"1"
            bit = int(ContactStatus[response.outcome.name])
            records = [
                record._replace(status=(record.status & ~1) | bit, outcome_ms=float(response.at_ms))
                if record.tracking == response.tracking
                else record
                for record in records
            ]
        self.ledgers[customer_id] = encode_records(records)
        return new


@dataclass
class FakeBus:
    """Keeps what was published; `gone` makes it unavailable."""

    events: list[OutgoingEvent] = field(default_factory=list)
    gone: bool = False

    async def publish(self, events: Sequence[OutgoingEvent]) -> None:
        if self.gone:
            raise BusUnavailable
        self.events += events

    def enqueue(self, event: OutgoingEvent) -> None:
        if self.gone:
            raise BusUnavailable
        self.events.append(event)


@dataclass
class FakeMetrics:
    """Sums of everything by name and labels."""

    seen: dict[tuple[str, ...], float] = field(default_factory=dict)

    def _add(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        key = (name, *labels.values())
        self.seen[key] = self.seen.get(key, 0) + value

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._add(name, value, labels)

    def observe_each(self, name: str, observations: Sequence[tuple[str, float]]) -> None:
        for label, value in observations:
            self._add(name, value, {"label": label})

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self._add(name, amount, labels)

    def count_each(self, name: str, series: Sequence[tuple[str, ...]], amounts: NDArray[np.int64]) -> None:
        for labels, amount in zip(series, amounts.tolist(), strict=True):
            if amount:
                self.seen[(name, *labels)] = self.seen.get((name, *labels), 0) + amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._add(name, value, labels)


@dataclass
class CountingIds:
    made: int = 0

    def new_id(self) -> str:
        self.made += 1
        return f"01J{self.made:023}"


@dataclass
class StandingClock:
    moment: int = NOW

    def now_ms(self) -> int:
        return self.moment


@dataclass
class Bank:
    """Everything together; `runtime()` for the API."""

    live: Live = field(default_factory=live)
    store: FakeStore = field(default_factory=FakeStore)
    bus: FakeBus = field(default_factory=FakeBus)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    ids: CountingIds = field(default_factory=CountingIds)
    clock: StandingClock = field(default_factory=StandingClock)

    def __post_init__(self) -> None:
        self.store.states["retail:1"] = state(self.live.features)

    def runtime(self, **overrides: Any) -> ApiRuntime:
        exposition: Callable[[], tuple[bytes, str]] = lambda: (b"", "text/plain")  # noqa: E731
        defaults: dict[str, Any] = {
            "live": lambda: self.live,
            "store": self.store,
            "ledger": self.store,
            "publisher": self.bus,
            "clock": self.clock,
            "ids": self.ids,
            "metrics": self.metrics,
            "authenticator": OpenAccess(),
            "exposition": exposition,
        }
        return ApiRuntime(**(defaults | overrides))
