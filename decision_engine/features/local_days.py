"""Calendar days of a time zone and hours since the epoch, as plain numbers.

The offsets of the zone are looked up once, at compile time; after that a day is a division.
"""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from decision_engine.errors import DecisionEngineError

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
EARLIEST_MS = DAY_MS
"""The first day is left out, so that no zone's local day is ever negative."""
LATEST_MS = (1 << 21) * HOUR_MS - DAY_MS
"""The last moment whose hour still fits into a bucket number: the year 2209."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(2201, 1, 1, tzinfo=UTC)
_STEP = timedelta(days=7)
"""Shorter than any two changes of the clock in one zone lie apart in practice (Ramadan: four weeks)."""


def hour_of(moment_ms: int) -> int:
    """Whole hours since the epoch."""
    return moment_ms // HOUR_MS


def local_day_of(time_zone: str) -> Callable[[int], int]:
    """A function from epoch milliseconds to the number of the local calendar day, 0 being 1 January 1970.

    Raises DecisionEngineError for a zone that is not known.
    """
    starts, offsets = _offsets(time_zone)
    if len(offsets) == 1:
        only = offsets[0]
        return lambda moment_ms: (moment_ms + only) // DAY_MS

    def day_of(moment_ms: int) -> int:
        return (moment_ms + offsets[bisect_right(starts, moment_ms)]) // DAY_MS

    return day_of


def local_hour_of(time_zone: str) -> Callable[[int], int]:
    """A function from epoch milliseconds to the hour of the day, 0 to 23, on the zone's clock."""
    starts, offsets = _offsets(time_zone)

    def hour_of_day(moment_ms: int) -> int:
        return (moment_ms + offsets[bisect_right(starts, moment_ms)]) % DAY_MS // HOUR_MS

    return hour_of_day


@lru_cache(maxsize=16)
def _offsets(time_zone: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """When the offset from UTC changes (milliseconds), and the offsets between: one more than changes."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
        raise DecisionEngineError(f"the time zone {time_zone!r} is not known; write one like Asia/Shanghai") from cause
    starts: list[int] = []
    offsets = [_offset_ms(zone, _FIRST)]
    moment = _FIRST
    while moment < _LAST:
        following = moment + _STEP
        offset = _offset_ms(zone, following)
        if offset != offsets[-1]:
            starts.append(_change_between(zone, moment, following))
            offsets.append(offset)
        moment = following
    return tuple(starts), tuple(offsets)


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> int:
    """The first second with the later offset, in epoch milliseconds."""
    low, high = 0, int((after - before).total_seconds())
    late = _offset_ms(zone, after)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_ms(zone, before + timedelta(seconds=middle)) == late:
            high = middle
        else:
            low = middle
    return (int((before - _FIRST).total_seconds()) + high) * 1000


def _offset_ms(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)
