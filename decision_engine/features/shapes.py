"""Which declarations have a meaning: every aggregate with what it takes."""

from collections.abc import Iterator

from decision_engine.features.calendar_units import DAYS, HOURS, LONGEST, MINUTES, UNITS
from decision_engine.features.definitions import Aggregate, FeatureDefinition, RollUp, Window

EVENTS_ONLY = frozenset({
    Aggregate.COUNT, Aggregate.DAYS_SINCE_LAST, Aggregate.DAYS_SINCE_FIRST, Aggregate.LAST_AT, Aggregate.FIRST_AT,
    Aggregate.USUAL_HOUR, Aggregate.USUAL_WEEKDAY, Aggregate.ACTIVE, Aggregate.STREAK, Aggregate.LONGEST_STREAK,
    Aggregate.SEQUENCE, Aggregate.UNFOLLOWED,
})  # fmt: skip
"""Aggregates that look at events, not at a field of theirs."""
OF_PRODUCTS = frozenset({Aggregate.HELD, Aggregate.HELD_CHANGE, Aggregate.HELD_DAYS})
"""Aggregates that look at products held, not at events."""
FIELD_MAY_MISS = frozenset({Aggregate.RATIO, Aggregate.TREND, Aggregate.DECAYED, Aggregate.SHARE})
"""Aggregates of a field or, without one, of events."""
OF_ANY_FIELD = frozenset({
    Aggregate.DISTINCT, Aggregate.LAST, Aggregate.FIRST, Aggregate.TOP, Aggregate.TOP_SHARE,
})  # fmt: skip
SEQUENCES = frozenset({Aggregate.SEQUENCE, Aggregate.UNFOLLOWED})
TOPS = frozenset({Aggregate.TOP, Aggregate.TOP_SHARE})
STREAKS = frozenset({Aggregate.ACTIVE, Aggregate.STREAK, Aggregate.LONGEST_STREAK})
USUAL = frozenset({Aggregate.USUAL_HOUR, Aggregate.USUAL_WEEKDAY})
SINCE = frozenset({Aggregate.DAYS_SINCE_LAST, Aggregate.DAYS_SINCE_FIRST})
_NEEDS_WINDOWS = (
    {Aggregate.TREND, Aggregate.SHARE, Aggregate.HELD_CHANGE} | SEQUENCES | TOPS | STREAKS | USUAL
)  # fmt: skip
_WHOLE_LIFE_ONLY = frozenset({Aggregate.LAST_AT, Aggregate.FIRST_AT, Aggregate.HELD_DAYS})
_PER_WINDOWED = frozenset({Aggregate.COUNT, Aggregate.SUM, Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX}) | STREAKS
_PER_LIFE = frozenset({
    Aggregate.COUNT, Aggregate.SUM, Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX, Aggregate.LAST, Aggregate.FIRST,
}) | SINCE  # fmt: skip
DECAY_HORIZON = 10
"""How many half-lives `decayed` looks back without a window: 2^-10 is under a thousandth."""
LONGEST_HALF_LIFE = 10_000


def windows_of(feature: FeatureDefinition) -> tuple[Window, ...]:
    """The windows of any feature but a ratio; `decayed` without any has the one its half-life implies."""
    if feature.aggregate is Aggregate.DECAYED and not feature.windows and feature.half_life is not None:
        return (Window(feature.half_life.unit, feature.half_life.length * DECAY_HORIZON),)
    return feature.windows


def shape_problem(feature: FeatureDefinition) -> tuple[str, str] | None:
    """The first thing that gives a declaration no meaning: the key at fault and what is wrong; None if it is sound."""
    return next(_problems(feature), None)


def _problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    yield from _field_problems(feature)
    yield from _window_problems(feature)
    yield from _unit_problems(feature)
    yield from _foreign_keys(feature)
    yield from _decay_problems(feature)
    yield from _sequence_problems(feature)
    yield from _per_problems(feature)


