"""Whether a volume lasts: what may be gone by now, and where the pace so far leads to."""

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from decision_engine.pacing import HourShares, Pace, Period, allowed_units, demand_days
from decision_engine.strategy import VolumeConstraint

LEAST_UNITS = 5
"""Below so many units that are gone, where the pace leads to is anybody's guess."""
_LEAST_DAYS = 1 / 24
"""Of a day's demand that has to have come before there is a pace."""
_STEPS = 40
"""Halvings of the period: to the millisecond in any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceOfVolume:
    """`elapsed` is the share of the period's expected demand that has come by now (None: the period is open on a side),
    `allowed` the units that may be gone by now (None: no pacing). Where there is enough to go by, `at_end` units will
    have been wanted when the period ends, at the pace so far; and where that is more than there is, the last is gone at
    `runs_out_ms`."""

    elapsed: float | None
    allowed: int | None
    at_end: float | None = None
    runs_out_ms: int | None = None


def pace_of(volume: VolumeConstraint, period: Period, now_ms: int, used: int, pace: Pace) -> PaceOfVolume:
    """By the hours of the pacer's traffic, or even hours. `used` are units that are held or gone."""
    allowed = None if volume.pacing == "none" else allowed_units(volume, period, now_ms, pace)
    if period.start_ms is None or period.end_ms is None:
        return PaceOfVolume(elapsed=None, allowed=None if volume.pacing == "none" else allowed)
    whole = demand_days(period.start_ms, period.end_ms, pace)
    come = demand_days(period.start_ms, now_ms, pace)
    elapsed = come / whole if whole > 0 else 1.0
    if used < LEAST_UNITS or come < _LEAST_DAYS:
        return PaceOfVolume(elapsed=elapsed, allowed=allowed)
    rate = used / come
    at_end = used + rate * demand_days(now_ms, period.end_ms, pace)
    out_ms = None
    if at_end > volume.amount:
        left, until_ms = max(0, volume.amount - used), period.end_ms
        out_ms = _when(lambda at_ms: rate * demand_days(now_ms, at_ms, pace) >= left, now_ms, until_ms)
    return PaceOfVolume(elapsed=elapsed, allowed=allowed, at_end=at_end, runs_out_ms=out_ms)


def _when(holds: Callable[[int], bool], since_ms: int, until_ms: int) -> int:
    """The first moment from which something holds that holds at the end."""
    low, high = since_ms, until_ms
    for _ in range(_STEPS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low if holds(low) else high


def pace_by(hours: HourShares | None, zone: ZoneInfo, *, priced: bool) -> Pace:
    """The bank's hours, even ones where nothing is known of its traffic."""
    return Pace(zone=zone, priced=priced) if hours is None else Pace(zone=zone, hours=hours, priced=priced)
