"""What is read from tallies: windows in minutes, weeks and months, the top of all values, habits, accounts rolled up
to the customer, and sequences."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from decision_engine.features.calendar_units import MINUTES, Now
from decision_engine.features.definitions import Aggregate, FeatureDefinition, Grouping, Value, Window
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.shapes import SEQUENCES, TOPS, USUAL, windows_of
from decision_engine.features.tallies import (
    BUCKET_BITS,
    BUCKET_MASK,
    MOMENT_BITS,
    MOMENT_MASK,
    VALUE_BITS,
    VALUE_MASK,
    Tallies,
)
from decision_engine.features.tally_layout import TallyLayout, fact_of, is_tallied, moment_streams, tally_streams
from decision_engine.features.window_formulas import (
    days_of,
    ratio_of,
    rolled_up,
    run_of,
    share_of,
    top_of,
    trend_of,
)

Row = tuple[int, int, int, int]
"""Number of the value, bucket, count, number."""
Read = Callable[["TallyView"], Value | None]
DayOf = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class TallyReading:
    """An attribute and how it is read; None where nothing happened."""

    name: str
    read: Read


class TallyView:
    """The tallies of one state as of one moment."""

    __slots__ = ("_moments", "_rows", "now", "tallies")

    def __init__(self, tallies: Tallies, now: Now) -> None:
        self.tallies, self.now = tallies, now
        rows: dict[int, list[Row]] = {}
        series = [(reference >> VALUE_BITS, reference & VALUE_MASK) for reference in tallies.series]
        for key, count, number in zip(tallies.keys, tallies.counts, tallies.numbers, strict=True):
            stream, value = series[key >> BUCKET_BITS]
            rows.setdefault(stream, []).append((value, key & BUCKET_MASK, count, number))
        self._rows = rows
        self._moments: dict[int, list[tuple[int, int]]] = {}

    def rows(self, stream: int, unit: str, reach: int) -> list[Row]:
        """The rows of the last so many units, with their age in place of the bucket."""
        rows = self._rows.get(stream)
        if rows is None:
            return []
        latest = self.now.bucket(unit)
        if unit == MINUTES:
            return [(v, age, c, n) for v, b, c, n in rows if (age := (latest - b) & BUCKET_MASK) < reach]
        return [(v, age, c, n) for v, b, c, n in rows if 0 <= (age := latest - b) < reach]

    def amounts(self, stream: int, unit: str, reach: int, at: int) -> dict[int, int]:
        """For each number of a value the counts (2) or the numbers (3) of its rows of the last so many units."""
        found: dict[int, int] = {}
        for row in self.rows(stream, unit, reach):
            found[row[0]] = found.get(row[0], 0) + row[at]
        return found

    def moments(self, kind: int) -> list[tuple[int, int]]:
        """The moments of one kind that have come, in order, with the key of the value they share."""
        known = self._moments.get(kind)
        if known is None:
            column, first = self.tallies.moments, kind << MOMENT_BITS
            start = bisect_left(column, first)
            stop = bisect_right(column, first | min(self.now.time_ms, MOMENT_MASK), start)
            same = self.tallies.same[start:stop]
            known = self._moments[kind] = [(at - first, key) for at, key in zip(column[start:stop], same, strict=True)]
        return known

    def facts(self, fact: int) -> Iterator[tuple[int, int, int]]:
        """Tag and the two numbers of each account's fact."""
        tallies = self.tallies
        start = bisect_left(tallies.slots, fact << VALUE_BITS)
        for at in range(start, bisect_left(tallies.slots, (fact + 1) << VALUE_BITS, start)):
            yield tallies.tags[at], tallies.first[at], tallies.second[at]


def plan_tally_readings(
    features: tuple[FeatureDefinition, ...], layout: TallyLayout, day_of: DayOf
) -> tuple[TallyReading, ...]:
    """The readings of all features that tallies tell."""
    planner = _Planner(layout, day_of)
    return tuple(TallyReading(name, read) for feature in features for name, read in planner.of(feature))