def _field_problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    kind = feature.aggregate
    if kind in OF_PRODUCTS and (feature.field or feature.where):
        yield "field" if feature.field else "where", f"{kind} looks at products held, not at events"
    if kind not in EVENTS_ONLY | OF_PRODUCTS | FIELD_MAY_MISS and not feature.field:
        yield "field", f"{kind} takes a field"


def _window_problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    kind = feature.aggregate
    if kind is Aggregate.RATIO and (not feature.window_pairs or feature.windows):
        yield "windows", "a ratio takes pairs of windows, such as [[7d, 90d]]"
    if kind is not Aggregate.RATIO and feature.window_pairs:
        yield "windows", f"only a ratio takes pairs of windows, not {kind}"
    if kind in _NEEDS_WINDOWS and not feature.windows:
        yield "windows", "a trend takes windows" if kind is Aggregate.TREND else f"{kind} takes windows"
    if kind in _WHOLE_LIFE_ONLY and feature.windows:
        yield "windows", f"{kind} looks at the whole life and takes no windows"


def _unit_problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    kind = feature.aggregate
    windows = (*windows_of(feature), *(window for pair in feature.window_pairs for window in pair))
    for window in windows:
        if window.unit not in UNITS or not 1 <= window.length <= LONGEST[window.unit]:
            yield (
                "windows",
                "a window is 1 to 100000 hours or days, 2880 minutes, 1000 weeks or 240 months: 24h, 7d, 12mo",
            )
        if kind in SINCE and window.unit != DAYS:
            yield "windows", f"{kind} counts calendar days, so its windows are in days"
        if kind in SEQUENCES | {Aggregate.HELD, Aggregate.HELD_CHANGE} and window.unit != DAYS:
            yield "windows", f"the windows of {kind} are in days"
        if kind in STREAKS | {Aggregate.DISTINCT} and window.unit == MINUTES:
            yield "windows", f"{kind} has no windows in minutes"
        if kind in USUAL and window.unit in (MINUTES, HOURS):
            yield "windows", f"the windows of {kind} are in days, weeks or months"


def _foreign_keys(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    """Keys that belong to other aggregates."""
    kind = feature.aggregate
    owners = (
        ("part", feature.part, frozenset({Aggregate.SHARE})),
        ("values", feature.values, TOPS),
        ("weigh", feature.weigh, TOPS),
        ("against", feature.apart, frozenset({Aggregate.RATIO})),
        ("products", feature.products, OF_PRODUCTS),
        ("half_life", feature.half_life, frozenset({Aggregate.DECAYED})),
        ("then", feature.then, SEQUENCES),
    )
    for key, given, kinds in owners:
        if given and kind not in kinds:
            yield key, f"{kind} does not take {key}"
    if kind is Aggregate.SHARE and not feature.part:
        yield "part", "a share takes a part: the further condition"


def _decay_problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    half_life = feature.half_life
    if feature.aggregate is not Aggregate.DECAYED:
        return
    if half_life is None:
        yield "half_life", "decayed takes a half_life, such as 14d"
    elif half_life.unit not in (HOURS, DAYS) or not 1 <= half_life.length <= LONGEST_HALF_LIFE:
        yield "half_life", f"a half-life is 1 to {LONGEST_HALF_LIFE} hours or days"
    elif any(window.unit != half_life.unit for window in feature.windows):
        yield "windows", "windows and half-life are in the same unit"


def _sequence_problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    if feature.aggregate in SEQUENCES and feature.then is None:
        yield "then", f"{feature.aggregate} takes a then: the event that has to follow"
    if feature.then is not None and feature.then.within_ms < 1:
        yield "then", "within is a length of time, such as 2d"


def _per_problems(feature: FeatureDefinition) -> Iterator[tuple[str, str]]:
    if feature.per is None:
        return
    fitting = _PER_WINDOWED if feature.windows else _PER_LIFE
    if feature.aggregate not in fitting:
        over = "windows" if feature.windows else "the whole life"
        yield "per", f"{feature.aggregate} cannot be taken per {feature.per.field} over {over}"
    if feature.per.over not in tuple(RollUp):
        yield "over", f"over is one of {', '.join(RollUp)}"
