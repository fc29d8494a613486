"""Which days the demo bank's map can look back at."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.commands.dev_snapshots import history_days


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        (date(2026, 10, 23), date(2026, 11, 21), [date(2026, 10, 31), date(2026, 11, 21)]),
        (date(2026, 9, 1), date(2026, 10, 31), [date(2026, 9, 30), date(2026, 10, 31)]),
        (date(2026, 11, 1), date(2026, 11, 20), [date(2026, 11, 7), date(2026, 11, 20)]),
        (date(2026, 10, 20), date(2026, 10, 31), [date(2026, 10, 26), date(2026, 10, 31)]),
        (date(2026, 11, 18), date(2026, 11, 20), [date(2026, 11, 20)]),
    ],
)
def test_the_ends_of_months_and_the_last_day(first: date, last: date, days: list[date]) -> None:
    assert history_days(first, last) == days


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(7, 400))
def test_a_history_of_more_than_a_week_always_shows_who_moved(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    found = history_days(first, last)
    assert len(found) >= 2
    assert found == sorted(set(found))
    assert all(first <= day <= last for day in found)
