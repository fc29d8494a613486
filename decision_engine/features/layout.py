"""What a customer's state has to hold for the declared features: bucket streams, slots, profile attributes.

Features share: all windows and aggregates over the same events read the same stream. The layout hash covers exactly
what determines the stored bytes, so that texts, defaults, themes and derived features can change without a rebuild.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from decision_engine.errors import DecisionEngineError
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition, Window

LAYOUT_VERSION = 1
MAX_STREAMS = 1024
"""Bucket streams of one strategy; half of what a signature index can number."""
MAX_MEMORY = 4096
"""Event keys remembered per customer; each takes 8 bytes of every state."""
LIFE = "life"
"""The unit of distinct values that are counted over the whole life: one bucket, number 0."""


class StreamKind(StrEnum):
    """What a stream keeps a bucket."""

    TOTALS = "totals"
    """How many events, the exact sum of the field, and where asked for its smallest and largest value."""
    DISTINCT = "distinct"
    """32-bit hashes of the values seen."""
    EDGES = "edges"
    """The first and the last value."""


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """The events of one type that pass one filter, in buckets of one unit. `field` is empty where only events count."""

    kind: StreamKind
    source: str
    where: str
    field: str
    unit: str


class SlotKind(StrEnum):
    """What a slot keeps over the whole life."""

    TOTALS = "totals"
    EXTREMES = "extremes"
    SPAN = "span"
    """The times of the first and of the last event."""
    LAST = "last"
    FIRST = "first"


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One whole-life fact about the events of one type that pass one filter."""

    kind: SlotKind
    source: str
    where: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The sorted streams with how many units each keeps, the slots, and the hash over all of it."""

    hash: str
    streams: tuple[Stream, ...]
    """Those of totals, in the order of their bits in a signature."""
    hourly: tuple[bool, ...]
    """For each of `streams` whether its unit is the hour."""
    reaches: tuple[int, ...]
    """For each of `streams` what `keeps` says."""
    extremes: frozenset[Stream]
    """Those of totals whose smallest and largest values are read too."""
    distinct: tuple[Stream, ...]
    edges: tuple[Stream, ...]
    keeps: dict[Stream, int]
    """For each stream the units its longest window reaches back, the current one included."""
    slots: tuple[Slot, ...]
    profile: tuple[str, ...]
    spans: dict[bytes, tuple[bool, int]] = field(default_factory=dict, compare=False, repr=False)
    """Worked out so far for signatures: whether in hours, and the longest reach."""


_WINDOWED = {
    Aggregate.COUNT: StreamKind.TOTALS,
    Aggregate.SUM: StreamKind.TOTALS,
    Aggregate.MEAN: StreamKind.TOTALS,
    Aggregate.RATIO: StreamKind.TOTALS,
    Aggregate.TREND: StreamKind.TOTALS,
    Aggregate.DAYS_SINCE_LAST: StreamKind.TOTALS,
    Aggregate.DAYS_SINCE_FIRST: StreamKind.TOTALS,
    Aggregate.MIN: StreamKind.TOTALS,
    Aggregate.MAX: StreamKind.TOTALS,
    Aggregate.DISTINCT: StreamKind.DISTINCT,
    Aggregate.LAST: StreamKind.EDGES,
    Aggregate.FIRST: StreamKind.EDGES,
}
_WHOLE_LIFE = {
    Aggregate.COUNT: SlotKind.TOTALS,
    Aggregate.SUM: SlotKind.TOTALS,
    Aggregate.MEAN: SlotKind.TOTALS,
    Aggregate.MIN: SlotKind.EXTREMES,
    Aggregate.MAX: SlotKind.EXTREMES,
    Aggregate.DAYS_SINCE_LAST: SlotKind.SPAN,
    Aggregate.DAYS_SINCE_FIRST: SlotKind.SPAN,
    Aggregate.LAST: SlotKind.LAST,
    Aggregate.FIRST: SlotKind.FIRST,
}
_EVENTS_ONLY = frozenset({Aggregate.COUNT, Aggregate.DAYS_SINCE_LAST, Aggregate.DAYS_SINCE_FIRST})
"""Aggregates that look at events, not at a field of theirs."""


def stream_of(feature: FeatureDefinition, unit: str) -> Stream:
    """The stream a feature's windows of that unit read."""
    field = "" if feature.aggregate in _EVENTS_ONLY else feature.field or ""
    return Stream(_WINDOWED[feature.aggregate], feature.source, (feature.where or "").strip(), field, unit)


def slot_of(feature: FeatureDefinition) -> Slot:
    """The slot a feature without windows reads; not for `distinct`, which has a stream of unit life."""
    field = "" if feature.aggregate in _EVENTS_ONLY else feature.field or ""
    return Slot(_WHOLE_LIFE[feature.aggregate], feature.source, (feature.where or "").strip(), field)


