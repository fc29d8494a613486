"""What is read from a state for every attribute: prepared once, so that a snapshot is a few array operations.

A *cell* is the count or the sum of one stream over one reach: what happened in the last so many units. The windows give
all cells as one list; an attribute is a cell, or a small calculation over cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import (
    Aggregate,
    AttributeType,
    FeatureDeclarations,
    FeatureDefinition,
    Value,
    Window,
)
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.layout import LIFE, Layout, Stream, slot_of, stream_of
from decision_engine.features.slots import slot_value

Calculation = Callable[[Sequence[int]], Value | None]
"""From the values of all cells to an attribute; None where there is nothing to tell."""
SlotReader = Callable[[int, int, int, int], Value]
"""From a slot's tag and two numbers, and the current local day, to an attribute."""


@dataclass(frozen=True, slots=True)
class StreamReading:
    """An attribute read from one stream over one reach."""

    name: str
    aggregate: Aggregate
    stream: int
    reach: int
    unit: str


@dataclass(frozen=True, slots=True)
class SlotReading:
    """An attribute read from a slot."""

    name: str
    slot: int
    read: SlotReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPlan:
    """Everything a snapshot reads beside profile, holdings and consents."""

    defaults: dict[str, Value]
    """What attributes are while nothing has happened; those without an entry are missing then."""
    reaches: NDArray[np.int64]
    """The distinct reaches of all windows, 0 first."""
    longest_reach: int
    hourly_bytes: bytes
    """A byte a stream: 1 for those in hours, 0 for those in days."""
    cells: NDArray[np.intp]
    """Where each cell stands in the counts of all streams and reaches, followed by their sums."""
    plain: tuple[str, ...]
    """Attributes that are the first cells as they are."""
    calculations: tuple[tuple[str, Calculation], ...]
    since: tuple[StreamReading, ...]
    extremes: tuple[StreamReading, ...]
    extreme_signs: NDArray[np.int64]
    """The sides asked for, one a line: 1 for smallest, -1 for largest values."""
    extreme_sides: NDArray[np.intp]
    """Which of these lines an extreme looks at; this and the next three are the extremes as columns."""
    extreme_streams: NDArray[np.intp]
    extreme_reaches: NDArray[np.uint64]
    extreme_hourly: NDArray[np.bool_]
    extremes_hourly: bool
    """Whether any of them is in hours."""
    distinct: tuple[StreamReading, ...]
    edges: tuple[StreamReading, ...]
    slots: tuple[SlotReading, ...]
    profile_names: Mapping[str, str]
    """Number in the record to name."""


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
    return planner.plan(_defaults(declarations, types))


