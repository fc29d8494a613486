"""What is read from a state for every attribute: prepared once, so that a snapshot is a few array operations.

A *cell* is the count or the sum of one stream over one reach: what happened in the last so many units. The windows give
all cells as one list; an attribute is a cell, or a small calculation over cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.attribute_defaults import attribute_defaults
from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    Value,
    Window,
)
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.distinct_values import DistinctReadings, plan_distinct
from decision_engine.features.extremes import ExtremePlan, plan_extremes
from decision_engine.features.held_products import HeldReading, plan_held
from decision_engine.features.layout import LIFE, Layout, Stream, slot_of, stream_of, streams_of
from decision_engine.features.patterns import PatternPlan, plan_patterns
from decision_engine.features.shapes import OF_PRODUCTS, SEQUENCES, STREAKS
from decision_engine.features.slots import slot_value
from decision_engine.features.tally_layout import all_windows, is_tallied
from decision_engine.features.tally_readings import TallyReading, plan_tally_readings
from decision_engine.features.window_formulas import days_of, ratio_of, share_of, top_of, trend_of

Calculation = Callable[[Sequence[int]], Value | None]
"""From the values of all cells to an attribute; None where there is nothing to tell."""
SlotReader = Callable[[int, int, int, int], Value]
"""From a slot's tag and two numbers, and the current local day, to an attribute."""
SlotReading = tuple[str, SlotReader]
"""An attribute read from a slot."""


@dataclass(frozen=True, slots=True)
class StreamReading:
    """An attribute read from one stream over one reach."""

    name: str
    aggregate: Aggregate
    stream: int
    reach: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPlan:
    """Everything a snapshot reads beside profile, holdings and consents."""

    defaults: dict[str, Value]
    """What attributes are while nothing has happened; those without an entry are missing then."""
    reaches: NDArray[np.int64]
    """The distinct reaches of all windows, the longest first, last 0."""
    streams: int
    """How many streams there are."""
    hourly_bytes: bytes
    """A byte a stream: 1 for those in hours, 0 for those in days."""
    cells: NDArray[np.intp]
    """Where it stands what there was at the end of each cell, and then what there was before it: among all streams,
    for each its reaches, for each count and sum."""
    plain: tuple[str, ...]
    """Attributes that are the first cells as they are."""
    means: tuple[tuple[str, int, int], ...]
    """Attributes that are the cell of a sum over that of its count."""
    calculations: tuple[tuple[str, Calculation], ...]
    since: tuple[StreamReading, ...]
    extremes: ExtremePlan | None
    distinct: tuple[DistinctReadings, ...]
    edges: tuple[StreamReading, ...]
    slots: tuple[tuple[SlotReading, ...], ...]
    """What is read from each slot."""
    profile_names: Mapping[str, str]
    """Number in the record to name."""
    patterns: PatternPlan
    """Decay and streaks, read from the same rows."""
    tallies: tuple[TallyReading, ...]
    held: tuple[HeldReading, ...]
    any_hourly: bool
    signature: "np.dtype[np.void]"
    """How a signature is stored."""
    spread: dict[bytes, bytes] = field(default_factory=dict, compare=False, repr=False)
    """Worked out so far for signatures (`features/windows.py`)."""
    bounds: dict[tuple[int, int], NDArray[np.uint32]] = field(default_factory=dict, compare=False, repr=False)
    """Worked out so far for current buckets and numbers of signatures (likewise)."""

    def tell(self, cells: Sequence[int], attributes: dict[str, Value]) -> None:
        """Sets the attributes that the cells tell; what is zero is in the defaults already."""
        attributes.update(compress(zip(self.plain, cells, strict=False), cells))
        for name, total, count in self.means:
            if cells[count]:
                attributes[name] = cells[total] / cells[count]
        for name, calculate in self.calculations:
            value = calculate(cells)
            if value is not None:
                attributes[name] = value


def plan_readings(
    declarations: FeatureDeclarations,
    layout: Layout,
    types: Mapping[str, AttributeType],
    day_of: Callable[[int], int],
) -> ReadingPlan:
    """Prepares the reading of every declared feature; `types` are those of the dictionary, `day_of` tells the local
    day of a moment."""
    planner = _Planner(layout, declarations, day_of)
    # Plain counts and sums come first: they need no calculation, only a name each.
    for feature in declarations.features:
        planner.add_plain(feature)
    for feature in declarations.features:
        planner.add_other(feature)
    return planner.plan(attribute_defaults(declarations, types))


