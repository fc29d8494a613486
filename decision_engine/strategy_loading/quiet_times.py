"""Reads when channels leave people in peace: quiet hours and holidays."""

import re
from collections.abc import Sequence
from datetime import date

from decision_engine.calendar_windows import DAY_MINUTES
from decision_engine.strategy import AppliesTo, QuietTime
from decision_engine.strategy_loading.section import Section, distinct, suggestion

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


def read_quiet_times(section: Section, channels: Sequence[str]) -> tuple[QuietTime, ...]:
    """`quiet_hours`, then `holidays`, of the contact policy; `channels` are those of the strategy."""
    hours = section.sections("quiet_hours")
    holidays = section.sections("holidays")
    times = [_quiet_hours(item, channels) for item in hours] + [_holidays(item, channels) for item in holidays]
    distinct((*hours, *holidays), [time.id for time in times], "id")
    return tuple(times)


def read_channels(section: Section, key: str, known: Sequence[str]) -> tuple[str, ...]:
    """A list of the strategy's channels."""
    names = section.texts(key)
    for name in names:
        if name not in known:
            section.problem(f"unknown channel {name}{suggestion(name, known)}", key)
    return tuple(dict.fromkeys(names))


def read_applies_to(section: Section) -> AppliesTo:
    """Which offers are held back; without a word all but mandatory ones."""
    choice = section.choice("applies_to", tuple(AppliesTo), AppliesTo.OPTIONAL)
    return AppliesTo(choice or AppliesTo.OPTIONAL)


def _quiet_hours(section: Section, channels: Sequence[str]) -> QuietTime:
    begins, ends = _minute(section, "from"), _minute(section, "to")
    if begins is not None and begins == ends:
        section.problem("the quiet would never end, or never begin: from and to are the same", "to")
    time = QuietTime(
        id=section.name("id"),
        channels=_some_channels(section, channels),
        from_minute=begins or 0,
        until_minute=ends or 0,
        weekdays=_weekdays(section),
        applies_to=read_applies_to(section),
    )
    section.finish()
    return time


def _holidays(section: Section, channels: Sequence[str]) -> QuietTime:
    """The whole of each day."""
    time = QuietTime(
        id=section.name("id"),
        channels=_some_channels(section, channels),
        from_minute=0,
        until_minute=DAY_MINUTES,
        dates=_dates(section),
        applies_to=read_applies_to(section),
    )
    section.finish()
    return time


def _some_channels(section: Section, known: Sequence[str]) -> tuple[str, ...]:
    channels = read_channels(section, "channels", known)
    if not section.given("channels"):
        section.problem("needs at least one channel", "channels")
    return channels


def _minute(section: Section, key: str) -> int | None:
    """The minute of the day; 24:00 is the midnight at its end."""
    text = section.text(key)
    if text == "24:00" and key == "to":
        return DAY_MINUTES
    match = _CLOCK.fullmatch(text)
    if match is not None:
        return int(match.group(1)) * 60 + int(match.group(2))
    if text:
        section.problem(f"{text!r} is no time of day; write 21:00", key)
    return None


def _weekdays(section: Section) -> tuple[int, ...]:
    """On which days the quiet begins, 0 for Monday; every day unless they are named."""
    names = section.texts("weekdays")
    for name in names:
        if name not in WEEKDAYS:
            section.problem(f"{name!r} is none of {', '.join(WEEKDAYS)}{suggestion(name, WEEKDAYS)}", "weekdays")
    return tuple(day for day, name in enumerate(WEEKDAYS) if not names or name in names)


def _dates(section: Section) -> tuple[str, ...]:
    texts = section.texts("dates")
    if not section.given("dates"):
        section.problem("needs at least one date", "dates")
    for text in texts:
        if not _is_date(text):
            section.problem(f"{text!r} is no date; write 2026-10-01", "dates")
    return tuple(sorted(set(texts)))


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
