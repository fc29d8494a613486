"""Pacing: when a volume's period begins and ends, and how much of it may be gone by now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from zoneinfo import ZoneInfo

from decision_engine.calendar_windows import DAY_MS, local_time, window_start_ms
from decision_engine.strategy import ContactWindow, VolumeConstraint

HOUR_MS = 3_600_000
HOURS = 24
TIGHT_SLACK = 0.02
"""Share of the amount that may be gone ahead of the curve, so that small numbers and lulls do not block."""
PRICED_SLACK = 0.15
"""The same while prices hold back what is worth more later: they steer, the curve is the railing."""
EVEN_HOURS: tuple[float, ...] = (1 / HOURS,) * HOURS
HourShares = Sequence[float]
"""The share of a day's demand in each local hour; 24 numbers that add up to 1."""


@dataclass(frozen=True, slots=True)
class Period:
    """One period of a volume: its name, first moment and, exclusive, last; epoch milliseconds, None where open."""

    name: str
    start_ms: int | None
    end_ms: int | None

    def contains(self, now_ms: int) -> bool:
        """Whether the moment lies in the period."""
        return (self.start_ms is None or self.start_ms <= now_ms) and (self.end_ms is None or now_ms < self.end_ms)


def period_at(volume: VolumeConstraint, now_ms: int, zone: ZoneInfo) -> Period | None:
    """The period a moment falls in; None outside a total's dates. Days, weeks and months are the bank's own."""
    unit = volume.period.calendar
    if unit is None:
        period = Period("total", volume.period.from_ms, volume.period.until_ms)
        return period if period.contains(now_ms) else None
    start_ms = window_start_ms(ContactWindow(calendar=unit), now_ms, zone)
    first = local_time(start_ms, zone)
    return Period(f"{unit}-{first:%Y-%m-%d}", start_ms, _midnight_ms(_next(first, unit), zone))


def allowed_units(volume: VolumeConstraint, period: Period, now_ms: int, pace: "Pace") -> int:
    """How many units of the period may be gone by now: all of them without pacing, else the share of the expected
    demand that has come by now, with some slack."""
    if volume.pacing == "none" or period.start_ms is None or period.end_ms is None:
        return volume.amount
    if volume.pacing == "traffic":
        share = _traffic_share(period.start_ms, period.end_ms, now_ms, pace)
    else:
        share = (now_ms - period.start_ms) / (period.end_ms - period.start_ms)
    slack = PRICED_SLACK if pace.priced else TIGHT_SLACK
    return min(volume.amount, floor(volume.amount * min(1.0, share + slack)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The bank's hours: `hours` is how its demand spreads over a day, `priced` whether fresh prices steer as well."""

    zone: ZoneInfo
    hours: HourShares = EVEN_HOURS
    priced: bool = False


def faded(price: float, age_ms: int, fresh_ms: int) -> float:
    """A price by its age: whole while fresh, then falling to nothing over as long again."""
    if age_ms <= fresh_ms:
        return price
    return price * max(0.0, 1 - (age_ms - fresh_ms) / fresh_ms)


def demand_days(start_ms: int, end_ms: int, pace: Pace) -> float:
    """Expected demand between two moments, in days' worth: a whole day for every 24 hours, then hour by hour."""
    days = max(0, (end_ms - start_ms) // DAY_MS)
    demand, at = float(days), start_ms + days * DAY_MS
    first = local_time(at, pace.zone).hour
    for hour in range(first, first + HOURS):
        if at >= end_ms:
            break
        demand += pace.hours[hour % HOURS] * min(HOUR_MS, end_ms - at) / HOUR_MS
        at += HOUR_MS
    return demand


def _traffic_share(start_ms: int, end_ms: int, now_ms: int, pace: Pace) -> float:
    total = demand_days(start_ms, end_ms, pace)
    return demand_days(start_ms, now_ms, pace) / total if total > 0 else 1.0


def _next(first: datetime, unit: str) -> datetime:
    """The local midnight a period that begins on `first` ends at."""
    if unit == "month":
        return (first.replace(day=1) + timedelta(days=32)).replace(day=1)
    return first + timedelta(days=7 if unit == "week" else 1)


def _midnight_ms(day: datetime, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000
