"""The bank's calendar: where the current day, week and month begin, in its own time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from decision_engine.strategy import ContactWindow

DAY_MS = 86_400_000


def local_time(now_ms: int, zone: ZoneInfo) -> datetime:
    """The moment as the bank's clocks show it."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)).astimezone(zone)


def window_start_ms(window: ContactWindow, now_ms: int, zone: ZoneInfo) -> int:
    """The first moment inside a contact window, epoch milliseconds.

    A calendar day begins at local midnight, 23 to 25 hours before the next where clocks change.
    """
    if window.rolling_seconds is not None:
        return now_ms - window.rolling_seconds * 1000
    local = local_time(now_ms, zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    if window.calendar == "week":
        midnight -= timedelta(days=local.weekday())
    elif window.calendar == "month":
        midnight = midnight.replace(day=1)
    elif window.calendar != "day":
        raise ValueError(f"a contact window is rolling, or a calendar day, week or month, not {window.calendar!r}")
    return int(midnight.timestamp()) * 1000
