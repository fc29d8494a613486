"""The shapes of patterns over several events: what completes them, and how long an event matters.

All three look at a set of events, whatever order they arrived in. An event matters while what it could complete might
still fire: until `within` and the trigger's freshness have passed since it.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

from decision_engine.triggers.definitions import Pattern, Shape, Trigger
from decision_engine.triggers.memory import Seen

MOST_A_STEP = 16
"""Events remembered for one step of one match in the making; a count remembers twice as many as it needs."""
OPENED, CLOSED = 0, 1
"""The steps of an absence: the event, and the one that must not follow."""

Order = tuple[int, int]


def still_matters(trigger: Trigger, time_ms: int, now_ms: int) -> bool:
    """Whether what an event of that time could complete would still be fresh."""
    return time_ms + trigger.pattern.within_ms + trigger.freshness_ms >= now_ms


def add(events: list[Seen], seen: Seen) -> bool:
    """Puts an event where its time belongs; False if it stands there already."""
    if any(other.key == seen.key and other.step == seen.step for other in events):
        return False
    insort(events, seen, key=_order)
    return True


def trim(events: list[Seen], pattern: Pattern) -> None:
    """Leaves the newest events of each step; what is still waited for stays."""
    most = 2 * pattern.at_least if pattern.shape is Shape.COUNT else MOST_A_STEP
    for step in range(len(pattern.steps)):
        idle = [seen for seen in events if seen.step == step and not seen.armed]
        for seen in idle[: max(0, len(idle) - most)]:
            events.remove(seen)


def completed_count(events: Sequence[Seen], new: Seen, pattern: Pattern) -> Seen | None:
    """The event that reached the count: the last of the earliest stretch that holds enough events, the new one among
    them; None if none does."""
    at = bisect_left(events, _order(new), key=_order)
    needed = pattern.at_least
    for first in range(max(0, at - needed + 1), min(at, len(events) - needed) + 1):
        last = events[first + needed - 1]
        if last.time_ms - events[first].time_ms <= pattern.within_ms:
            return last
    return None


def completed_sequence(events: Sequence[Seen], new: Sequence[Seen], pattern: Pattern) -> Seen | None:
    """The earliest last event of a chain, each event later than the one before, that has one of the new ones (the same
    event at several steps) in it and is no longer than the stretch; None if there is no such chain."""
    found = [last for seen in new if (last := _chained(events, seen, pattern)) is not None]
    return min(found, key=_order, default=None)


def settle_absences(events: Sequence[Seen], pattern: Pattern) -> None:
    """Disarms what was answered: by the other event within the stretch, ends included, or by the same event again,
    which begins a stretch of its own."""
    for seen in events:
        if seen.armed and any(_answers(other, seen, pattern.within_ms) for other in events):
            seen.armed, seen.fields = False, {}


def _order(seen: Seen) -> Order:
    return seen.time_ms, seen.key


def _chained(events: Sequence[Seen], new: Seen, pattern: Pattern) -> Seen | None:
    """The steps before as late as can be, those after as early: the shortest chain through the new event."""
    first = last = new
    for step in range(new.step - 1, -1, -1):
        earlier = [seen for seen in events if seen.step == step and seen.time_ms < first.time_ms]
        if not earlier:
            return None
        first = earlier[-1]
    for step in range(new.step + 1, len(pattern.steps)):
        later = next((seen for seen in events if seen.step == step and seen.time_ms > last.time_ms), None)
        if later is None:
            return None
        last = later
    return last if last.time_ms - first.time_ms <= pattern.within_ms else None


def _answers(other: Seen, opened: Seen, within_ms: int) -> bool:
    if other.time_ms > opened.time_ms + within_ms:
        return False
    if other.step == CLOSED:
        return other.time_ms >= opened.time_ms
    return _order(other) > _order(opened)
