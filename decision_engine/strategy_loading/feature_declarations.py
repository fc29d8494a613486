"""Reads the features a strategy declares over events."""

from collections.abc import Mapping, Sequence

from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.parser import parse
from decision_engine.conditions.syntax import Call, Expression, children
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDefinition,
    Value,
)
from decision_engine.features.dictionary import attribute_names
from decision_engine.strategy_loading.conditions import Vocabulary, read_condition
from decision_engine.strategy_loading.defaults import read_default
from decision_engine.strategy_loading.section import Section, suggestion
from decision_engine.strategy_loading.windows import feature_window_pairs, feature_windows

EventFields = Mapping[str, Mapping[str, AttributeType]]
"""Event type to the fields of its data that conditions and features may use."""

_WITHOUT_FIELD = frozenset({Aggregate.COUNT, Aggregate.DAYS_SINCE_LAST, Aggregate.DAYS_SINCE_FIRST})
_OF_ANY_FIELD = frozenset({Aggregate.DISTINCT, Aggregate.LAST, Aggregate.FIRST})
_IN_DAYS = frozenset({Aggregate.DAYS_SINCE_LAST, Aggregate.DAYS_SINCE_FIRST})
_DOUBLES = frozenset({Aggregate.MEAN, Aggregate.RATIO, Aggregate.TREND})


def read_features(
    root: Section, locales: Sequence[str], event_fields: EventFields
) -> tuple[tuple[FeatureDefinition, ...], frozenset[str]]:
    """The sound features, and the attribute names of those with faults."""
    sound: list[FeatureDefinition] = []
    doubtful: set[str] = set()
    for section in root.sections("features"):
        before = len(section.problems.found)
        feature = _feature(section, locales, event_fields)
        if len(section.problems.found) == before:
            sound.append(feature)
        else:
            doubtful |= {name for name, _ in attribute_names(feature)}
    return tuple(sound), frozenset(doubtful)


def _feature(section: Section, locales: Sequence[str], event_fields: EventFields) -> FeatureDefinition:
    name = section.name("name")
    source = section.text("source")
    fields = event_fields.get(source)
    if source and fields is None:
        section.problem(f"unknown event type {source}{suggestion(source, sorted(event_fields))}", "source")
    aggregate = Aggregate(section.choice("aggregate", tuple(Aggregate)) or Aggregate.COUNT)
    ratio = aggregate is Aggregate.RATIO
    feature = FeatureDefinition(
        name=name,
        source=source,
        aggregate=aggregate,
        theme=section.text("theme"),
        description=section.local_text("description", locales),
        field=_field(section, aggregate, fields),
        where=_where(section, fields),
        windows=() if ratio else feature_windows(section),
        window_pairs=feature_window_pairs(section) if ratio else (),
        default=_default(section, aggregate, fields),
    )
    _check_windows(section, feature)
    section.finish()
    return feature


def _field(section: Section, aggregate: Aggregate, fields: Mapping[str, AttributeType] | None) -> str | None:
    if aggregate in _WITHOUT_FIELD:
        if section.get("field") is not None:
            section.problem(f"{aggregate} looks at events, not at a field", "field")
        return None
    field = section.text("field")
    if not field or fields is None:
        return field or None
    kind = fields.get(field)
    if kind is None:
        section.problem(f"the event has no field {field}{suggestion(field, sorted(fields))}", "field")
    elif aggregate not in _OF_ANY_FIELD and kind is not AttributeType.INT:
        section.problem(f"{aggregate} needs whole numbers, {field} is a {kind}", "field")
    return field


def _where(section: Section, fields: Mapping[str, AttributeType] | None) -> str | None:
    if section.get("where") is None:
        return None
    if fields is None:
        return section.text("where")
    text = read_condition(section, "where", Vocabulary(types=fields))
    try:
        if text and _asks_holdings(parse(text)):
            section.problem("has_product cannot be asked of an event", "where")
    except ConditionError:
        pass  # noted by read_condition
    return text


def _asks_holdings(expression: Expression) -> bool:
    if isinstance(expression, Call) and expression.function == "has_product":
        return True
    return any(_asks_holdings(child) for child in children(expression))


def _default(section: Section, aggregate: Aggregate, fields: Mapping[str, AttributeType] | None) -> Value | None:
    kind = AttributeType.DOUBLE if aggregate in _DOUBLES else AttributeType.INT
    if aggregate in (Aggregate.LAST, Aggregate.FIRST):
        field = section.optional_text("field") if fields else None
        known = (fields or {}).get(field or "")
        if known is None:
            section.has("default")
            return None
        kind = known
    return read_default(section, kind)


def _check_windows(section: Section, feature: FeatureDefinition) -> None:
    missing = not feature.windows and not feature.window_pairs
    if feature.aggregate in (Aggregate.RATIO, Aggregate.TREND) and missing and section.get("windows") is None:
        section.problem(f"{feature.aggregate} needs windows")
    if feature.aggregate in _IN_DAYS and any(window.unit != "d" for window in feature.windows):
        section.problem(f"{feature.aggregate} counts calendar days, so its windows are in days", "windows")
