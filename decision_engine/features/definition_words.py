"""A feature's definition as one line of the data dictionary."""

from collections.abc import Iterator

from decision_engine.features.definitions import FeatureDefinition

_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000


def definition_words(feature: FeatureDefinition, window: str) -> str:
    """Aggregate, field, filter and window, and whatever else determines the value."""
    of = f" of {feature.field}" if feature.field else ""
    where = f" where {feature.where}" if feature.where else ""
    over = f", {window}" if window else ""
    return f"{feature.aggregate}{of}{where}{over}" + "".join(f"; {detail}" for detail in _details(feature))


def _details(feature: FeatureDefinition) -> Iterator[str]:
    if feature.half_life is not None:
        yield f"half-life {feature.half_life}"
    if feature.part:
        yield f"the part where {feature.part}"
    if feature.values:
        yield f"of {', '.join(feature.values)}"
    if feature.weigh:
        yield f"by the sum of {feature.weigh}"
    if feature.products:
        yield f"of {', '.join(feature.products)}"
    if feature.then is not None:
        then = feature.then
        where = f" where {then.where}" if then.where else ""
        same = f" with the same {then.same}" if then.same else ""
        yield f"then {then.source}{where}{same} within {_length(then.within_ms)}"
    if feature.per is not None:
        least = f" of at least {feature.per.at_least}" if feature.per.at_least is not None else ""
        yield f"{feature.per.over} per {feature.per.field}{least}"


def _length(length_ms: int) -> str:
    for unit_ms, unit in ((_DAY_MS, "d"), (_HOUR_MS, "h"), (_MINUTE_MS, "m")):
        if length_ms % unit_ms == 0:
            return f"{length_ms // unit_ms}{unit}"
    return f"{length_ms / 1000:g}s"