@dataclass(frozen=True, slots=True)
class _Planner:
    layout: TallyLayout
    day_of: DayOf

    def of(self, feature: FeatureDefinition) -> Iterator[tuple[str, Read]]:
        names = [name for name, _ in attribute_names(feature)]
        if feature.aggregate is Aggregate.RATIO:
            for name, pair in zip(names, feature.window_pairs, strict=True):
                if is_tallied(feature, pair[0].unit):
                    yield name, self._ratio(feature, pair)
        elif feature.aggregate in SEQUENCES:
            for name, window in zip(names, feature.windows, strict=True):
                yield name, self._sequence(feature, window)
        elif feature.per is not None and not feature.windows:
            yield names[0], self._fact(feature, feature.per)
        else:
            for name, window in zip(names, windows_of(feature), strict=False):
                if is_tallied(feature, window.unit):
                    yield name, self._windowed(feature, window)

    def _streams(self, feature: FeatureDefinition, unit: str) -> list[int]:
        return [self.layout.numbers[stream] for stream in tally_streams(feature, unit)]

    def _windowed(self, feature: FeatureDefinition, window: Window) -> Read:
        streams = self._streams(feature, window.unit)
        unit, length, kind = window.unit, window.length, feature.aggregate
        first, amount = streams[0], _amount_of(feature)
        if feature.per is not None:
            per, single = feature.per, _aggregator(kind)
            return lambda view: _per_value(view.rows(first, unit, length), single, per)
        if kind is Aggregate.TREND:
            return lambda view: trend_of(
                amount(view.rows(first, unit, length)), amount(view.rows(first, unit, 2 * length))
            )
        if kind is Aggregate.SHARE:
            part = streams[1]
            return lambda view: share_of(amount(view.rows(part, unit, length)), amount(view.rows(first, unit, length)))
        if kind in TOPS and feature.values:
            return _top_of_listed(feature, streams, window)
        if kind in TOPS | USUAL:
            at = _column_of(feature)
            return lambda view: top_of(
                [(view.tallies.value_of(n), of) for n, of in view.amounts(first, unit, length, at).items()], kind
            )
        aggregate = _aggregator(kind)
        return lambda view: aggregate(rows) if (rows := view.rows(first, unit, length)) else None

    def _ratio(self, feature: FeatureDefinition, pair: tuple[Window, Window]) -> Read:
        (stream,) = self._streams(feature, pair[0].unit)
        amount, days, apart = _amount_of(feature), (days_of(pair[0]), days_of(pair[1])), feature.apart
        short, long = pair

        def read(view: TallyView) -> float | None:
            above = amount(view.rows(stream, short.unit, short.length))
            return ratio_of(above, amount(view.rows(stream, long.unit, long.length)), days, apart=apart)

        return read

    def _fact(self, feature: FeatureDefinition, per: Grouping) -> Read:
        fact, single = self.layout.numbers[fact_of(feature)], _fact_reader(feature.aggregate, self.day_of)

        def read(view: TallyView) -> Value | None:
            values = [single(*entry, view.now.day) for entry in view.facts(fact)]
            return rolled_up(values, per.over, per.at_least)

        return read

    def _sequence(self, feature: FeatureDefinition, window: Window) -> Read:
        first, then = (self.layout.numbers[kind] for kind in moment_streams(feature))
        within_ms = feature.then.within_ms if feature.then is not None else 0
        day_of, count = self.day_of, _followers if feature.aggregate is Aggregate.SEQUENCE else _unfollowed

        def read(view: TallyView) -> int | None:
            now = view.now

            def inside(moment_ms: int) -> bool:
                return moment_ms <= now.time_ms and now.day - day_of(moment_ms) < window.length

            if not view.tallies.moments:
                return None
            return count(view.moments(first), view.moments(then), within_ms, now.time_ms, inside) or None

        return read


Moments = Sequence[tuple[int, int]]


def _followers(first: Moments, then: Moments, within_ms: int, _now_ms: int, inside: Callable[[int], bool]) -> int:
    """Events of the second kind in the window that came after one of the first."""
    return sum(
        inside(at) and any(begun < at <= begun + within_ms and key == same for begun, key in first) for at, same in then
    )


def _unfollowed(first: Moments, then: Moments, within_ms: int, now_ms: int, inside: Callable[[int], bool]) -> int:
    """Events of the first kind in the window whose time is up without one of the second."""
    return sum(
        inside(begun)
        and begun + within_ms <= now_ms
        and not any(begun < at <= begun + within_ms and key == same for at, key in then)
        for begun, same in first
    )


def _column_of(feature: FeatureDefinition) -> int:
    """Where a row has what is compared: the sum of the field, or how many events where there is no field."""
    summed = feature.weigh is not None if feature.aggregate in TOPS else feature.field is not None
    return 3 if summed and feature.aggregate not in USUAL else 2


def _amount_of(feature: FeatureDefinition) -> Callable[[list[Row]], int]:
    at = _column_of(feature)
    return lambda rows: sum([row[at] for row in rows])


def _top_of_listed(feature: FeatureDefinition, streams: list[int], window: Window) -> Read:
    amount, kind = _amount_of(feature), feature.aggregate

    def read(view: TallyView) -> Value | None:
        found = (
            (value, view.rows(n, window.unit, window.length)) for value, n in zip(feature.values, streams, strict=True)
        )
        return top_of([(value, amount(rows)) for value, rows in found if rows], kind)

    return read


def _aggregator(kind: Aggregate) -> Callable[[list[Row]], int | float]:
    """From rows, of which there are some, to the aggregate."""
    match kind:
        case Aggregate.COUNT:
            return lambda rows: sum([row[2] for row in rows])
        case Aggregate.SUM:
            return lambda rows: sum([row[3] for row in rows])
        case Aggregate.MEAN:
            return lambda rows: sum([row[3] for row in rows]) / sum([row[2] for row in rows])
        case Aggregate.MIN:
            return lambda rows: min([row[3] for row in rows])
        case Aggregate.MAX:
            return lambda rows: max([row[3] for row in rows])
        case _:
            return lambda rows: run_of(reduce(or_, [1 << row[1] for row in rows]), kind)


def _per_value(rows: list[Row], aggregate: Callable[[list[Row]], int | float], per: Grouping) -> Value | None:
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(row)
    return rolled_up([aggregate(group) for group in groups.values()], per.over, per.at_least)


def _fact_reader(kind: Aggregate, day_of: DayOf) -> Callable[[int, int, int, int], int | float]:
    """From a fact's tag and two numbers, and the current local day, to the account's value."""
    match kind:
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
            # Only whole numbers are kept as last and first values of accounts.
            return lambda _tag, _first, second, _day: second


def read_tally_readings(
    readings: tuple[TallyReading, ...], tallies: Tallies, now: Now, attributes: dict[str, Value]
) -> None:
    """Sets the attributes of those for which something happened."""
    view = TallyView(tallies, now)
    for reading in readings:
        value = reading.read(view)
        if value is not None:
            attributes[reading.name] = value
