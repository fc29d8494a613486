"""What a customer's state has to hold for the declared features: bucket streams, slots, profile attributes.

Features share: all windows and aggregates over the same events read the same stream. The layout hash covers exactly
what determines the stored bytes, so that texts, defaults, themes and derived features can change without a rebuild.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from decision_engine.errors import DecisionEngineError
from decision_engine.features.calendar_units import days_reached
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition
from decision_engine.features.shapes import EVENTS_ONLY, OF_PRODUCTS, SEQUENCES, shape_problem
from decision_engine.features.slot_kinds import SlotKind
from decision_engine.features.tally_layout import (
    TallyLayout,
    filters_of,
    is_tallied,
    plan_tallies,
    reaches_of,
    summed_field,
)

LAYOUT_VERSION = 2
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
    tallies: TallyLayout = field(default_factory=TallyLayout)
    """What is kept beside day and hour rows."""
    spans: dict[bytes, tuple[bool, int]] = field(default_factory=dict, compare=False, repr=False)
    """Worked out so far for signatures: whether in hours, and the longest reach."""

    @property
    def days(self) -> int:
        """How many local days back any window reaches; 0 when there is none."""
        rows = [days_reached(stream.unit, reach) for stream, reach in self.keeps.items() if stream.unit != LIFE]
        return max([*rows, self.tallies.days], default=0)


_WINDOWED = {
    Aggregate.DISTINCT: StreamKind.DISTINCT,
    Aggregate.LAST: StreamKind.EDGES,
    Aggregate.FIRST: StreamKind.EDGES,
}
"""All others read totals."""
_WHOLE_LIFE = {
    Aggregate.COUNT: SlotKind.TOTALS,
    Aggregate.SUM: SlotKind.TOTALS,
    Aggregate.MEAN: SlotKind.TOTALS,
    Aggregate.MIN: SlotKind.EXTREMES,
    Aggregate.MAX: SlotKind.EXTREMES,
    Aggregate.DAYS_SINCE_LAST: SlotKind.SPAN,
    Aggregate.DAYS_SINCE_FIRST: SlotKind.SPAN,
    Aggregate.LAST_AT: SlotKind.SPAN,
    Aggregate.FIRST_AT: SlotKind.SPAN,
    Aggregate.LAST: SlotKind.LAST,
    Aggregate.FIRST: SlotKind.FIRST,
}


def streams_of(feature: FeatureDefinition, unit: str) -> tuple[Stream, ...]:
    """The streams a feature's windows of that unit read: one, but for a share all and the part, and for a top one for
    each value that competes."""
    kind = _WINDOWED.get(feature.aggregate, StreamKind.TOTALS)
    return tuple(Stream(kind, feature.source, where, summed_field(feature), unit) for where in filters_of(feature))


def stream_of(feature: FeatureDefinition, unit: str) -> Stream:
    """The first of them, of which features of one filter have no other."""
    return streams_of(feature, unit)[0]


def slot_of(feature: FeatureDefinition) -> Slot:
    """The slot a feature without windows reads; not for `distinct`, which has a stream of unit life."""
    field = "" if feature.aggregate in EVENTS_ONLY else feature.field or ""
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
        _add_needs(feature, keeps, extremes, slots)
    tallies = plan_tallies(declarations)
    streams = sorted(keeps)
    bucketed = tuple(s for s in streams if s.kind is StreamKind.TOTALS)
    distinct = tuple(s for s in streams if s.kind is StreamKind.DISTINCT)
    if max(len(bucketed), len(distinct), len(tallies.streams)) > MAX_STREAMS:
        raise DecisionEngineError(f"the features need more than {MAX_STREAMS} streams; share filters and fields")
    return Layout(
        hash=_hash(declarations, keeps, extremes, slots, tallies),
        streams=bucketed,
        hourly=tuple(stream.unit == "h" for stream in bucketed),
        reaches=tuple(keeps[stream] for stream in bucketed),
        extremes=frozenset(extremes),
        distinct=distinct,
        edges=tuple(s for s in streams if s.kind is StreamKind.EDGES),
        keeps=keeps,
        slots=tuple(sorted(slots)),
        profile=tuple(sorted(attribute.name for attribute in declarations.profile)),
        tallies=tallies,
    )


def _add_needs(feature: FeatureDefinition, keeps: dict[Stream, int], extremes: set[Stream], slots: set[Slot]) -> None:
    """Streams with their reach, and slots; what tallies hold is planned by itself."""
    if feature.aggregate in OF_PRODUCTS | SEQUENCES:
        return
    reaches = list(reaches_of(feature))
    for unit, reach in reaches:
        if is_tallied(feature, unit):
            continue
        for stream in streams_of(feature, unit):
            keeps[stream] = max(keeps.get(stream, 0), reach)
            if feature.aggregate in (Aggregate.MIN, Aggregate.MAX):
                extremes.add(stream)
    if reaches or feature.per is not None:
        return
    if feature.aggregate is Aggregate.DISTINCT:
        keeps[stream_of(feature, LIFE)] = 1
    else:
        slots.add(slot_of(feature))


def _check_shape(feature: FeatureDefinition) -> None:
    problem = shape_problem(feature)
    if problem is not None:
        raise DecisionEngineError(f"feature {feature.name}: {problem[1]}")


def _hash(
    declarations: FeatureDeclarations,
    keeps: dict[Stream, int],
    extremes: set[Stream],
    slots: set[Slot],
    tallies: TallyLayout,
) -> str:
    lines = [
        f"kairos state {LAYOUT_VERSION}",
        f"zone {declarations.time_zone}",
        f"memory {declarations.duplicate_memory} a topic",
        *sorted(f"profile {attribute.name!r} {attribute.type}" for attribute in declarations.profile),
        *(f"stream {s.kind} {s.source!r} {s.where!r} {s.field!r} {s.unit} {keeps[s]}" for s in sorted(keeps)),
        *(f"extremes {s.source!r} {s.where!r} {s.field!r} {s.unit}" for s in sorted(extremes)),
        *(f"slot {s.kind} {s.source!r} {s.where!r} {s.field!r}" for s in sorted(slots)),
        *tallies.lines(),
    ]
    return blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()
