"""Raw CloudEvents of one customer as plain rows, with every clock and calendar reading the oracle needs.

Independent on purpose: nothing of the engine is imported. An event is known from the moment it arrives in the log.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from loadtests.oracle_expressions import Evaluate, Value, compiled

Feature = Mapping[str, object]
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Happened:
    """One event. `fields` are the scalars of its data, `attributes` those of a profile update."""

    type: str
    at_ms: int
    arrived_ms: int
    fields: Mapping[str, Value]
    attributes: Mapping[str, Value]
    day: int
    month: int
    hour: int

    @property
    def weekday(self) -> int:
        """0 is Sunday; the first day of year 1 was a Monday."""
        return self.day % 7

    def bucket(self, unit: str) -> int:
        """The minute or hour since the epoch, or the day, calendar week or calendar month."""
        return _bucket(unit, self.at_ms, self.day, self.month)


@dataclass(frozen=True, slots=True)
class Moment:
    """When attributes are asked for, and up to when the log had come."""

    now_ms: int
    log_ms: int
    day: int
    month: int

    @staticmethod
    def of(now_ms: int, log_ms: int, zone: ZoneInfo) -> "Moment":
        """With its local calendar."""
        day, month, _ = _calendar(now_ms, zone)
        return Moment(now_ms, log_ms, day, month)

    def bucket(self, unit: str) -> int:
        """The current one."""
        return _bucket(unit, self.now_ms, self.day, self.month)


def _bucket(unit: str, at_ms: int, day: int, month: int) -> int:
    match unit:
        case "m":
            return at_ms // 60_000
        case "h":
            return at_ms // 3_600_000
        case "d":
            return day
        case "w":
            return (day - 1) // 7
        case "mo":
            return month
    raise ValueError(f"the oracle does not know the unit {unit}")


def _calendar(at_ms: int, zone: ZoneInfo) -> tuple[int, int, int]:
    """Ordinal of the local date, number of its month, local hour."""
    local = datetime.fromtimestamp(at_ms / 1000, zone)
    return local.toordinal(), local.year * 12 + local.month, local.hour


def happened(raw: bytes, arrived_ms: int, zone: ZoneInfo) -> tuple[str, Happened]:
    """What identifies the event, and the event."""
    event = json.loads(raw)
    data: Mapping[str, object] = event["data"]
    at_ms = round(datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp() * 1000)
    scalars = {name: value for name, value in data.items() if isinstance(value, bool | int | float | str)}
    attributes = data["attributes"] if event["type"] == "bank.profile.updated" else {}
    assert isinstance(attributes, Mapping)
    day, month, hour = _calendar(at_ms, zone)
    found = Happened(event["type"], at_ms, arrived_ms, scalars, attributes, day, month, hour)
    return f"{event['source']}/{event['id']}", found


class History:
    """All events of one customer, each once, in the order of their time."""

    def __init__(self, raw: Iterable[tuple[bytes, int]], zone: ZoneInfo) -> None:
        once: dict[str, Happened] = {}
        for value, arrived_ms in raw:
            key, event = happened(value, arrived_ms, zone)
            once.setdefault(key, event)
        self.events = sorted(once.values(), key=lambda event: event.at_ms)
        self._chosen: dict[str, tuple[list[int], list[Happened]]] = {}
        if any(event.type == "bank.customer.erased" for event in self.events):
            raise ValueError("the oracle does not know erasures")

    def chosen(self, of: Feature, moment: Moment) -> list[Happened]:
        """Those the feature's source, filter, hours and weekdays let through, that had arrived by then."""
        key = repr([of.get(part) for part in ("source", "where", "hours", "weekdays")])
        if key not in self._chosen:
            passing = [event for event in self.events if event.type == of["source"] and passes(event, of)]
            self._chosen[key] = [event.at_ms for event in passing], passing
        times, passing = self._chosen[key]
        return [e for e in passing[: bisect_right(times, moment.now_ms)] if e.arrived_ms <= moment.log_ms]

    def arrived(self, moment: Moment) -> list[Happened]:
        """All that had arrived by then."""
        return [event for event in self.events if event.arrived_ms <= moment.log_ms]


def passes(event: Happened, of: Mapping[str, object]) -> bool:
    """Whether the event meets `where`, `hours` and `weekdays`, as far as these are given."""
    where, hours, weekdays = of.get("where"), of.get("hours"), of.get("weekdays")
    if where is not None and _condition(str(where))({**event.fields, "now": event.at_ms}) is not True:
        return False
    if isinstance(hours, list):
        begin, end = hours
        within = begin <= event.hour < end if begin < end else event.hour >= begin or event.hour < end
        if not within:
            return False
    return not isinstance(weekdays, list) or WEEKDAYS[event.weekday] in weekdays


@lru_cache(maxsize=1024)
def _condition(text: str) -> Evaluate:
    return compiled(text)
