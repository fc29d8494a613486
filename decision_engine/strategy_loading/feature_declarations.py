"""Reads the features a strategy declares over events."""

from collections.abc import Sequence
from dataclasses import replace

from decision_engine.features.definitions import Aggregate, AttributeType, FeatureDefinition, Value
from decision_engine.features.dictionary import attribute_names, type_of_feature
from decision_engine.features.shapes import (
    EVENTS_ONLY,
    FIELD_MAY_MISS,
    OF_ANY_FIELD,
    OF_PRODUCTS,
    TOPS,
    shape_problem,
)
from decision_engine.strategy_loading.defaults import read_default
from decision_engine.strategy_loading.feature_parts import (
    EventFields,
    Fields,
    known_field,
    read_filter,
    read_grouping,
    read_half_life,
    read_part,
    read_sequel,
    read_source,
    read_values,
)
from decision_engine.strategy_loading.section import Section
from decision_engine.strategy_loading.windows import feature_window_pairs, feature_windows

__all__ = ["EventFields", "read_features"]

_PRODUCT_EVENTS = "bank.product.opened"
"""What attributes of products held stem from, beside the closings."""


def read_features(
    root: Section, locales: Sequence[str], event_fields: EventFields
) -> tuple[tuple[FeatureDefinition, ...], frozenset[str]]:
    """The sound features, and the attribute names of those with faults."""
    time_zone = root.optional_text("time_zone") or "UTC"
    sound: list[FeatureDefinition] = []
    doubtful: set[str] = set()
    for section in root.sections("features"):
        before = len(section.problems.found)
        feature = _feature(section, locales, event_fields, time_zone)
        if len(section.problems.found) == before:
            _check_shape(section, feature)
        if len(section.problems.found) == before:
            sound.append(feature)
        else:
            doubtful |= {name for name, _ in attribute_names(feature)}
    return tuple(sound), frozenset(doubtful)


def _feature(section: Section, locales: Sequence[str], event_fields: EventFields, time_zone: str) -> FeatureDefinition:
    name = section.name("name")
    aggregate = Aggregate(section.choice("aggregate", tuple(Aggregate)) or Aggregate.COUNT)
    of_products, ratio = aggregate in OF_PRODUCTS, aggregate is Aggregate.RATIO
    source, fields = (_PRODUCT_EVENTS, None) if of_products else read_source(section, event_fields)
    grouping = None if of_products else read_grouping(section, fields)
    feature = FeatureDefinition(
        name=name,
        source=source,
        aggregate=aggregate,
        theme=section.text("theme"),
        description=section.local_text("description", locales),
        field=None if of_products else _field(section, aggregate, fields, whole=grouping is not None),
        where=None if of_products else read_filter(section, fields, time_zone),
        windows=() if ratio else feature_windows(section),
        window_pairs=feature_window_pairs(section) if ratio else (),
        half_life=read_half_life(section),
        part=read_part(section, fields, time_zone),
        values=read_values(section),
        weigh=_weigh(section, fields),
        apart=section.choice("against", ("whole", "before"), "whole") == "before",
        per=grouping,
        then=read_sequel(section, event_fields, time_zone, fields),
        products=section.texts("products"),
    )
    default = _default(section, feature, event_fields)
    section.finish()
    return replace(feature, default=default)


def _field(section: Section, aggregate: Aggregate, fields: Fields, *, whole: bool) -> str | None:
    """The field the aggregate is taken of; `whole`: in any case one of whole numbers."""
    if aggregate in EVENTS_ONLY:
        if section.get("field") is not None:
            section.problem(f"{aggregate} looks at events, not at a field", "field")
        return None
    if aggregate in FIELD_MAY_MISS and section.get("field") is None:
        return None
    field = known_field(section, "field", fields)
    kind = (fields or {}).get(field)
    if kind is not None and kind is not AttributeType.INT and (whole or aggregate not in OF_ANY_FIELD):
        section.problem(f"{aggregate} needs whole numbers, {field} is a {kind}", "field")
    if kind is not None and kind is not AttributeType.STRING and section.given("values") and aggregate in TOPS:
        section.problem(f"values are texts, {field} is a {kind}", "values")
    return field or None


def _weigh(section: Section, fields: Fields) -> str | None:
    if section.get("weigh") is None:
        return None
    field = known_field(section, "weigh", fields)
    kind = (fields or {}).get(field)
    if kind is not None and kind is not AttributeType.INT:
        section.problem(f"what weighs is a whole number, {field} is a {kind}", "weigh")
    return field or None


def _default(section: Section, feature: FeatureDefinition, event_fields: EventFields) -> Value | None:
    kind = type_of_feature(feature, event_fields)
    if kind is None:
        section.has("default")
        return None
    return read_default(section, kind)


def _check_shape(section: Section, feature: FeatureDefinition) -> None:
    problem = shape_problem(feature)
    if problem is not None:
        key, message = problem
        section.problem(message, key)
