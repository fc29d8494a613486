"""When requests are meant to be sent, laid down before the run: seconds from its beginning, in order.

The same seed gives the same schedule. Rates are requests (or sessions) a second.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Spacing = Literal["even", "poisson"]
"""`even`: the same distance between any two. `poisson`: as independent customers come."""

_PHASE = re.compile(r"(?P<from>\d+(\.\d+)?)(-(?P<to>\d+(\.\d+)?))?x(?P<seconds>\d+(\.\d+)?)s?")


class ScheduleUnreadable(Exception):
    """The text is no schedule."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a run. The rate goes in a straight line from `start` to `end`; equal, it is constant."""

    start: float
    end: float
    seconds: float


def phases_of(text: str) -> tuple[Phase, ...]:
    """`300x20s`, `100x10s,400x10s` (steps), `100-900x60s` (a ramp). Raises ScheduleUnreadable naming the part."""
    phases = []
    for part in text.split(","):
        found = _PHASE.fullmatch(part.strip())
        if found is None:
            raise ScheduleUnreadable(f"{part.strip()!r}: expected RATExSECONDS or FROM-TOxSECONDS, such as 100-900x60s")
        start = float(found["from"])
        phases.append(Phase(start, float(found["to"] or start), float(found["seconds"])))
    if not sum(phase.seconds * (phase.start + phase.end) for phase in phases):
        raise ScheduleUnreadable(f"{text!r}: nothing is sent")
    return tuple(phases)


def length_s(phases: Sequence[Phase]) -> float:
    """How long the phases take, one after another."""
    return sum(phase.seconds for phase in phases)


def mean_rate(phases: Sequence[Phase]) -> float:
    """Requests a second over all phases."""
    return sum((phase.start + phase.end) / 2 * phase.seconds for phase in phases) / length_s(phases)


def arrivals(phases: Sequence[Phase], spacing: Spacing, seed: int) -> Times:
    """The times, ascending, of all phases."""
    parts, begun = [], 0.0
    draw = np.random.default_rng(seed)
    for phase in phases:
        count = (phase.start + phase.end) / 2 * phase.seconds
        parts.append(begun + _inverted(phase, _numbers(count, spacing, draw)))
        begun += phase.seconds
    return np.concatenate(parts)


def sessions(starts: Times, steps: int, think_s: float, seed: int) -> tuple[Times, NDArray[np.int64]]:
    """The requests of customers who come at `starts`, ask `steps` times and think in between: the mean pause is
    `think_s`, exponentially distributed. Answers (times ascending, the session each belongs to)."""
    draw = np.random.default_rng(seed)
    pauses = draw.exponential(think_s, (len(starts), steps))
    pauses[:, 0] = 0.0
    times = (starts[:, None] + pauses.cumsum(axis=1)).ravel()
    owners = np.repeat(np.arange(len(starts)), steps)
    order = np.argsort(times, kind="stable")
    return times[order], owners[order]


def _numbers(count: float, spacing: Spacing, draw: np.random.Generator) -> Times:
    """How many requests should have been sent by each arrival: the values of the integrated rate at the arrivals."""
    if spacing == "even":
        return np.arange(ceil(count - 1e-9), dtype=np.float64)
    gaps = draw.exponential(1.0, int(count + 10 * count**0.5 + 20))
    numbers = gaps.cumsum()
    return numbers[numbers < count]


def _inverted(phase: Phase, numbers: Times) -> Times:
    """When the integrated rate, start t + (end - start) t^2 / (2 seconds), reaches each number."""
    slope = (phase.end - phase.start) / phase.seconds
    if slope == 0:
        return numbers / phase.start if phase.start else numbers
    root = np.sqrt(np.maximum(0.0, phase.start**2 + 2 * slope * numbers))
    return 2 * numbers / np.maximum(phase.start + root, 1e-12)