class _Planner:
    def __init__(self, layout: Layout, declarations: FeatureDeclarations, day_of: Callable[[int], int]) -> None:
        self._layout, self._day_of = layout, day_of
        reaches = {0}
        for feature in declarations.features:
            for window in (*feature.windows, *(window for pair in feature.window_pairs for window in pair)):
                reaches |= (
                    {window.length, 2 * window.length} if feature.aggregate is Aggregate.TREND else {window.length}
                )
        self._reaches = sorted(reaches)
        self._reach_index = {reach: index for index, reach in enumerate(self._reaches)}
        self._streams = {stream: number for number, stream in enumerate(layout.streams)}
        self._distinct = {stream: number for number, stream in enumerate(layout.distinct)}
        self._edges = {stream: number for number, stream in enumerate(layout.edges)}
        self._slots = {slot: number for number, slot in enumerate(layout.slots)}
        self._cells: list[int] = []
        self._plain: list[str] = []
        self._calculations: list[tuple[str, Calculation]] = []
        self._readings: dict[str, list[StreamReading]] = {"since": [], "extremes": [], "distinct": [], "edges": []}
        self._slot_readings: list[SlotReading] = []

    def plan(self, defaults: dict[str, Value]) -> ReadingPlan:
        """The finished plan."""
        extremes = self._readings["extremes"]
        signs = sorted({_sign(reading) for reading in extremes}, reverse=True)
        return ReadingPlan(
            defaults=defaults,
            reaches=np.array(self._reaches, dtype=np.int64),
            longest_reach=self._reaches[-1],
            hourly_bytes=bytes(self._layout.hourly),
            cells=np.array(self._cells, dtype=np.intp),
            plain=tuple(self._plain),
            calculations=tuple(self._calculations),
            since=tuple(self._readings["since"]),
            extremes=tuple(extremes),
            extreme_signs=np.array([[sign] for sign in signs], dtype=np.int64).reshape(-1, 1),
            extreme_sides=np.array([signs.index(_sign(reading)) for reading in extremes], dtype=np.intp),
            extreme_streams=np.array([reading.stream for reading in extremes], dtype=np.intp),
            extreme_reaches=np.array([[reading.reach] for reading in extremes], dtype=np.uint64),
            extreme_hourly=np.array([[reading.unit == "h"] for reading in extremes], dtype=np.bool_),
            extremes_hourly=any(reading.unit == "h" for reading in extremes),
            distinct=tuple(self._readings["distinct"]),
            edges=tuple(self._readings["edges"]),
            slots=tuple(self._slot_readings),
            profile_names={str(number): name for number, name in enumerate(self._layout.profile)},
        )

    def add_plain(self, feature: FeatureDefinition) -> None:
        """Windowed counts and sums whose value for no events is zero."""
        if not _is_plain(feature):
            return
        cell = self._count if feature.aggregate is Aggregate.COUNT else self._sum
        for (name, _), window in zip(attribute_names(feature), feature.windows, strict=True):
            self._plain.append(name)
            cell(feature, window, window.length)

    def add_other(self, feature: FeatureDefinition) -> None:
        """Everything that is not plain."""
        if _is_plain(feature):
            return
        names = [name for name, _ in attribute_names(feature)]
        if feature.aggregate is Aggregate.RATIO:
            for name, pair in zip(names, feature.window_pairs, strict=True):
                self._calculations.append((name, self._ratio(feature, *pair)))
        elif feature.windows:
            for name, window in zip(names, feature.windows, strict=True):
                self._add_windowed(feature, name, window)
        elif feature.aggregate is Aggregate.DISTINCT:
            number = self._distinct[stream_of(feature, LIFE)]
            self._readings["distinct"].append(StreamReading(names[0], feature.aggregate, number, 1, LIFE))
        else:
            read = self._slot_reader(feature.aggregate)
            self._slot_readings.append(SlotReading(names[0], self._slots[slot_of(feature)], read))

    def _slot_reader(self, aggregate: Aggregate) -> SlotReader:
        day_of = self._day_of
        match aggregate:
            case Aggregate.COUNT | Aggregate.MIN:
                return lambda _tag, first, _second, _day: first
            case Aggregate.SUM | Aggregate.MAX:
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
            case Aggregate.COUNT | Aggregate.SUM | Aggregate.MEAN:
                self._calculations.append((name, self._total(feature, window)))
            case Aggregate.TREND:
                self._calculations.append((name, self._trend(feature, window)))
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
        # Days since are read at the edges of the windows, by index; the others by the reach itself.
        reach = self._reach_index[window.length] if group == "since" else window.length
        self._readings[group].append(StreamReading(name, feature.aggregate, number, reach, window.unit))

    def _count(self, feature: FeatureDefinition, window: Window, reach: int) -> int:
        stream = self._streams[stream_of(feature, window.unit)]
        self._cells.append(stream * len(self._reaches) + self._reach_index[reach])
        return len(self._cells) - 1

    def _sum(self, feature: FeatureDefinition, window: Window, reach: int) -> int:
        number = self._count(feature, window, reach)
        self._cells[number] += len(self._streams) * len(self._reaches)
        return number

    def _total(self, feature: FeatureDefinition, window: Window) -> Calculation:
        count = self._count(feature, window, window.length)
        if feature.aggregate is Aggregate.COUNT:
            return lambda cells: cells[count] or None
        total = self._sum(feature, window, window.length)
        if feature.aggregate is Aggregate.SUM:
            return lambda cells: cells[total] if cells[count] else None
        return lambda cells: cells[total] / cells[count] if cells[count] else None

    def _amount(self, feature: FeatureDefinition, window: Window, reach: int) -> int:
        """What ratios and trends compare: the sum of the field, or how many events where there is no field."""
        cell = self._count if feature.field is None else self._sum
        return cell(feature, window, reach)

    def _ratio(self, feature: FeatureDefinition, short: Window, long: Window) -> Calculation:
        above, below = self._amount(feature, short, short.length), self._amount(feature, long, long.length)
        short_days, long_days = _days(short), _days(long)

        def ratio(cells: Sequence[int]) -> float | None:
            whole = cells[below]
            return (cells[above] / short_days) / (whole / long_days) if whole else None

        return ratio

    def _trend(self, feature: FeatureDefinition, window: Window) -> Calculation:
        now, both = self._amount(feature, window, window.length), self._amount(feature, window, 2 * window.length)

        def trend(cells: Sequence[int]) -> float | None:
            current = cells[now]
            before = cells[both] - current
            return (current - before) / before if before else None

        return trend


def _sign(extreme: StreamReading) -> int:
    return 1 if extreme.aggregate is Aggregate.MIN else -1


def _is_plain(feature: FeatureDefinition) -> bool:
    return (
        feature.aggregate in (Aggregate.COUNT, Aggregate.SUM) and bool(feature.windows) and feature.default in (None, 0)
    )


def _days(window: Window) -> float:
    return window.length if window.unit == "d" else window.length / 24


_ZERO = frozenset({Aggregate.COUNT, Aggregate.SUM, Aggregate.DISTINCT})
"""What these are of no events needs no declaration."""


def _defaults(declarations: FeatureDeclarations, types: Mapping[str, AttributeType]) -> dict[str, Value]:
    defaults: dict[str, Value] = {}
    for attribute in declarations.profile:
        if attribute.default is not None:
            defaults[attribute.name] = _typed(attribute.default, attribute.type)
    for feature in declarations.features:
        default = 0 if feature.default is None and feature.aggregate in _ZERO else feature.default
        for name, _ in attribute_names(feature):
            if default is not None:
                defaults[name] = _typed(default, types[name])
    return defaults


def _typed(default: Value, kind: AttributeType) -> Value:
    """A whole number written for a double is that double."""
    return float(default) if kind is AttributeType.DOUBLE and type(default) is int else default
