"""A strategy's conversions, ready to be looked for in events and responses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.attribution import AttributionTerms, Conversion, ConversionRule
from decision_engine.attribution_memory import conversion_id
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.filters import compile_filters
from decision_engine.offers import Offer
from decision_engine.outcomes import Outcome
from decision_engine.strategy import Strategy

RESPONSE = "nbo.response.recorded"
PRODUCT_FIELD = "product"
"""The field of an event that names what an offer calls its product."""
EventFields = Mapping[str, Mapping[str, AttributeType]]
_Filter = Callable[[Mapping[str, Value], int], int]


@dataclass(frozen=True, slots=True)
class _EventRule:
    rule: ConversionRule
    passes: _Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event about a customer, as conversions look at it. `cause_id` is the response id with its
    client's scope, or `<source>/<id>`."""

    customer_id: str
    type: str
    cause_id: str
    at_ms: int
    fields: Mapping[str, Value]


class CompiledAttribution:
    """The terms of a strategy, its conversions by event type, and its offers by name and by product."""

    def __init__(self, terms: AttributionTerms, offers: Sequence[Offer], event_fields: EventFields) -> None:
        self.terms = terms
        self._values = {str(offer.name): round(offer.value) for offer in offers}
        self._places = {str(offer.name): (str(offer.group), str(offer.issue)) for offer in offers}
        self._outcomes = {rule.outcome: rule for rule in terms.conversions if rule.outcome is not None}
        self._of_product: dict[str, tuple[str, ...]] = {}
        for offer in offers:
            if offer.product:
                self._of_product[offer.product] = (*self._of_product.get(offer.product, ()), str(offer.name))
        self._events: dict[str, list[_EventRule]] = {}
        for rule in terms.conversions:
            if rule.event is not None:
                passes = compile_filters([rule.where or ""], event_fields.get(rule.event))
                self._events.setdefault(rule.event, []).append(_EventRule(rule, passes))

    @property
    def event_types(self) -> frozenset[str]:
        """The bank's events that can be conversions."""
        return frozenset(self._events)

    def value_of(self, offer: str) -> int:
        """What an acceptance of the offer is worth, minor units; 0 for one the strategy does not know."""
        return self._values.get(offer, 0)

    def place_of(self, offer: str) -> tuple[str | None, str | None]:
        """Group and issue of the offer."""
        return self._places.get(offer, (None, None))

    def of_event(self, event: Happening) -> Conversion | None:
        """The conversion an event of the bank's shows; None where it shows none, or one of nothing on offer."""
        for known in self._events.get(event.type, ()):
            if not known.passes(event.fields, event.at_ms) & 1:
                continue
            offers = tuple(sorted(map(str, known.rule.offers))) or self._offered(event.fields.get(PRODUCT_FIELD))
            if offers:
                return _conversion(event, offers, _whole(event.fields, known.rule.value_field))
        return None

    def of_response(self, event: Happening, outcome: Outcome, offer: str, tracking_id: str) -> Conversion | None:
        """The conversion a response tells of; None where its outcome is none."""
        rule = self._outcomes.get(outcome)
        if rule is None or (rule.offers and offer not in rule.offers):
            return None
        value = _whole(event.fields, rule.value_field)
        return _conversion(event, (offer,), value, outcome=outcome, tracking_id=tracking_id)

    def _offered(self, product: Value | None) -> tuple[str, ...]:
        return self._of_product.get(product, ()) if isinstance(product, str) else ()


def compile_attribution(strategy: Strategy, event_fields: EventFields) -> CompiledAttribution | None:
    """None for a strategy that attributes nothing."""
    if strategy.attribution is None:
        return None
    return CompiledAttribution(strategy.attribution, strategy.offers, event_fields)


def _conversion(
    event: Happening,
    offers: tuple[str, ...],
    value: int | None,
    outcome: Outcome | None = None,
    tracking_id: str | None = None,
) -> Conversion:
    return Conversion(
        id=conversion_id(event.customer_id, event.type, event.cause_id),
        at_ms=event.at_ms,
        offers=offers,
        cause_type=event.type,
        cause_id=event.cause_id,
        outcome=outcome,
        tracking_id=tracking_id,
        value=value,
    )


def _whole(fields: Mapping[str, Value], name: str | None) -> int | None:
    """The whole number under the name; nothing for anything else, so that the offer's own value counts."""
    value = None if name is None else fields.get(name)
    return value if type(value) is int and value >= 0 else None
