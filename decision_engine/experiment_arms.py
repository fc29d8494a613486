"""Allotment: which customers are in which arm, by where a hash of each falls between 0 and 1.

Every arm has a room of its own between 0 and 1 and takes its share from the room's beginning; who falls nowhere is in
the control. So raising a share only moves people from the control into the arm, lowering it moves them back, and nobody
ever moves between arms, as long as every share stays within its room. (No rule without such rooms can promise that for
three or more arms: where one may grow to everything, the place of the others depends on it.) A share beyond its room
takes the ends of the others' rooms that are free, the last first.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.draws import draw_fraction

TOLERANCE = 1e-9
"""Shares written as decimals may add up to a little more than 1."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """Between `bounds[i]` and `bounds[i + 1]` is the arm `arms[i]`, None for the control."""

    bounds: tuple[float, ...]
    arms: tuple[str | None, ...]

    def arm_of(self, salt: str, subject: str) -> str | None:
        """The subject's arm: sticky, and independent of any allotment with another salt; None is the control."""
        if not self.arms:
            return None
        return self.arms[bisect_right(self.bounds, draw_fraction(salt, subject)) - 1]


def equal_rooms(arms: Sequence[str], given: Mapping[str, float]) -> dict[str, float]:
    """The room of every arm: as given, and equal parts of what is left for the others."""
    silent = [arm for arm in arms if arm not in given]
    left = max(0.0, 1.0 - sum(given.values()))
    return {arm: given.get(arm, left / len(silent) if silent else 0.0) for arm in arms}


def allot(shares: Mapping[str, float], rooms: Mapping[str, float]) -> Allotment:
    """Gives every arm its share. `rooms` has every arm, in the order of their places; neither sums to more than 1."""
    pieces: list[tuple[float, float, str]] = []
    free: list[tuple[float, float]] = []
    start = 0.0
    for arm, room in rooms.items():
        taken = min(shares.get(arm, 0.0), room)
        pieces.append((start, start + taken, arm))
        free.append((start + taken, start + room))
        start += room
    free.append((start, 1.0))
    for arm, room in rooms.items():
        pieces += _beyond(arm, shares.get(arm, 0.0) - room, free)
    return _joined(piece for piece in pieces if piece[1] - piece[0] > TOLERANCE)


def _beyond(arm: str, excess: float, free: list[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """The pieces for what exceeds an arm's room; shortens the free ends it takes."""
    pieces = []
    for place in reversed(range(len(free))):
        begin, end = free[place]
        taken = min(excess, end - begin)
        if taken > TOLERANCE:
            pieces.append((end - taken, end, arm))
            free[place] = (begin, end - taken)
            excess -= taken
    return pieces


def _joined(pieces: Iterable[tuple[float, float, str]]) -> Allotment:
    bounds: list[float] = []
    arms: list[str | None] = []
    last = 0.0
    for begin, end, arm in sorted(pieces):
        if begin - last > TOLERANCE:
            bounds.append(last)
            arms.append(None)
            last = begin
        bounds.append(last)
        arms.append(arm)
        last = end
    if arms and 1.0 - last > TOLERANCE:
        bounds.append(last)
        arms.append(None)
    return Allotment(tuple(bounds), tuple(arms))
