"""Periods of the bank's calendar, how much may be gone by now, and how prices age."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_engine.pacing import (
    HOUR_MS,
    HOURS,
    PRICED_SLACK,
    TIGHT_SLACK,
    Pace,
    Period,
    allowed_units,
    demand_days,
    faded,
    period_at,
)
from decision_engine.strategy import UnitCost, VolumeConstraint, VolumePeriod, VolumeScope

SHANGHAI, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")
DAY_MS = 24 * HOUR_MS


def at(text: str, zone: ZoneInfo = SHANGHAI) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def paced(pacing: str = "even", amount: int = 1000, **period: Any) -> VolumeConstraint:
    return VolumeConstraint(
        id="v",
        of=VolumeScope(kind="offer", name="gold"),
        resource="stock",
        amount=amount,
        unit_cost=UnitCost(),
        period=VolumePeriod(**(period or {"calendar": "day"})),
        charged_on="reservation",
        hold_seconds=3600,
        pacing=pacing,
    )


@pytest.mark.parametrize(
    ("calendar", "name", "start", "end"),
    [
        ("day", "day-2026-11-21", "2026-11-21T00:00", "2026-11-22T00:00"),
        ("week", "week-2026-11-16", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("month", "month-2026-11-01", "2026-11-01T00:00", "2026-12-01T00:00"),
    ],
)
def test_a_calendar_period_is_the_banks_own(calendar: str, name: str, start: str, end: str) -> None:
    period = period_at(paced(calendar=calendar), at("2026-11-21T17:50"), SHANGHAI)
    assert period == Period(name, at(start), at(end))


def test_a_new_period_begins_at_local_midnight_and_not_before() -> None:
    volume, midnight = paced(calendar="day"), at("2026-11-22T00:00")
    before, after = period_at(volume, midnight - 1, SHANGHAI), period_at(volume, midnight, SHANGHAI)
    assert before is not None
    assert after is not None
    assert (before.name, after.name) == ("day-2026-11-21", "day-2026-11-22")
    assert before.end_ms == after.start_ms == midnight


def test_the_day_the_clocks_go_back_has_25_hours() -> None:
    period = period_at(paced(calendar="day"), at("2026-11-01T12:00", NEW_YORK), NEW_YORK)
    assert period is not None
    assert period.start_ms is not None
    assert period.end_ms is not None
    assert period.end_ms - period.start_ms == 25 * HOUR_MS


def test_a_total_counts_only_between_its_dates() -> None:
    volume = paced(from_ms=1_000, until_ms=2_000)
    assert period_at(volume, 999, SHANGHAI) is None
    assert period_at(volume, 1_000, SHANGHAI) == Period("total", 1_000, 2_000)
    assert period_at(volume, 2_000, SHANGHAI) is None


def test_without_pacing_everything_may_go_at_once() -> None:
    volume, now = paced("none"), at("2026-11-21T00:00")
    period = period_at(volume, now, SHANGHAI)
    assert period is not None
    assert allowed_units(volume, period, now, Pace(zone=SHANGHAI)) == 1000


def test_evenly_paced_the_share_of_the_time_may_be_gone_with_a_little_slack() -> None:
    volume, now = paced(), at("2026-11-21T06:00")
    period = period_at(volume, now, SHANGHAI)
    assert period is not None
    assert allowed_units(volume, period, now, Pace(zone=SHANGHAI)) == round(1000 * (0.25 + TIGHT_SLACK))
    assert allowed_units(volume, period, now, Pace(zone=SHANGHAI, priced=True)) == round(1000 * (0.25 + PRICED_SLACK))


def test_paced_by_traffic_the_night_releases_little() -> None:
    evening = tuple(0.5 if hour in (20, 21) else 0.0 for hour in range(HOURS))
    volume, pace = paced("traffic"), Pace(zone=SHANGHAI, hours=evening)
    period = period_at(volume, at("2026-11-21T12:00"), SHANGHAI)
    assert period is not None
    allowed = [allowed_units(volume, period, at(f"2026-11-21T{hour}:00"), pace) for hour in ("12", "21", "22")]
    assert allowed == [20, 520, 1000]


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 1.0), min_size=HOURS, max_size=HOURS),
    minutes=st.lists(st.integers(0, 30 * 24 * 60), min_size=2, max_size=2),
)
def test_more_time_never_allows_less(weights: list[float], minutes: list[int]) -> None:
    hours = tuple(weight / sum(weights) for weight in weights)
    volume, pace = paced("traffic", calendar="month"), Pace(zone=SHANGHAI, hours=hours)
    period = period_at(volume, at("2026-11-05T00:00"), SHANGHAI)
    assert period is not None
    assert period.start_ms is not None
    earlier, later = (period.start_ms + minute * 60_000 for minute in sorted(minutes))
    assert allowed_units(volume, period, earlier, pace) <= allowed_units(volume, period, later, pace) <= 1000


def test_a_day_of_demand_is_one_whatever_its_hours() -> None:
    hours = tuple(2 / HOURS if hour % 2 else 0.0 for hour in range(HOURS))
    start = at("2026-11-21T00:00")
    assert demand_days(start, start + 3 * DAY_MS, Pace(zone=SHANGHAI, hours=hours)) == pytest.approx(3.0)
    assert demand_days(start, start + 2 * HOUR_MS, Pace(zone=SHANGHAI, hours=hours)) == pytest.approx(1 / 12)


def test_a_price_holds_while_fresh_and_fades_over_as_long_again() -> None:
    assert [faded(80.0, age, 1000) for age in (0, 1000, 1500, 2000, 9000)] == [80.0, 80.0, 40.0, 0.0, 0.0]
