"""Takes events into the tallies of a state, and sweeps what no window reaches any more."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

from decision_engine.features.calendar_units import MINUTES, Now, bucket_of, weekday_of
from decision_engine.features.definitions import Value
from decision_engine.features.local_days import DAY_MS
from decision_engine.features.slots import take_into
from decision_engine.features.tallies import (
    BUCKET_BITS,
    BUCKET_MASK,
    MAX_SERIES,
    MOMENT_BITS,
    MOMENT_MASK,
    VALUE_BITS,
    VALUE_MASK,
    Tallies,
)
from decision_engine.features.tally_effects import FactHit, MomentHit, TallyEffect, TallyHit
from decision_engine.features.tally_layout import HOUR_OF_DAY, WEEKDAY, Combine, TallyLayout
from decision_engine.features.update import Update
from decision_engine.identifiers import key32

MAX_VALUES = 256
"""Values told apart for one stream or fact. Beyond, a stream forgets the one not seen for longest; a fact keeps those
whose keys are smallest, whatever the order they came in."""
MAX_MOMENTS = 128
"""Moments remembered of one kind: the newest."""
_LARGEST, _SMALLEST = (1 << 63) - 1, -(1 << 63)


class Taking(NamedTuple):
    """One event on its way in: its local day, the newest moment the state knows, and what tells the hour of the day."""

    update: Update
    day: int
    newest: Now
    hour_of_day: Callable[[int], int]

    def value(self, name: str) -> Value:
        """The value of a field, of the clock or of the calendar."""
        if name == HOUR_OF_DAY:
            return self.hour_of_day(self.update.time_ms)
        return weekday_of(self.day) if name == WEEKDAY else self.update.fields[name]


def take(tallies: Tallies, effect: TallyEffect, taking: Taking, *, late: bool) -> None:
    """Everything one event changes; a late one only what has no window."""
    if not late:
        for hit in effect.rows:
            _add_row(tallies, hit, taking)
        for moment in effect.moments:
            _add_moment(tallies, moment, taking)
    for fact in effect.facts:
        _add_fact(tallies, fact, taking)


def sweep(tallies: Tallies, layout: TallyLayout, newest: Now) -> None:
    """Drops rows and moments that no window reaches, then series without rows and values without use."""
    for number in range(len(tallies.series)):
        stream = tallies.series[number] >> VALUE_BITS
        _drop_rows(tallies, number, _too_old(layout.streams[stream].unit, layout.reaches[stream], newest))
    for kind, days in enumerate(layout.moment_days):
        _drop_moments(tallies, kind, newest.time_ms - days * DAY_MS)
    used = sorted({key >> BUCKET_BITS for key in tallies.keys})
    _renumber_series(tallies, used)
    _renumber_values(tallies)


def _add_row(tallies: Tallies, hit: TallyHit, taking: Taking) -> None:
    update = taking.update
    bucket, newest = bucket_of(hit.unit, update.time_ms, taking.day), taking.newest.bucket(hit.unit)
    if bucket <= newest - hit.keep:
        return
    series = _series(tallies, hit, taking)
    if series is None:
        return
    value = int(update.fields[hit.field]) if hit.field else 0
    key = series << BUCKET_BITS | bucket & BUCKET_MASK
    at = bisect_left(tallies.keys, key)
    if at == len(tallies.keys) or tallies.keys[at] != key:
        tallies.keys.insert(at, key)
        tallies.counts.insert(at, 0)
        tallies.numbers.insert(at, 0)
        _set_number(tallies, at, value)
        _count(tallies, at)
        _drop_rows(tallies, series, _too_old(hit.unit, hit.keep, taking.newest))
        return
    _count(tallies, at)
    known = tallies.numbers[at]
    match hit.combine:
        case Combine.SUM:
            _set_number(tallies, at, known + value)
        case Combine.MIN:
            _set_number(tallies, at, min(known, value))
        case Combine.MAX:
            _set_number(tallies, at, max(known, value))


def _series(tallies: Tallies, hit: TallyHit, taking: Taking) -> int | None:
    """The series of the event's value, a new one at its first use; None when the value cannot be numbered."""
    value = tallies.number_of(taking.value(hit.by)) if hit.by else 0
    if value is None:
        return None
    wanted = hit.number << VALUE_BITS | value
    try:
        return tallies.series.index(wanted)
    except ValueError:
        pass
    siblings = [n for n, series in enumerate(tallies.series) if series >> VALUE_BITS == hit.number]
    if len(siblings) >= MAX_VALUES or len(tallies.series) >= MAX_SERIES:
        freed = _least_recent(tallies, siblings or list(range(len(tallies.series))), hit.unit, taking.newest)
        _drop_rows(tallies, freed, lambda _bucket: True)
        tallies.series[freed] = wanted
        return freed
    tallies.series.append(wanted)
    return len(tallies.series) - 1


def _least_recent(tallies: Tallies, candidates: list[int], unit: str, newest: Now) -> int:
    """The series not seen for longest; of equally old ones that of the smallest value."""
    latest = newest.bucket(unit)

    def recency(number: int) -> tuple[int, str]:
        start, stop = _span(tallies, number)
        ages = [(latest - (key & BUCKET_MASK)) & BUCKET_MASK for key in tallies.keys[start:stop]]
        value = tallies.series[number] & VALUE_MASK
        return -min(ages, default=BUCKET_MASK), str(tallies.value_of(value)) if value else ""

    return min(candidates, key=recency)


