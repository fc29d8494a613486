"""Options under way: decided, perhaps seen, perhaps accepted, and how much of each has been counted.

An impression is no failure until its window closes, and neither does a quick acceptance run ahead of those who are
still thinking. At every step of its age an impression begins to count a part: its exposure at that step and, if it was
accepted since the step before, the acceptance. So numerator and denominator are at any moment of the same impressions,
whatever came in so far; nothing is assumed about how many of the pending ones will accept. Idea of counting by age:
C. Vernade, O. Cappe, V. Perchet, Stochastic bandit models for delayed conversions, UAI 2017.

What is counted follows from what is known, in whatever order it became known: a late record corrects it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.online.evidence import CellKey


class Counted(NamedTuple):
    """What of an impression is in its cell: its moment, the steps it has passed, and the step of its acceptance."""

    seen_ms: int
    steps: int
    accepted_at: int | None


class Part(NamedTuple):
    """A change to a cell at one step, of an impression of that moment."""

    seen_ms: int
    step: int
    accepted: float
    exposed: float


@dataclass(slots=True)
class Pending:
    """An option that may still change what is counted. `cell` and `exposure` are known with its decision."""

    noted_ms: int
    cell: CellKey | None = None
    exposure: float = 0.0
    seen_ms: int | None = None
    accepted_ms: int | None = None
    counted: Counted | None = None


def accepted_step(seen_ms: int, accepted_ms: int | None, steps_ms: Sequence[int]) -> int | None:
    """The step an acceptance counts at; None where there is none inside the window."""
    if accepted_ms is None:
        return None
    step = bisect_left(steps_ms, max(0, accepted_ms - seen_ms))
    return step if step < len(steps_ms) else None


def steps_passed(seen_ms: int, now_ms: int, steps_ms: Sequence[int]) -> int:
    """How many steps an impression has passed by now."""
    return sum(1 for step in steps_ms if seen_ms + step <= now_ms)


def changes(before: Counted | None, after: Counted, exposure: float) -> list[Part]:
    """What turns the counted into what is to be counted."""
    if before is not None and (before.seen_ms, before.accepted_at) == (after.seen_ms, after.accepted_at):
        return _parts(after, exposure, before.steps)
    undone = [] if before is None else _parts(before, exposure, 0)
    taken_back = [Part(part.seen_ms, part.step, -part.accepted, -part.exposed) for part in undone]
    return taken_back + _parts(after, exposure, 0)


def _parts(counted: Counted, exposure: float, since: int) -> list[Part]:
    return [
        Part(counted.seen_ms, step, 1.0 if step == counted.accepted_at else 0.0, exposure)
        for step in range(since, counted.steps)
    ]
