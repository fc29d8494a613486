"""Reads how conversions are attributed: windows, what counts as a conversion, how credit is shared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.attribution import AttributionTerms, ConversionRule, SharedModel
from decision_engine.features.definitions import AttributeType
from decision_engine.identifiers import OfferName
from decision_engine.offers import Offer
from decision_engine.outcomes import Outcome
from decision_engine.strategy_loading.document import ScalarNode
from decision_engine.strategy_loading.event_conditions import read_event_condition
from decision_engine.strategy_loading.quiet_times import read_channels
from decision_engine.strategy_loading.section import Section, suggestion
from decision_engine.strategy_loading.windows import duration_seconds

_OUTCOMES = (Outcome.CONVERT, Outcome.ACCEPT)
_LATE_SECONDS = 7 * 86_400
_PRODUCT = "product"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributable:
    """What the section may name: offers, channels (and those that are offered in by default), events' fields."""

    offers: Sequence[Offer]
    channels: Sequence[str]
    outbound: tuple[str, ...]
    event_fields: Mapping[str, Mapping[str, AttributeType]]


def read_attribution(root: Section, known: Attributable) -> AttributionTerms | None:
    """The section `attribution`; None when there is none, and then nothing is attributed."""
    section = root.section("attribution")
    if section is None:
        return None
    window = duration_seconds(section, "window") or 1
    shared, half_life = _shared(section)
    conversions = tuple(_conversion(item, known) for item in section.sections("conversions"))
    if not section.given("conversions"):
        section.problem("needs at least one conversion, such as {response: convert}", "conversions")
    _check_distinct(section, conversions)
    offered = read_channels(section, "offered", known.channels) if section.has("offered") else known.outbound
    terms = AttributionTerms(
        window_ms=window * 1000,
        click_window_ms=_length(section, "click_window", window) * 1000,
        offered=offered,
        conversions=conversions,
        shared=shared,
        half_life_ms=half_life * 1000,
        once_ms=_length(section, "once", window) * 1000,
        late_ms=_length(section, "late", _LATE_SECONDS) * 1000,
    )
    section.finish()
    return terms


def _length(section: Section, key: str, default: int) -> int:
    """A length in seconds that may be left out."""
    return default if section.get(key) is None else (duration_seconds(section, key) or default)


def _shared(section: Section) -> tuple[SharedModel, int]:
    """`linear`, `position`, or `{time_decay: 7d}` with its half-life in seconds."""
    node = section.get("shared")
    if node is None:
        return SharedModel.LINEAR, 0
    if isinstance(node, ScalarNode):
        choice = section.choice("shared", (SharedModel.LINEAR, SharedModel.POSITION, SharedModel.TIME_DECAY))
        if choice == SharedModel.TIME_DECAY:
            section.problem("needs its half-life: {time_decay: 7d}", "shared")
        return SharedModel(choice or SharedModel.LINEAR), 1
    by = Section(node, section.path_of("shared"), section.problems)
    half_life = duration_seconds(by, SharedModel.TIME_DECAY) or 1
    by.finish()
    return SharedModel.TIME_DECAY, half_life


def _conversion(section: Section, known: Attributable) -> ConversionRule:
    if section.has("response") == section.has("event"):
        section.problem("is either {response: convert} or {event: …}")
    rule = _of_event(section, known) if section.has("event") else _of_response(section, known)
    section.finish()
    return rule


def _of_response(section: Section, known: Attributable) -> ConversionRule:
    outcome = section.choice("response", _OUTCOMES, "" if section.get("response") is None else None)
    return ConversionRule(
        outcome=Outcome(outcome) if outcome else None,
        offers=_offers(section, known),
        value_field=section.optional_text("value"),
    )


def _of_event(section: Section, known: Attributable) -> ConversionRule:
    event = section.text("event")
    fields = known.event_fields.get(event)
    if event and (fields is None or event.startswith("nbo.")):
        bank = sorted(name for name in known.event_fields if not name.startswith("nbo."))
        section.problem(f"unknown event type {event}{suggestion(event, bank)}", "event")
        fields = None
    by_product = _matches_product(section, fields)
    offers = frozenset() if by_product else _offers(section, known)
    if not by_product and section.get("match") is None:
        section.problem("says which offers it is about: match: product, or {offers: […]} or {groups: […]}", "match")
    return ConversionRule(
        event=event or None,
        where=read_event_condition(section, "where", fields),
        offers=offers,
        value_field=_value_field(section, fields),
    )


def _matches_product(section: Section, fields: Mapping[str, AttributeType] | None) -> bool:
    node = section.get("match")
    if not isinstance(node, ScalarNode):
        return False
    if section.choice("match", (_PRODUCT,)) and fields is not None and _PRODUCT not in fields:
        section.problem("the event has no field product; name offers or groups", "match")
    return True


def _offers(section: Section, known: Attributable) -> frozenset[OfferName]:
    """`match: {offers: […], groups: […]}`; without it every offer."""
    node = section.get("match")
    if node is None:
        return frozenset()
    if isinstance(node, ScalarNode):
        section.problem("names offers or groups: {offers: […]} or {groups: […]}", "match")
        return frozenset()
    match = Section(node, section.path_of("match"), section.problems)
    names = [offer.name for offer in known.offers]
    groups = sorted({offer.group for offer in known.offers})
    wanted = {name for name in match.texts("offers") if _is_known(match, "offers", name, names)}
    among = {name for name in match.texts("groups") if _is_known(match, "groups", name, groups)}
    if not match.given("offers") and not match.given("groups"):
        match.problem("names offers or groups")
    match.finish()
    return frozenset(offer.name for offer in known.offers if offer.name in wanted or offer.group in among)


def _is_known(section: Section, key: str, name: str, known: Sequence[str]) -> bool:
    if name in known:
        return True
    section.problem(f"unknown name {name}{suggestion(name, known)}", key)
    return False


def _value_field(section: Section, fields: Mapping[str, AttributeType] | None) -> str | None:
    name = section.optional_text("value")
    if name and fields is not None and fields.get(name) is not AttributeType.INT:
        whole = sorted(field for field, kind in fields.items() if kind is AttributeType.INT)
        section.problem(f"{name} is no field with a whole number{suggestion(name, whole)}", "value")
    return name


def _check_distinct(section: Section, rules: Sequence[ConversionRule]) -> None:
    outcomes = [rule.outcome for rule in rules if rule.outcome is not None]
    for outcome in sorted(set(outcomes)):
        if outcomes.count(outcome) > 1:
            section.problem(f"the response {outcome} stands here twice", "conversions")
