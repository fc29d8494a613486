"""The richer aggregates of the Berka strategy, computed again from frames of events with pandas and plain Python.

Independent on purpose: nothing of the engine is imported. `docs/features.md` says what each means.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

ZONE = ZoneInfo("Europe/Prague")
EPOCH = date(1970, 1, 1)
RICHER = frozenset({
    "decayed", "share", "usual_hour", "usual_weekday", "top", "top_share", "active", "streak", "longest_streak",
    "last_at", "first_at", "sequence", "unfollowed",
})  # fmt: skip
"""What this module computes, beside everything with `per` and all windows in weeks and months."""
_DAY_MS = 86_400_000
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
Feature = Mapping[str, object]
Choose = Callable[[pd.DataFrame | None, object], pd.DataFrame]
"""Those of the events, or of all events of the feature's source, that a further condition lets through."""


@dataclass(frozen=True)
class Window:
    """So many units up to and including the current one."""

    length: int
    unit: str

    @classmethod
    def read(cls, text: object) -> "Window":
        """`30d`, `26w` or `12mo`; other units are refused."""
        unit = str(text).lstrip("0123456789")
        if unit not in ("d", "w", "mo"):
            raise ValueError(f"the oracle knows windows of days, weeks and months only, not {text}")
        return cls(int(str(text).removesuffix(unit)), unit)

    def ages(self, events: pd.DataFrame, as_of: date) -> pd.Series:
        """How many units ago each event happened."""
        today = (as_of - EPOCH).days
        if self.unit == "d":
            return today - events["day"]
        if self.unit == "w":
            return (today + 3) // 7 - (events["day"] + 3) // 7
        months = events["date"].map(lambda day: day.year * 12 + day.month).astype(int)
        return as_of.year * 12 + as_of.month - months

    def inside(self, events: pd.DataFrame, as_of: date) -> pd.DataFrame:
        """The events of the window."""
        return events[self.ages(events, as_of) < self.length]


def is_richer(feature: Feature, window: object) -> bool:
    """Whether the feature is computed here."""
    coarse = window is not None and not isinstance(window, list) and not str(window).endswith("d")
    return str(feature["aggregate"]) in RICHER or "per" in feature or coarse


def richer(events: pd.DataFrame, feature: Feature, window: object, as_of: date, choose: Choose) -> dict[str, object]:
    """Account to value; `events` have passed the filter, `choose` filters the events of a further condition."""
    kind = str(feature["aggregate"])
    if kind in ("sequence", "unfollowed"):
        return dict(_sequences(events, feature, Window.read(window), as_of, choose))
    if kind in ("last_at", "first_at"):
        moments = _moments(events).groupby(events["account"])
        return _plain(moments.max() if kind == "last_at" else moments.min())
    if window is None and "per" not in feature:
        raise ValueError(f"the oracle does not know {kind} without a window")
    inside = events if window is None else Window.read(window).inside(events, as_of)
    if "per" in feature:
        return dict(_per(inside, feature))
    if kind in ("active", "streak", "longest_streak"):
        return dict(_streaks(inside, kind, Window.read(window), as_of))
    return dict(_of_groups(inside, feature, as_of, choose))


def _of_groups(inside: pd.DataFrame, feature: Feature, as_of: date, choose: Choose) -> Iterator[tuple[str, object]]:
    for account, group in inside.groupby("account"):
        value = _of_one(group, feature, as_of, choose)
        if value is not None:
            yield str(account), value