def plan_layout(declarations: FeatureDeclarations) -> Layout:
    """The layout the declarations need. Raises DecisionEngineError for combinations that have no meaning."""
    if not 0 <= declarations.duplicate_memory <= MAX_MEMORY:
        raise DecisionEngineError(f"duplicate_memory is 0 to {MAX_MEMORY}, not {declarations.duplicate_memory}")
    keeps: dict[Stream, int] = {}
    extremes: set[Stream] = set()
    slots: set[Slot] = set()
    for feature in declarations.features:
        _check_shape(feature)
        reaches = list(_reaches(feature))
        for unit, reach in reaches:
            stream = stream_of(feature, unit)
            keeps[stream] = max(keeps.get(stream, 0), reach)
            if feature.aggregate in (Aggregate.MIN, Aggregate.MAX):
                extremes.add(stream)
        if not reaches and feature.aggregate is not Aggregate.DISTINCT:
            slots.add(slot_of(feature))
        elif not reaches:
            keeps[stream_of(feature, LIFE)] = 1
    streams = sorted(keeps)
    bucketed = tuple(s for s in streams if s.kind is StreamKind.TOTALS)
    distinct = tuple(s for s in streams if s.kind is StreamKind.DISTINCT)
    if max(len(bucketed), len(distinct)) > MAX_STREAMS:
        raise DecisionEngineError(f"the features need more than {MAX_STREAMS} streams; share filters and fields")
    return Layout(
        hash=_hash(declarations, keeps, extremes, slots),
        streams=bucketed,
        hourly=tuple(stream.unit == "h" for stream in bucketed),
        reaches=tuple(keeps[stream] for stream in bucketed),
        extremes=frozenset(extremes),
        distinct=distinct,
        edges=tuple(s for s in streams if s.kind is StreamKind.EDGES),
        keeps=keeps,
        slots=tuple(sorted(slots)),
        profile=tuple(sorted(attribute.name for attribute in declarations.profile)),
    )


def _reaches(feature: FeatureDefinition) -> Iterable[tuple[str, int]]:
    """Unit and how many units back each window looks; a trend looks at the window before it too."""
    factor = 2 if feature.aggregate is Aggregate.TREND else 1
    for window in (*feature.windows, *(window for pair in feature.window_pairs for window in pair)):
        yield window.unit, window.length * factor


def _check_shape(feature: FeatureDefinition) -> None:
    problem = _shape_problem(feature)
    if problem is not None:
        raise DecisionEngineError(f"feature {feature.name}: {problem}")


def _shape_problem(feature: FeatureDefinition) -> str | None:
    kind = feature.aggregate
    windows: tuple[Window, ...] = (*feature.windows, *(window for pair in feature.window_pairs for window in pair))
    if kind is Aggregate.RATIO and (not feature.window_pairs or feature.windows):
        return "a ratio takes pairs of windows, such as [[7d, 90d]]"
    if kind is not Aggregate.RATIO and feature.window_pairs:
        return f"only a ratio takes pairs of windows, not {kind}"
    if kind is Aggregate.TREND and not windows:
        return "a trend takes windows"
    if kind not in _EVENTS_ONLY | {Aggregate.RATIO, Aggregate.TREND} and not feature.field:
        return f"{kind} takes a field"
    if any(window.unit not in ("h", "d") or not 1 <= window.length <= 100_000 for window in windows):
        return "a window is 1 to 100000 hours or days, such as 24h or 7d"
    if kind in (Aggregate.DAYS_SINCE_LAST, Aggregate.DAYS_SINCE_FIRST) and any(w.unit != "d" for w in windows):
        return f"{kind} counts calendar days, so its windows are in days"
    return None


def _hash(declarations: FeatureDeclarations, keeps: dict[Stream, int], extremes: set[Stream], slots: set[Slot]) -> str:
    lines = [
        f"kairos state {LAYOUT_VERSION}",
        f"zone {declarations.time_zone}",
        f"memory {declarations.duplicate_memory}",
        *sorted(f"profile {attribute.name!r} {attribute.type}" for attribute in declarations.profile),
        *(f"stream {s.kind} {s.source!r} {s.where!r} {s.field!r} {s.unit} {keeps[s]}" for s in sorted(keeps)),
        *(f"extremes {s.source!r} {s.where!r} {s.field!r} {s.unit}" for s in sorted(extremes)),
        *(f"slot {s.kind} {s.source!r} {s.where!r} {s.field!r}" for s in sorted(slots)),
    ]
    return blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()
