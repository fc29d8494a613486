"""A decision as people look into it: who and when, what was offered, how every candidate ended, and what was known."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.contact_ledger import LOST_FLAG, decode_records
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.offers import LocalText, Offer
from decision_engine.outcomes import Fate, Stage
from decision_engine.strategy import Strategy
from services.use_cases.authoring.rule_words import money_names
from services.use_cases.decision_record import RecordUnreadable
from services.use_cases.observing.decision_search import FoundDecision, found_decision
from services.use_cases.view_customer import ContactView, contact_views
from services.use_cases.wire_time import epoch_ms, rfc3339

Data = Mapping[str, object]
REQUEST = "context"
"""The theme of what the request told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateView:
    """One treatment for one placement; `number` is its place in the record. What was never reached is None."""

    number: int
    placement: str
    offer: str
    treatment: str
    fate: Fate
    stage: Stage | None
    rule: str | None
    code: str | None
    propensity: float | None
    context_weight: float | None
    value: int | None
    lever: float | None
    resource_cost: float | None
    priority: float | None
    selection_probability: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionView:
    """An option as it was answered, with its reasons' codes and their texts."""

    rank: int
    offer: str
    treatment: str
    tracking_id: str
    mandatory: bool
    propensity: float | None
    priority: float | None
    selection_probability: float | None
    reasons: tuple[tuple[str, LocalText], ...]
    expires_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementView:
    """A slot: how many options it wanted, and what it got."""

    id: str
    wanted: int
    options: tuple[OptionView, ...]
    fallback: str | None
    fallback_cause: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedAttribute:
    """Something the decision knew, with its words in the dictionary; the value is None where it may not be shown."""

    name: str
    description: LocalText
    theme: str
    value: Value | None
    sensitive: bool
    money: bool
    moment: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """A stage: how many candidates came to it, and how many it stopped."""

    stage: Stage
    entered: int
    stopped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """All of a decision. `strategy` is the one that decided; None where it is not kept, and then there are no
    candidates unless the record lists them."""

    head: FoundDecision
    strategy: Strategy | None
    data: Data
    placements: tuple[PlacementView, ...]
    candidates: tuple[CandidateView, ...]
    funnel: tuple[FunnelStep, ...]
    models: Mapping[str, str]
    experiments: Mapping[str, str]
    holdings: tuple[str, ...]
    consents: Mapping[str, bool]
    contacts: tuple[ContactView, ...]
    ledger_read: bool
    """Whether the contacts could be read."""

    @property
    def decided_ms(self) -> int:
        """When, in epoch milliseconds."""
        return epoch_ms(self.head.time)

    def offer(self, name: str) -> Offer | None:
        """The offer as the strategy had it."""
        if self.strategy is None:
            return None
        return next((offer for offer in self.strategy.offers if offer.name == name), None)

    def attributes(self, *, with_sensitive: bool) -> tuple[UsedAttribute, ...]:
        """What was known of the customer."""
        return _attributes(_mapping(self.data.get("attributes")), self.strategy, with_sensitive=with_sensitive)

    def context(self) -> tuple[UsedAttribute, ...]:
        """What the request told beside who asks and where."""
        return _context(_mapping(self.data.get("context")), self.strategy)


def decision_view(data: Data, strategy: Strategy | None) -> DecisionView:
    """Reads a record's data, candidates written out where they can be. Raises RecordUnreadable."""
    try:
        head = found_decision(data)
        candidates = tuple(
            _candidate(number, _mapping(found)) for number, found in enumerate(_sequence(data.get("candidates")))
        )
        ledger = data.get("ledger")
        records = [r for r in decode_records(b64decode(str(ledger)) if ledger else None) if not r.flags & LOST_FLAG]
        return DecisionView(
            head=head,
            strategy=strategy,
            data=data,
            placements=_placements(data, strategy),
            candidates=candidates,
            funnel=_funnel(candidates),
            models=_texts(data.get("models")),
            experiments=_texts(data.get("experiments")),
            holdings=tuple(str(name) for name in _sequence(data.get("holdings"))),
            consents={name: bool(granted) for name, granted in _mapping(data.get("consents")).items()},
            contacts=contact_views(strategy, records, epoch_ms(head.time)),
            ledger_read=ledger is not None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"a field is missing or odd: {error!r}") from error


