"""The parts of a moment and of a length of time: `now.getHours("Asia/Shanghai")`, `(now - seen).getHours()`.

As CEL counts them: months, days of the month and of the year from 0, except `getDate` from 1; Sunday is day 0.
Without a zone a moment is read in UTC.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from decision_engine.conditions.facts import MISSING, Missing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = re.compile(r"([+-]?)([01]\d|2[0-3]):([0-5]\d)")

_OF_MOMENT: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1_000,
}
_MS_PER = {"getHours": 3_600_000, "getMinutes": 60_000, "getSeconds": 1_000}


def zone_of(text: str) -> tzinfo | None:
    """The zone of a name such as `Asia/Shanghai` or an offset such as `+08:00`; None if there is none."""
    offset = _OFFSET.fullmatch(text)
    if offset is not None:
        sign, hours, minutes = offset.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-east if sign == "-" else east)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def moment_field(function: str, zone: tzinfo | None) -> Callable[[int], int | Missing]:
    """A function from epoch milliseconds to the field; outside the years 1 to 9999 it is unknown."""
    field, where = _OF_MOMENT[function], zone or UTC

    def read(epoch_ms: int) -> int | Missing:
        try:
            return field((_EPOCH + timedelta(milliseconds=epoch_ms)).astimezone(where))
        except (OverflowError, ValueError):
            return MISSING

    return read


def span_field(function: str) -> Callable[[int], int]:
    """A function from milliseconds to whole hours, minutes or seconds towards zero, or to the milliseconds left."""
    unit = _MS_PER.get(function)

    def read(span_ms: int) -> int:
        whole = abs(span_ms) % 1_000 if unit is None else abs(span_ms) // unit
        return -whole if span_ms < 0 else whole

    return read
