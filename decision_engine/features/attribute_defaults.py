"""What attributes are while nothing has happened."""

from collections.abc import Mapping

from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    RollUp,
    Value,
)
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.shapes import SEQUENCES, STREAKS

_ZERO = {
    Aggregate.COUNT, Aggregate.SUM, Aggregate.DISTINCT, Aggregate.DECAYED, Aggregate.HELD, Aggregate.HELD_CHANGE,
} | STREAKS | SEQUENCES  # fmt: skip
"""What these are of no events needs no declaration."""


def attribute_defaults(declarations: FeatureDeclarations, types: Mapping[str, AttributeType]) -> dict[str, Value]:
    """Attribute to its value while nothing has happened; those without an entry are missing then."""
    defaults: dict[str, Value] = {}
    for attribute in declarations.profile:
        if attribute.default is not None:
            defaults[attribute.name] = _typed(attribute.default, attribute.type)
    for feature in declarations.features:
        default = 0 if feature.default is None and _is_zero(feature) else feature.default
        for name, _ in attribute_names(feature):
            if default is not None:
                defaults[name] = _typed(default, types[name])
    return defaults


def _is_zero(feature: FeatureDefinition) -> bool:
    if feature.per is not None:
        return feature.per.over is RollUp.COUNT
    return feature.aggregate in _ZERO


def _typed(default: Value, kind: AttributeType) -> Value:
    """A whole number written for a double is that double."""
    return float(default) if kind is AttributeType.DOUBLE and type(default) is int else default