def _too_old(unit: str, keep: int, newest: Now) -> Callable[[int], bool]:
    latest = newest.bucket(unit)
    if unit == MINUTES:
        return lambda bucket: keep <= (latest - bucket) & BUCKET_MASK < BUCKET_MASK >> 1
    return lambda bucket: bucket <= latest - keep


def _drop_rows(tallies: Tallies, series: int, too_old: Callable[[int], bool]) -> None:
    """Deletes the oldest rows of a series. Where minutes have wrapped round, those behind are left for later."""
    start, stop = _span(tallies, series)
    end = start
    while end < stop and too_old(tallies.keys[end] & BUCKET_MASK):
        end += 1
    if end > start:
        for column in (tallies.keys, tallies.counts, tallies.numbers):
            del column[start:end]


def _span(tallies: Tallies, series: int) -> tuple[int, int]:
    start = bisect_left(tallies.keys, series << BUCKET_BITS)
    return start, bisect_right(tallies.keys, series << BUCKET_BITS | BUCKET_MASK, start)


def _count(tallies: Tallies, at: int) -> None:
    try:
        tallies.counts[at] += 1
    except OverflowError:
        tallies.counts = array("H" if tallies.counts.typecode == "B" else "I", tallies.counts)
        tallies.counts[at] += 1


def _set_number(tallies: Tallies, at: int, number: int) -> None:
    try:
        tallies.numbers[at] = number
    except OverflowError:
        tallies.numbers = array("q", tallies.numbers)
        # As with sums of day rows: wrong at the end of 64 bits, but never a crash or a change of sign.
        tallies.numbers[at] = max(_SMALLEST, min(_LARGEST, number))


def _add_moment(tallies: Tallies, hit: MomentHit, taking: Taking) -> None:
    oldest = taking.newest.time_ms - hit.days * DAY_MS
    update = taking.update
    if update.time_ms < oldest:
        return
    key = hit.number << MOMENT_BITS | update.time_ms
    same = key32(str(update.fields[hit.same])) if hit.same else 0
    at = bisect_left(tallies.moments, key)
    while at < len(tallies.moments) and tallies.moments[at] == key and tallies.same[at] < same:
        at += 1
    tallies.moments.insert(at, key)
    tallies.same.insert(at, same)
    _drop_moments(tallies, hit.number, oldest)


def _drop_moments(tallies: Tallies, kind: int, oldest_ms: int) -> None:
    """Deletes moments before the oldest one, and those beyond the newest so many."""
    start = bisect_left(tallies.moments, kind << MOMENT_BITS)
    stop = bisect_right(tallies.moments, kind << MOMENT_BITS | MOMENT_MASK, start)
    end = bisect_left(tallies.moments, kind << MOMENT_BITS | max(oldest_ms, 0), start, stop)
    end = max(end, stop - MAX_MOMENTS)
    if end > start:
        del tallies.moments[start:end]
        del tallies.same[start:end]


def _add_fact(tallies: Tallies, hit: FactHit, taking: Taking) -> None:
    value = taking.value(hit.by)
    number = tallies.number_of(value)
    if number is None:
        return
    key = hit.number << VALUE_BITS | number
    at = bisect_left(tallies.slots, key)
    if (at == len(tallies.slots) or tallies.slots[at] != key) and not _makes_room(tallies, hit.number, value):
        return
    update = taking.update
    take_into(tallies, key, hit.kind, update.time_ms, update.fields[hit.field] if hit.field else 0)


def _makes_room(tallies: Tallies, fact: int, value: Value) -> bool:
    """Whether the fact has room for another value, if need be that of one with a larger key."""
    start = bisect_left(tallies.slots, fact << VALUE_BITS)
    stop = bisect_left(tallies.slots, (fact + 1) << VALUE_BITS, start)
    if stop - start < MAX_VALUES:
        return True

    def rank(at: int) -> tuple[int, str]:
        return _rank(tallies.value_of(tallies.slots[at] & VALUE_MASK))

    last = max(range(start, stop), key=rank)
    if _rank(value) > rank(last):
        return False
    for column in (tallies.slots, tallies.tags, tallies.first, tallies.second):
        del column[last]
    return True


def _rank(value: Value) -> tuple[int, str]:
    return key32(str(value)), str(value)


def _renumber_series(tallies: Tallies, used: list[int]) -> None:
    """Closes the gaps; the order stays, so keys stay sorted."""
    if len(used) == len(tallies.series):
        return
    shifts = {number: (number - position) << BUCKET_BITS for position, number in enumerate(used)}
    for at, key in enumerate(tallies.keys):
        tallies.keys[at] = key - shifts[key >> BUCKET_BITS]
    tallies.series = array("I", [tallies.series[number] for number in used])


def _renumber_values(tallies: Tallies) -> None:
    """Forgets values that nothing refers to; the order stays."""
    used = sorted({ref & VALUE_MASK for column in (tallies.series, tallies.slots) for ref in column} - {0})
    if len(used) == len(tallies.values):
        return
    numbers = {0: 0} | {number: position for position, number in enumerate(used, 1)}
    for column in (tallies.series, tallies.slots):
        for at, reference in enumerate(column):
            column[at] = reference & ~VALUE_MASK | numbers[reference & VALUE_MASK]
    tallies.replace_values([tallies.value_of(number) for number in used])