def _of_one(group: pd.DataFrame, feature: Feature, as_of: date, choose: Choose) -> object | None:
    match str(feature["aggregate"]):
        case "count":
            return len(group)
        case "sum":
            return int(group[str(feature["field"])].sum())
        case "decayed":
            ages = ((as_of - EPOCH).days - group["day"]).tolist()
            half_life = Window.read(feature["half_life"]).length
            weights = [round(2 ** (20 - age / half_life)) for age in ages]
            amounts = group[str(feature["field"])].tolist() if "field" in feature else [1] * len(group)
            return sum(weight * int(amount) for weight, amount in zip(weights, amounts, strict=True)) / 2**20
        case "share":
            whole = _amount(group, feature.get("field"))
            return _amount(_part(group, feature["part"], choose), feature.get("field")) / whole if whole else None
        case "usual_hour":
            return _most(dict((group["second"] // 3600).value_counts()))
        case "usual_weekday":
            return _most(dict(_weekdays(group).value_counts()))
        case _:
            return _top(group, feature)


def _top(group: pd.DataFrame, feature: Feature) -> object | None:
    values = group.dropna(subset=[str(feature["field"])])
    listed = feature.get("values")
    if isinstance(listed, list):
        values = values[values[str(feature["field"])].isin(listed)]
    amounts = {str(value): _amount(part, feature.get("weigh")) for value, part in values.groupby(str(feature["field"]))}
    best = _most(amounts)
    if best is None or feature["aggregate"] == "top":
        return best
    whole = sum(amounts.values())
    return amounts[str(best)] / whole if whole else None


def _most(amounts: Mapping[Any, int]) -> Any:
    if not amounts:
        return None
    largest = max(amounts.values())
    return min(value for value, amount in amounts.items() if amount == largest)


def _part(group: pd.DataFrame, part: object, choose: Choose) -> pd.DataFrame:
    if not isinstance(part, Mapping):
        return choose(group, part)
    chosen = choose(group, part.get("where"))
    if "weekdays" in part:
        wanted = [_WEEKDAYS.index(str(day)) for day in part["weekdays"]]
        chosen = chosen[_weekdays(chosen).isin(wanted)]
    if "hours" in part:
        begin, end = part["hours"]
        hours = chosen["second"] // 3600
        both = (hours >= begin) & (hours < end) if begin < end else (hours >= begin) | (hours < end)
        chosen = chosen[both]
    return chosen


def _weekdays(events: pd.DataFrame) -> pd.Series:
    """0 is Sunday; the epoch began on a Thursday."""
    return (events["day"] + 4) % 7


def _amount(events: pd.DataFrame, field: object) -> int:
    return int(events[str(field)].sum()) if field else len(events)


def _streaks(inside: pd.DataFrame, kind: str, window: Window, as_of: date) -> Iterator[tuple[str, object]]:
    for account, ages in window.ages(inside, as_of).groupby(inside["account"]):
        seen = set(ages.tolist())
        if kind == "active":
            yield str(account), len(seen)
        elif kind == "streak":
            yield str(account), _run(seen, 0) or _run(seen, 1)
        else:
            yield str(account), max(_run(seen, begin) for begin in seen)


def _run(seen: set[int], begin: int) -> int:
    length = 0
    while begin + length in seen:
        length += 1
    return length


def _per(inside: pd.DataFrame, feature: Feature) -> Iterator[tuple[str, object]]:
    groups = inside.dropna(subset=[str(feature["per"])]).groupby(["account", str(feature["per"])])
    kind = str(feature["aggregate"])
    single = groups.size() if kind == "count" else groups[str(feature["field"])].agg(kind)
    for account, values in single.groupby(level="account"):
        numbers = [value for value in values.tolist() if value >= feature.get("at_least", value)]
        if numbers:
            over = {"max": max, "min": min, "sum": sum, "count": len}[str(feature["over"])]
            yield str(account), over(numbers)


def _sequences(
    events: pd.DataFrame, feature: Feature, window: Window, as_of: date, choose: Choose
) -> Iterator[tuple[str, object]]:
    then = feature["then"]
    if not isinstance(then, Mapping) or "same" in then or then["source"] != feature["source"]:
        raise ValueError("the oracle knows sequences within one source only")
    after = choose(None, then.get("where"))
    within = Window.read(then["within"]).length * _DAY_MS
    now = _midnight(as_of + timedelta(days=1)) - 1
    first = {str(a): sorted(g.tolist()) for a, g in _moments(events).groupby(events["account"])}
    second = {str(a): sorted(g.tolist()) for a, g in _moments(after).groupby(after["account"])}
    begin = _midnight(as_of - timedelta(days=window.length - 1))
    for account in first.keys() | second.keys():
        begun, ended = first.get(account, []), second.get(account, [])
        if feature["aggregate"] == "sequence":
            found = [at for at in ended if at >= begin and any(one < at <= one + within for one in begun)]
        else:
            due = [one for one in begun if one >= begin and one + within <= now]
            found = [one for one in due if not any(one < at <= one + within for at in ended)]
        if found:
            yield account, len(found)


def _moments(events: pd.DataFrame) -> pd.Series:
    midnights = {day: _midnight(day) for day in set(events["date"])}
    return events["date"].map(midnights).astype("int64") + events["second"].astype("int64") * 1000


def _midnight(day: date) -> int:
    """Local midnight in epoch milliseconds. No clock in Prague changes between 8:00 and midnight."""
    noon = datetime.combine(day, time(12), tzinfo=ZONE)
    return round(noon.timestamp() * 1000) - 12 * 3_600_000


def _plain(series: pd.Series) -> dict[str, object]:
    return dict(zip(series.index.astype(str), series.tolist(), strict=True))
