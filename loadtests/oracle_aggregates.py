"""Every aggregate of the feature language, computed from the list of events it is of, as `docs/features.md` defines it.

Independent on purpose: nothing of the engine is imported, nothing is kept between two readings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.oracle_events import Feature, Happened, Moment, passes
from loadtests.oracle_expressions import Value

DAY_MS = 86_400_000
KNOWN_MOMENTS = 128
"""Of a sequence's events of each kind."""
EXACT_VALUES = 256
"""Different values, or accounts, that are told apart exactly."""
_DAYS_OF = {"m": 1 / 1_440, "h": 1 / 24, "d": 1.0, "w": 7.0, "mo": 365.25 / 12}
_LARGEST_SUMMED = 2**53


@dataclass(frozen=True)
class About:
    """A count too large to be exact: the service estimates it."""

    exact: int


class NotComparable:
    """More values or accounts than are told apart: what is forgotten is not defined."""


Found = Value | About | NotComparable | None


@dataclass(frozen=True)
class Window:
    """So many units up to and including the current one."""

    length: int
    unit: str

    @staticmethod
    def read(text: object) -> "Window":
        """`15m`, `24h`, `30d`, `8w` or `12mo`."""
        unit = str(text).lstrip("0123456789")
        return Window(int(str(text).removesuffix(unit)), unit)

    @property
    def days(self) -> float:
        """As a mean per day counts it."""
        return self.length * _DAYS_OF[self.unit]

    def inside(self, events: Sequence[Happened], moment: Moment) -> list[Happened]:
        """The events of the window."""
        oldest = moment.bucket(self.unit) - self.length
        return [event for event in events if event.bucket(self.unit) > oldest]


def aggregate(events: Sequence[Happened], feature: Feature, window: object, moment: Moment) -> Found:
    """The value, or None where there is none; `window` as it stands in the declaration."""
    kind, field = str(feature["aggregate"]), feature.get("field")
    if "per" in feature:
        return _per(_cut(events, window, moment), feature, window, moment)
    if kind in ("ratio", "trend"):
        return _compared(events, feature, window, moment)
    if kind == "decayed":
        return _decayed(events, feature, window, moment)
    inside = _cut(events, window, moment)
    match kind:
        case "share":
            part = feature["part"]
            narrowed = part if isinstance(part, Mapping) else {"where": part}
            whole = _amount(inside, field)
            return _amount([event for event in inside if passes(event, narrowed)], field) / whole if whole else None
        case "top" | "top_share":
            return _top(inside, feature)
        case "usual_hour":
            return _most(event.hour for event in inside)
        case "usual_weekday":
            return _most(event.weekday for event in inside)
        case "distinct":
            different = len({str(event.fields[str(field)]) for event in inside if str(field) in event.fields})
            return different if different <= EXACT_VALUES else About(different)
    return _simple(inside, kind, field, window, moment)


def _cut(events: Sequence[Happened], window: object, moment: Moment) -> Sequence[Happened]:
    return events if window is None else Window.read(window).inside(events, moment)


def _simple(inside: Sequence[Happened], kind: str, field: object, window: object, moment: Moment) -> Found:
    """What may also be taken for each account by itself."""
    if not inside:
        return None
    match kind:
        case "count":
            return len(inside)
        case "last_at":
            return inside[-1].at_ms
        case "first_at":
            return inside[0].at_ms
        case "days_since_last":
            return moment.day - inside[-1].day
        case "days_since_first":
            return moment.day - inside[0].day
        case "active" | "streak" | "longest_streak":
            return _streak(inside, kind, Window.read(window), moment)
        case "last" | "first":
            return _edge(inside, kind, str(field))
    numbers = _numbers(inside, str(field))
    operation: Mapping[str, Callable[[list[int]], int | float]] = {
        "sum": sum,
        "min": min,
        "max": max,
        "mean": lambda values: sum(values) / len(values),
    }
    return operation[kind](numbers) if numbers else None


def _numbers(events: Iterable[Happened], field: str) -> list[int]:
    found = [event.fields.get(field) for event in events]
    return [v for v in found if type(v) is int and abs(v) <= _LARGEST_SUMMED]


def _amount(events: Sequence[Happened], field: object) -> int:
    return len(events) if field is None else sum(_numbers(events, str(field)))


def _edge(events: Sequence[Happened], kind: str, field: str) -> Found:
    """Of events at the same moment the larger value is the last, the smaller the first."""
    having = [event for event in events if field in event.fields]
    if not having:
        return None
    at_ms = having[-1 if kind == "last" else 0].at_ms
    values = [event.fields[field] for event in having if event.at_ms == at_ms]
    return max(values) if kind == "last" else min(values)