class _Planner:
    def __init__(self, layout: Layout, declarations: FeatureDeclarations, day_of: Callable[[int], int]) -> None:
        self._layout, self._day_of, self._features = layout, day_of, declarations.features
        reaches = {0}
        for feature in declarations.features:
            for window in all_windows(feature):
                if feature.aggregate not in _NO_ROWS and not is_tallied(feature, window.unit):
                    twice = {2 * window.length} if feature.aggregate is Aggregate.TREND else set()
                    reaches |= {window.length} | twice
        self._reaches = sorted(reaches)
        self._reach_index = {reach: index for index, reach in enumerate(self._reaches)}
        self._streams = {stream: number for number, stream in enumerate(layout.streams)}
        self._distinct = {stream: number for number, stream in enumerate(layout.distinct)}
        self._edges = {stream: number for number, stream in enumerate(layout.edges)}
        self._slots = {slot: number for number, slot in enumerate(layout.slots)}
        self._cells: list[int] = []
        self._plain: list[str] = []
        self._means: list[tuple[str, int, int]] = []
        self._calculations: list[tuple[str, Calculation]] = []
        self._readings: dict[str, list[StreamReading]] = {"since": [], "extremes": [], "distinct": [], "edges": []}
        self._slot_readings: list[list[SlotReading]] = [[] for _ in layout.slots]

    def plan(self, defaults: dict[str, Value]) -> ReadingPlan:
        """The finished plan."""
        extremes = [(r.name, r.aggregate, r.stream, r.reach) for r in self._readings["extremes"]]
        return ReadingPlan(
            defaults=defaults,
            reaches=np.array(self._reaches[::-1], dtype=np.int64),
            streams=len(self._streams),
            hourly_bytes=bytes(self._layout.hourly),
            any_hourly=any(self._layout.hourly),
            signature=np.dtype((np.void, max(1, (len(self._layout.streams) + 7) // 8))),
            cells=np.array([self._ends(), self._cells], dtype=np.intp),
            plain=tuple(self._plain),
            means=tuple(self._means),
            calculations=tuple(self._calculations),
            since=tuple(self._readings["since"]),
            extremes=plan_extremes(extremes, self._layout.hourly),
            distinct=plan_distinct((r.name, r.stream, r.unit, r.reach) for r in self._readings["distinct"]),
            edges=tuple(self._readings["edges"]),
            slots=tuple(map(tuple, self._slot_readings)),
            profile_names={str(number): name for number, name in enumerate(self._layout.profile)},
            patterns=plan_patterns(self._features, self._layout),
            tallies=plan_tally_readings(self._features, self._layout.tallies, self._day_of),
            held=plan_held(self._features),
        )

    def add_plain(self, feature: FeatureDefinition) -> None:
        """Windowed counts and sums whose value for no events is zero."""
        if not _is_plain(feature):
            return
        cell = self._count if feature.aggregate is Aggregate.COUNT else self._sum
        for (name, _), window in zip(attribute_names(feature), feature.windows, strict=True):
            if not is_tallied(feature, window.unit):
                self._plain.append(name)
                cell(feature, window, window.length)

    def add_other(self, feature: FeatureDefinition) -> None:
        """Everything that is not plain and is read from rows, slots or values."""
        if _is_plain(feature) or feature.per is not None or feature.aggregate in _READ_ELSEWHERE:
            return
        names = [name for name, _ in attribute_names(feature)]
        if feature.aggregate is Aggregate.RATIO:
            for name, pair in zip(names, feature.window_pairs, strict=True):
                if not is_tallied(feature, pair[0].unit):
                    self._calculations.append((name, self._ratio(feature, *pair)))
        elif feature.windows:
            for name, window in zip(names, feature.windows, strict=True):
                if not is_tallied(feature, window.unit):
                    self._add_windowed(feature, name, window)
        elif feature.aggregate is Aggregate.DISTINCT:
            number = self._distinct[stream_of(feature, LIFE)]
            self._readings["distinct"].append(StreamReading(names[0], feature.aggregate, number, 1, LIFE))
        else:
            read = self._slot_reader(feature.aggregate)
            self._slot_readings[self._slots[slot_of(feature)]].append((names[0], read))

    def _slot_reader(self, aggregate: Aggregate) -> SlotReader:
        day_of = self._day_of
        match aggregate:
            case Aggregate.COUNT | Aggregate.MIN | Aggregate.FIRST_AT:
                return lambda _tag, first, _second, _day: first
            case Aggregate.SUM | Aggregate.MAX | Aggregate.LAST_AT:
                return lambda _tag, _first, second, _day: second
            case Aggregate.MEAN:
                return lambda _tag, first, second, _day: second / first
            case Aggregate.DAYS_SINCE_FIRST:
                return lambda _tag, first, _second, day: max(0, day - day_of(first))
            case Aggregate.DAYS_SINCE_LAST:
                return lambda _tag, _first, second, day: max(0, day - day_of(second))
            case _:
                return lambda tag, _first, second, _day: slot_value(tag, second)

    def _add_windowed(self, feature: FeatureDefinition, name: str, window: Window) -> None:
        match feature.aggregate:
            case Aggregate.COUNT | Aggregate.SUM:
                self._calculations.append((name, self._total(feature, window)))
            case Aggregate.MEAN:
                total, count = (of(feature, window, window.length) for of in (self._sum, self._count))
                self._means.append((name, total, count))
            case Aggregate.TREND:
                self._calculations.append((name, self._trend(feature, window)))
            case Aggregate.SHARE:
                self._calculations.append((name, self._share(feature, window)))
            case Aggregate.TOP | Aggregate.TOP_SHARE:
                self._calculations.append((name, self._top(feature, window)))
            case Aggregate.DAYS_SINCE_FIRST | Aggregate.DAYS_SINCE_LAST:
                self._add_reading("since", self._streams, feature, name, window)
            case Aggregate.MIN | Aggregate.MAX:
                self._add_reading("extremes", self._streams, feature, name, window)
            case Aggregate.DISTINCT:
                self._add_reading("distinct", self._distinct, feature, name, window)
            case _:
                self._add_reading("edges", self._edges, feature, name, window)

    def _add_reading(
        self, group: str, numbers: dict[Stream, int], feature: FeatureDefinition, name: str, window: Window
    ) -> None:
        number = numbers[stream_of(feature, window.unit)]
        self._readings[group].append(StreamReading(name, feature.aggregate, number, window.length, window.unit))

    def _count(self, feature: FeatureDefinition, window: Window, reach: int) -> int:
        return self._cell(stream_of(feature, window.unit), reach, summed=False)

    def _sum(self, feature: FeatureDefinition, window: Window, reach: int) -> int:
        return self._cell(stream_of(feature, window.unit), reach, summed=True)

    def _cell(self, stream: Stream, reach: int, *, summed: bool) -> int:
        reaches = len(self._reaches)
        place = (self._streams[stream] + 1) * reaches - 1 - self._reach_index[reach]
        self._cells.append(2 * place + summed)
        return len(self._cells) - 1

    def _ends(self) -> list[int]:
        """For each cell the reach 0 of its stream."""
        of_stream = 2 * len(self._reaches)
        return [(cell // of_stream + 1) * of_stream - 2 + cell % 2 for cell in self._cells]

    def _total(self, feature: FeatureDefinition, window: Window) -> Calculation:
        count = self._count(feature, window, window.length)
        if feature.aggregate is Aggregate.COUNT:
            return lambda cells: cells[count] or None
        total = self._sum(feature, window, window.length)
        return lambda cells: cells[total] if cells[count] else None

    def _amount(self, feature: FeatureDefinition, window: Window, reach: int) -> int:
        """What ratios and trends compare: the sum of the field, or how many events where there is no field."""
        cell = self._count if feature.field is None else self._sum
        return cell(feature, window, reach)

    def _ratio(self, feature: FeatureDefinition, short: Window, long: Window) -> Calculation:
        above, below = self._amount(feature, short, short.length), self._amount(feature, long, long.length)
        days, apart = (days_of(short), days_of(long)), feature.apart
        return lambda cells: ratio_of(cells[above], cells[below], days, apart=apart)

    def _trend(self, feature: FeatureDefinition, window: Window) -> Calculation:
        now, both = self._amount(feature, window, window.length), self._amount(feature, window, 2 * window.length)
        return lambda cells: trend_of(cells[now], cells[both])

    def _share(self, feature: FeatureDefinition, window: Window) -> Calculation:
        summed = feature.field is not None
        whole, part = (self._cell(stream, window.length, summed=summed) for stream in streams_of(feature, window.unit))
        return lambda cells: share_of(cells[part], cells[whole])

    def _top(self, feature: FeatureDefinition, window: Window) -> Calculation:
        """Of the values listed, each a stream of its own."""
        streams, summed = streams_of(feature, window.unit), feature.weigh is not None
        counts = [self._cell(stream, window.length, summed=False) for stream in streams]
        amounts = [self._cell(stream, window.length, summed=True) for stream in streams] if summed else counts
        competing, kind = tuple(zip(feature.values, counts, amounts, strict=True)), feature.aggregate
        return lambda cells: top_of([(value, cells[at]) for value, count, at in competing if cells[count]], kind)


def _is_plain(feature: FeatureDefinition) -> bool:
    plain = feature.aggregate in (Aggregate.COUNT, Aggregate.SUM) and bool(feature.windows) and feature.per is None
    return plain and feature.default in (None, 0)


_NO_ROWS = frozenset({
    Aggregate.DISTINCT, Aggregate.LAST, Aggregate.FIRST, Aggregate.DECAYED,
}) | STREAKS | SEQUENCES | OF_PRODUCTS  # fmt: skip
"""Aggregates that do not look at the rows within a reach."""
_READ_ELSEWHERE = STREAKS | SEQUENCES | OF_PRODUCTS | {Aggregate.DECAYED}
"""Planned by modules of their own."""
