"""The bank's calendar: where the current day, week and month begin, in its own time zone, and when a local time of a
day comes, on days when clocks change too."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from decision_engine.strategy import ContactWindow

DAY_MS = 86_400_000
DAY_MINUTES = 1_440
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def local_time(now_ms: int, zone: ZoneInfo) -> datetime:
    """The moment as the bank's clocks show it."""
    return (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone)


def window_start_ms(window: ContactWindow, now_ms: int, zone: ZoneInfo) -> int:
    """The first moment inside a contact window, epoch milliseconds.

    A rolling window holds what is exactly its length ago, unless its start is open: then that is long enough ago.
    A calendar day begins at local midnight, 23 to 25 hours before the next where clocks change.
    """
    if window.rolling_seconds is not None:
        return now_ms - window.rolling_seconds * 1000 + window.open_start
    local = local_time(now_ms, zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    if window.calendar == "week":
        midnight -= timedelta(days=local.weekday())
    elif window.calendar == "month":
        midnight = midnight.replace(day=1)
    elif window.calendar != "day":
        raise ValueError(f"a contact window is rolling, or a calendar day, week or month, not {window.calendar!r}")
    return int(midnight.timestamp()) * 1000


def first_moment_ms(day: date, minute: int, zone: ZoneInfo) -> int:
    """When clocks first show that minute of the day (1440: the next midnight); where they jump over it, the jump."""
    return _moment_ms(_naive(day, minute), zone, later=False)


def last_moment_ms(day: date, minute: int, zone: ZoneInfo) -> int:
    """When clocks show that minute of the day for the last time; where they jump over it, the jump."""
    return _moment_ms(_naive(day, minute), zone, later=True)


def _naive(day: date, minute: int) -> datetime:
    """What the clocks show; which moment that is depends on the zone."""
    return datetime.combine(day, time()) + timedelta(minutes=minute)


def _moment_ms(naive: datetime, zone: ZoneInfo, *, later: bool) -> int:
    one, other = (_utc_ms(naive.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if one <= other:  # shown once, or twice when clocks go back
        return other if later else one
    # Never shown: between the two readings clocks jump forward. The jump is the first moment with the later offset.
    offset_before = local_time(other, zone).utcoffset()
    early, late = other, one
    while late - early > 1:
        middle = (early + late) // 2
        if local_time(middle, zone).utcoffset() == offset_before:
            early = middle
        else:
            late = middle
    return late


def _utc_ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MILLISECOND
