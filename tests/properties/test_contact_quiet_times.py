"""Quiet times agree with looking at the bank's clock minute by minute, on days when clocks change too."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.quiet_hours import plan_quiet, quiet_until_ms, screen_quiet
from decision_engine.strategy import AppliesTo, QuietTime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),  # 02:00 becomes 03:00
    ("Europe/Berlin", date(2026, 10, 25)),  # 03:00 becomes 02:00
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # half an hour back
    ("Australia/Lord_Howe", date(2026, 10, 4)),  # half an hour forward
    ("America/Sao_Paulo", date(2018, 11, 4)),  # midnight becomes 01:00
    ("America/Sao_Paulo", date(2018, 2, 18)),  # midnight becomes 23:00 of the day before
    ("America/Havana", date(2026, 11, 1)),  # 01:00 becomes midnight
    ("Asia/Shanghai", date(2026, 11, 21)),  # nothing
]
minutes = st.integers(0, 95).map(lambda quarter: quarter * 15)


def clock(zone: ZoneInfo, around: date) -> list[tuple[int, datetime]]:
    """Every minute from two days before until three days after, with what the bank's clock shows."""
    start = datetime.combine(around - timedelta(days=2), time(), UTC)
    moments = [start + number * MINUTE for number in range(5 * 1_440)]
    return [((m - EPOCH) // timedelta(milliseconds=1), m.astimezone(zone).replace(tzinfo=None)) for m in moments]


def occasions(quiet: QuietTime, shown: list[tuple[int, datetime]], around: date) -> list[tuple[int, int]]:
    """When it begins and ends: from the first minute that shows the beginning, or more, until the last that
    shows the end."""
    found = []
    for offset in (-1, 0, 1):
        day = around + timedelta(days=offset)
        if day.weekday() in quiet.weekdays:
            begins = datetime.combine(day, time()) + quiet.from_minute * MINUTE
            over_midnight = quiet.until_minute <= quiet.from_minute
            ends = datetime.combine(day, time()) + (quiet.until_minute + 1_440 * over_midnight) * MINUTE
            first = min(at for at, wall in shown if wall >= begins)
            last = max(at if wall == ends else at + 60_000 for at, wall in shown if wall <= ends)
            found.append((first, last))
    return found


@pytest.mark.parametrize(("name", "around"), CHANGES)
@settings(max_examples=6, deadline=None)
@given(begins=minutes, ends=minutes, weekdays=st.sets(st.integers(0, 6), min_size=4))
def test_quiet_is_what_the_clock_says(name: str, around: date, begins: int, ends: int, weekdays: set[int]) -> None:
    zone = ZoneInfo(name)
    quiet = QuietTime(
        id="q",
        channels=("sms",),
        from_minute=begins,
        until_minute=1_440 if begins == ends else ends,
        weekdays=tuple(sorted(weekdays)),
    )
    plan, _ = plan_quiet((quiet,), {AppliesTo.OPTIONAL: np.ones(1, np.bool_)}, zone, 0)
    shown = clock(zone, around)
    expected = occasions(quiet, shown, around)
    for at, wall in shown[::5]:
        if wall.date() != around:
            continue
        holding = [last for first, last in expected if first <= at < last]
        assert (screen_quiet(plan, "sms", at) is not None) == bool(holding), wall
        if holding:
            until = quiet_until_ms(plan, "sms", at)
            assert until is None or until >= max(holding)
            assert until is None or screen_quiet(plan, "sms", until) is None
            assert until is None or screen_quiet(plan, "sms", until - 1) is not None


def test_quiet_without_end_has_none() -> None:
    times = (
        QuietTime(id="day", channels=("sms",), from_minute=480, until_minute=1_200, weekdays=tuple(range(7))),
        QuietTime(id="night", channels=("sms",), from_minute=1_200, until_minute=480, weekdays=tuple(range(7))),
    )
    plan, _ = plan_quiet(times, {AppliesTo.OPTIONAL: np.ones(1, np.bool_)}, ZoneInfo("UTC"), 0)
    assert quiet_until_ms(plan, "sms", 1_795_254_600_000) is None
    assert quiet_until_ms(plan, "mobile", 1_795_254_600_000) is None
