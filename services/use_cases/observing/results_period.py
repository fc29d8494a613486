"""Which days the results are about: whole days of the bank's calendar."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from models.decision_log.archive_files import TimeRange
from services.ports import ShellError

MOST_DAYS = 92


class PeriodInvalid(ShellError):
    """The days asked for are no period."""


@dataclass(frozen=True, kw_only=True)
class Period:
    """From the first to the last day, both included."""

    first: date
    last: date
    zone: ZoneInfo

    @classmethod
    def ending(cls, now_ms: int, days: int, zone: ZoneInfo) -> "Period":
        """The last so many days, today being the last of them."""
        today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).date()
        return cls(first=today - timedelta(days=days - 1), last=today, zone=zone)

    @classmethod
    def between(cls, first: str, last: str, zone: ZoneInfo) -> "Period":
        """Own days, as `2026-11-01`. Raises PeriodInvalid."""
        try:
            period = cls(first=date.fromisoformat(first), last=date.fromisoformat(last), zone=zone)
        except ValueError as error:
            raise PeriodInvalid("A day is written as 2026-11-01.") from error
        if period.last < period.first:
            raise PeriodInvalid("The last day lies before the first.")
        if len(period.days) > MOST_DAYS:
            raise PeriodInvalid(f"At most {MOST_DAYS} days at once.")
        return period

    @property
    def key(self) -> tuple[date, date]:
        """What tells periods of one bank apart."""
        return self.first, self.last

    @cached_property
    def days(self) -> tuple[date, ...]:
        """Every day."""
        return tuple(self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1))

    @cached_property
    def starts_ms(self) -> tuple[int, ...]:
        """When each day begins, and last when the period ends; epoch milliseconds."""
        days = (*self.days, self.last + timedelta(days=1))
        return tuple(int(datetime(d.year, d.month, d.day, tzinfo=self.zone).timestamp()) * 1000 for d in days)

    @property
    def times(self) -> TimeRange:
        """From the first moment until, exclusive, the last."""
        return TimeRange(since_ms=self.starts_ms[0], until_ms=self.starts_ms[-1])