def _compared(events: Sequence[Happened], feature: Feature, window: object, moment: Moment) -> Found:
    field = feature.get("field")
    if feature["aggregate"] == "trend":
        one = Window.read(window)
        now = _amount(one.inside(events, moment), field)
        before = _amount(Window(2 * one.length, one.unit).inside(events, moment), field) - now
        return (now - before) / before if before else None
    assert isinstance(window, list)
    short, long = (Window.read(text) for text in window)
    above, below = (_amount(one.inside(events, moment), field) for one in (short, long))
    days = long.days
    if feature.get("against") == "before":
        below, days = below - above, days - short.days
    return (above / short.days) / (below / days) if below else None


def _decayed(events: Sequence[Happened], feature: Feature, window: object, moment: Moment) -> Found:
    """Weights are whole multiples of 2^-20."""
    half = Window.read(feature["half_life"])
    if half.unit == "w":
        half = Window(7 * half.length, "d")
    horizon = Window(10 * half.length, half.unit) if window is None else Window.read(window)
    total, now = 0, moment.bucket(half.unit)
    for event in horizon.inside(events, moment):
        weight = round(2**20 * 0.5 ** ((now - event.bucket(half.unit)) / half.length))
        total += weight * _amount([event], feature.get("field"))
    return total / 2**20


def _top(inside: Sequence[Happened], feature: Feature) -> Found:
    field, weigh, values = str(feature["field"]), feature.get("weigh"), feature.get("values")
    amounts: Counter[Value] = Counter()
    for event in inside:
        value = event.fields.get(field)
        if value is None or (isinstance(values, list) and value not in values):
            continue
        if weigh is None or _numbers([event], str(weigh)):
            amounts[value] += _amount([event], weigh)
    if not amounts:
        return None
    if len(amounts) > EXACT_VALUES:
        return NotComparable()
    if feature["aggregate"] == "top_share":
        return max(amounts.values()) / amounts.total() if amounts.total() else None
    return min(value for value, amount in amounts.items() if amount == max(amounts.values()))


def _most(values: Iterable[int]) -> Found:
    counts = Counter(values)
    return min(value for value, count in counts.items() if count == max(counts.values())) if counts else None


def _streak(inside: Sequence[Happened], kind: str, window: Window, moment: Moment) -> int:
    seen = {moment.bucket(window.unit) - event.bucket(window.unit) for event in inside}
    if kind == "active":
        return len(seen)
    if kind == "streak":
        return _run(seen, 0) or _run(seen, 1)
    return max(_run(seen, age) for age in seen)


def _run(seen: set[int], begin: int) -> int:
    length = 0
    while begin + length in seen:
        length += 1
    return length


def _per(inside: Sequence[Happened], feature: Feature, window: object, moment: Moment) -> Found:
    groups: dict[Value, list[Happened]] = {}
    for event in inside:
        if (of := event.fields.get(str(feature["per"]))) is not None:
            groups.setdefault(of, []).append(event)
    if len(groups) > EXACT_VALUES:
        return NotComparable()
    kind, field, least = str(feature["aggregate"]), feature.get("field"), feature.get("at_least")
    singles = [_simple(group, kind, field, window, moment) for group in groups.values()]
    numbers = [value for value in singles if isinstance(value, int | float)]
    if isinstance(least, int):
        numbers = [value for value in numbers if value >= least]
    if not numbers:
        return None
    over: Mapping[str, Callable[[list[int | float]], int | float]] = {
        "max": max,
        "min": min,
        "sum": sum,
        "count": len,
        "mean": lambda values: sum(values) / len(values),
    }
    return over[str(feature["over"])](numbers)


def sequence(first: Sequence[Happened], second: Sequence[Happened], feature: Feature, window: object, m: Moment) -> int:
    """How many of the second kind followed one of the first, or how many of the first waited in vain."""
    then = feature["then"]
    assert isinstance(then, Mapping)
    within, same = Window.read(then["within"]), then.get("same")
    most = round(within.days * DAY_MS)
    begun, ended = first[-KNOWN_MOMENTS:], second[-KNOWN_MOMENTS:]

    def follows(one: Happened, other: Happened) -> bool:
        alike = same is None or one.fields.get(str(same)) == other.fields.get(str(same))
        return alike and one.at_ms < other.at_ms <= one.at_ms + most

    span = Window.read(window)
    if feature["aggregate"] == "sequence":
        return sum(any(follows(one, other) for one in begun) for other in span.inside(ended, m))
    due = [one for one in span.inside(begun, m) if one.at_ms + most <= m.now_ms]
    return sum(not any(follows(one, other) for other in ended) for one in due)
