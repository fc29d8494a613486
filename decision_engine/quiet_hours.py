"""Quiet hours and holidays: when a channel leaves people in peace, by the bank's clocks.

Nothing about the person is needed for it, so it holds even when neither state nor ledger can be read.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from decision_engine.calendar_windows import first_moment_ms, last_moment_ms, local_time
from decision_engine.outcomes import Stage
from decision_engine.rejections import PASSED, Falls, Mask, Rejection
from decision_engine.strategy import AppliesTo, QuietTime

QUIET_HOURS = "QUIET_HOURS"
HOLIDAY = "HOLIDAY"
_LONGEST_CHAIN = 400
"""Quiet times that follow each other without a gap; more is taken for one that never ends."""
_DAYS_REMEMBERED = 512
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietPlan:
    """By channel its quiet times, each with the number of its rejection and the offers it holds back. `spans` is a
    memory, filled on first use: of a channel on a local day what `_spans` finds."""

    zone: ZoneInfo
    of_channel: Mapping[str, tuple["PlannedQuietTime", ...]]
    spans: MutableMapping[tuple[str, date], tuple["_Span", ...]]


@dataclass(frozen=True, slots=True)
class PlannedQuietTime:
    """A quiet time ready to be asked."""

    time: QuietTime
    number: int
    holds: Mask


@dataclass(frozen=True, slots=True)
class _Span:
    """A quiet time on one occasion: from a moment until another, which is quiet no more (epoch milliseconds)."""

    quiet: PlannedQuietTime
    from_ms: int
    until_ms: int


def plan_quiet(
    times: Sequence[QuietTime], held_by: Mapping[AppliesTo, Mask], zone: ZoneInfo, first_number: int
) -> tuple[QuietPlan, tuple[Rejection, ...]]:
    """`held_by` are the offers each kind of rule concerns. The rejections, one a quiet time, are numbered from
    `first_number`."""
    planned = [PlannedQuietTime(time, first_number + n, held_by[time.applies_to]) for n, time in enumerate(times)]
    channels = dict.fromkeys(channel for time in times for channel in time.channels)
    plan = QuietPlan(
        zone=zone,
        of_channel={name: tuple(quiet for quiet in planned if name in quiet.time.channels) for name in channels},
        spans={},
    )
    codes = [HOLIDAY if time.dates else QUIET_HOURS for time in times]
    return plan, tuple(Rejection(Stage.CONTACT_POLICY, time.id, code) for time, code in zip(times, codes, strict=True))


def screen_quiet(plan: QuietPlan, channel: str, now_ms: int) -> Falls | None:
    """Which offers the channel's quiet holds back now; None when nothing is quiet. The first quiet time in order is
    the reason."""
    quiet = [span.quiet for span in _holding(plan, channel, now_ms)]
    if not quiet:
        return None
    falls: Falls = np.full(len(quiet[0].holds), PASSED, np.int16)
    for planned in sorted(quiet, key=lambda planned: -planned.number):
        falls[planned.holds] = planned.number
    return falls


def quiet_until_ms(plan: QuietPlan, channel: str, now_ms: int) -> int | None:
    """When the channel's quiet of this moment ends, with all that follows it without a gap; None when nothing is
    quiet now, or no end is in sight. Epoch milliseconds."""
    moment = now_ms
    for _ in range(_LONGEST_CHAIN):
        holding = _holding(plan, channel, moment)
        if not holding:
            return None if moment == now_ms else moment
        moment = max(span.until_ms for span in holding)
    return None


def _holding(plan: QuietPlan, channel: str, now_ms: int) -> list[_Span]:
    """What is quiet in the channel at the moment."""
    if channel not in plan.of_channel:
        return []
    today = local_time(now_ms, plan.zone).date()
    spans = plan.spans.get((channel, today))
    if spans is None:
        if len(plan.spans) >= _DAYS_REMEMBERED:
            plan.spans.clear()
        spans = plan.spans[channel, today] = _spans(plan, channel, today)
    return [span for span in spans if span.from_ms <= now_ms < span.until_ms]


def _spans(plan: QuietPlan, channel: str, today: date) -> tuple[_Span, ...]:
    """The occasions that can hold on a local day: those that begin on it or the day before. From the first moment
    clocks show the beginning to the last they show the end."""
    return tuple(
        _Span(quiet, first_moment_ms(day, quiet.time.from_minute, plan.zone), _end_ms(quiet.time, day, plan.zone))
        for quiet in plan.of_channel[channel]
        for day in (today - _ONE_DAY, today)
        if _begins_on(quiet.time, day)
    )


def _end_ms(time: QuietTime, day: date, zone: ZoneInfo) -> int:
    over_midnight = time.until_minute <= time.from_minute
    return last_moment_ms(day + _ONE_DAY if over_midnight else day, time.until_minute, zone)


def _begins_on(time: QuietTime, day: date) -> bool:
    return day.isoformat() in time.dates if time.dates else day.weekday() in time.weekdays
