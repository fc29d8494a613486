"""When the learner fits: by the rows that came, and by the clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WORDS = re.compile(
    rf"every (?P<hours>[1-9]\d{{0,3}})h|(?:daily|weekly (?P<day>{'|'.join(_DAYS)})) (?P<hour>\d\d):(?P<minute>\d\d)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """Moments to fit at: every so many hours, or at a time of the bank's day, on every day or one day of the week."""

    every: timedelta | None = None
    weekday: int | None = None
    minutes: int = 0

    def latest(self, now: datetime, zone: tzinfo) -> datetime:
        """The last of its moments at or before now."""
        if self.every is not None:
            seconds = self.every.total_seconds()
            return datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
        local = now.astimezone(zone)
        moment = local.replace(hour=self.minutes // 60, minute=self.minutes % 60, second=0, microsecond=0, fold=0)
        if self.weekday is not None:
            moment -= timedelta(days=(local.weekday() - self.weekday) % 7)
        if moment > local:
            moment -= timedelta(days=1 if self.weekday is None else 7)
        return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSchedule:
    """When to fit: a first time from `least_rows` with `least_positives`, then after every further `step_rows`, and at
    the moments of `timetable` when anything new has come since the last fit."""

    least_rows: int
    least_positives: int
    step_rows: int
    poll_seconds: float
    timetable: Timetable | None = None


def timetable_from(text: str) -> Timetable | None:
    """`every 6h`, `daily 03:00`, `weekly sun 03:00`; empty is none. Raises ValueError saying what is understood."""
    if not text.strip():
        return None
    found = _WORDS.fullmatch(" ".join(text.lower().split()))
    if found is None:
        raise ValueError("every 6h | daily 03:00 | weekly sun 03:00")
    if found["hours"]:
        return Timetable(every=timedelta(hours=int(found["hours"])))
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 23 or minute > 59:
        raise ValueError(f"a time of day from 00:00 to 23:59 (is {found['hour']}:{found['minute']})")
    day = found["day"]
    return Timetable(weekday=None if day is None else _DAYS.index(day), minutes=hour * 60 + minute)
