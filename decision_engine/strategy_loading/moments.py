"""Reads from when until when an offer is available."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from decision_engine.conditions.moments import timestamp_ms
from decision_engine.strategy_loading.section import Section

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_availability(section: Section, time_zone: str) -> tuple[int | None, int | None]:
    """Epoch milliseconds of `available.from` and, exclusive, `available.until`; None where open."""
    available = section.section("available")
    if available is None:
        return None, None
    since, until = read_moment(available, "from", time_zone), read_moment(available, "until", time_zone)
    if since is not None and until is not None and since >= until:
        available.problem("until must be later than from", "until")
    available.finish()
    return since, until


def read_moment(section: Section, key: str, time_zone: str) -> int | None:
    """The moment under a key, epoch milliseconds: a date is its midnight in the bank's time zone; None when absent."""
    text = section.optional_text(key)
    if not text:
        return None
    moment = timestamp_ms(text)
    if moment is None:
        moment = _midnight_ms(text, time_zone)
    if moment is None:
        section.problem(f"{text!r} is no date; write 2026-01-31, or a moment with its offset", key)
    return moment


def _midnight_ms(text: str, time_zone: str) -> int | None:
    """When that day begins in the bank's time zone."""
    try:
        day = date.fromisoformat(text)
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(time_zone or "UTC"))
        return (midnight.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None
