"""The granularities of windows: which bucket of minutes, hours, days, weeks or months a moment falls into."""

from datetime import date
from functools import lru_cache
from typing import NamedTuple

from decision_engine.features.local_days import hour_of

MINUTE_MS = 60_000
MINUTES, HOURS, DAYS, WEEKS, MONTHS = "m", "h", "d", "w", "mo"
UNITS = (MINUTES, HOURS, DAYS, WEEKS, MONTHS)
LONGEST = {MINUTES: 2_880, HOURS: 100_000, DAYS: 100_000, WEEKS: 1_000, MONTHS: 240}
"""The longest window in each unit."""
_PARTS_OF_A_DAY = {MINUTES: 1_440, HOURS: 24}
_DAYS_OF = {DAYS: 1, WEEKS: 7, MONTHS: 31}
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_THURSDAY = 3
"""The epoch began on a Thursday, three days into its week."""


def week_of(day: int) -> int:
    """The number of the calendar week, from Monday, that a local day lies in."""
    return (day + _THURSDAY) // 7


@lru_cache(maxsize=4096)
def month_of(day: int) -> int:
    """The number of the calendar month that a local day lies in, 0 being January 1970."""
    moment = date.fromordinal(_EPOCH_ORDINAL + day)
    return (moment.year - 1970) * 12 + moment.month - 1


def weekday_of(day: int) -> int:
    """The day of the week, 0 being Sunday."""
    return (day + 4) % 7


def bucket_of(unit: str, time_ms: int, day: int) -> int:
    """The bucket of a moment whose local day is known."""
    match unit:
        case "d":
            return day
        case "h":
            return hour_of(time_ms)
        case "m":
            return time_ms // MINUTE_MS
        case "w":
            return week_of(day)
        case _:
            return month_of(day)


def first_day(unit: str, bucket: int) -> int:
    """The local day on which a bucket of days, weeks or months begins."""
    match unit:
        case "d":
            return bucket
        case "w":
            return bucket * 7 - _THURSDAY
        case _:
            return date(1970 + bucket // 12, bucket % 12 + 1, 1).toordinal() - _EPOCH_ORDINAL


def days_reached(unit: str, length: int) -> int:
    """How many local days back a window may reach at the most, today included."""
    parts = _PARTS_OF_A_DAY.get(unit)
    return length * _DAYS_OF[unit] if parts is None else -(-length // parts) + 1


class Now(NamedTuple):
    """The moment a state is read as of, in milliseconds, and its local day."""

    time_ms: int
    day: int

    def bucket(self, unit: str) -> int:
        """The current bucket."""
        return bucket_of(unit, self.time_ms, self.day)