def _candidate(number: int, found: Data) -> CandidateView:
    stage = found.get("stage")
    return CandidateView(
        number=number,
        placement=str(found["placement"]),
        offer=str(found["offer"]),
        treatment=str(found["treatment"]),
        fate=Fate(str(found["outcome"])),
        stage=None if stage is None else Stage(str(stage)),
        rule=_text(found.get("rule")),
        code=_text(found.get("reason")),
        propensity=_number(found.get("propensity")),
        context_weight=_number(found.get("context_weight")),
        value=None if found.get("value") is None else int(str(found["value"])),
        lever=_number(found.get("lever")),
        resource_cost=_number(found.get("resource_cost")),
        priority=_number(found.get("priority")),
        selection_probability=_number(found.get("selection_probability")),
    )


def _placements(data: Data, strategy: Strategy | None) -> tuple[PlacementView, ...]:
    asked = {str(p["id"]): int(str(p["count"])) for p in map(_mapping, _sequence(data.get("placements_asked")))}
    return tuple(
        PlacementView(
            id=str(placement["id"]),
            wanted=asked.get(str(placement["id"]), 0),
            options=tuple(_option(_mapping(option), strategy) for option in _sequence(placement.get("options"))),
            fallback=_text(placement.get("fallback")),
            fallback_cause=_text(placement.get("fallback_cause")),
        )
        for placement in map(_mapping, _sequence(data.get("placements")))
    )


def _option(option: Data, strategy: Strategy | None) -> OptionView:
    offers = () if strategy is None else strategy.offers
    offer = next((offer for offer in offers if offer.name == option["offer"]), None)
    said = {} if offer is None else {reason.code: reason.text for reason in reversed(offer.reasons)}
    return OptionView(
        rank=int(str(option["rank"])),
        offer=str(option["offer"]),
        treatment=str(option["treatment"]),
        tracking_id=str(option["tracking_id"]),
        mandatory=bool(option.get("mandatory")),
        propensity=_number(option.get("propensity")),
        priority=_number(option.get("priority")),
        selection_probability=_number(option.get("selection_probability")),
        reasons=tuple((str(code), said.get(str(code), {})) for code in _sequence(option.get("reasons"))),
        expires_at=_text(option.get("expires_at")),
    )


def _funnel(candidates: Sequence[CandidateView]) -> tuple[FunnelStep, ...]:
    """The stages in the order of the pipeline."""
    left, steps = len(candidates), []
    for stage in Stage:
        stopped = sum(candidate.stage is stage for candidate in candidates)
        steps.append(FunnelStep(stage=stage, entered=left, stopped=stopped))
        left -= stopped
    return tuple(steps)


def _attributes(found: Data, strategy: Strategy | None, *, with_sensitive: bool) -> tuple[UsedAttribute, ...]:
    dictionary = {} if strategy is None else strategy.dictionary
    money = frozenset() if strategy is None else money_names(strategy)
    used = []
    for name, value in found.items():
        info = dictionary.get(name)
        # Of an attribute without an entry nobody can say that it is harmless.
        sensitive = info is None or info.sensitive
        moment = info is not None and info.type is AttributeType.TIMESTAMP
        used.append(
            UsedAttribute(
                name=name,
                description={} if info is None else info.description,
                theme="" if info is None else info.theme,
                value=None if sensitive and not with_sensitive else _value(value, moment=moment),
                sensitive=sensitive,
                money=name in money,
                moment=moment,
            )
        )
    return tuple(used)


def _context(found: Data, strategy: Strategy | None) -> tuple[UsedAttribute, ...]:
    declared = {} if strategy is None else {fact.name: fact for fact in strategy.declarations.context}
    money = frozenset() if strategy is None else money_names(strategy)
    return tuple(
        UsedAttribute(
            name=name,
            description=declared[name].description if name in declared else {},
            theme=REQUEST,
            value=_value(value, moment=_is_moment(declared, name)),
            sensitive=False,
            money=f"context.{name}" in money,
            moment=_is_moment(declared, name),
        )
        for name, value in sorted(found.items())
    )


def _is_moment(declared: Mapping[str, object], name: str) -> bool:
    return getattr(declared.get(name), "type", None) is AttributeType.TIMESTAMP


def _value(value: object, *, moment: bool) -> Value | None:
    if moment and isinstance(value, int | float):
        return rfc3339(int(value))
    return value if isinstance(value, bool | int | float | str) else None


def _texts(found: object) -> dict[str, str]:
    return {name: str(value) for name, value in _mapping(found).items()}


def _number(found: object) -> float | None:
    return None if found is None else float(str(found))


def _text(found: object) -> str | None:
    return None if found is None else str(found)


def _mapping(found: object) -> dict[str, object]:
    return found if isinstance(found, dict) else {}


def _sequence(found: object) -> Sequence[object]:
    return found if isinstance(found, list) else ()
