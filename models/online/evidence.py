"""What was seen of one cell: acceptances and exposure by age step, forgotten exponentially.

A cell is a model version, a treatment (an offer in a channel) and a segment. Of every impression whose age has passed
step j the cell holds its *exposure* at j, and 1 at j if it was accepted between step j-1 and step j. An impression and
what became of it weigh the same: 2**(-age / half-life) by the age of the impression, whatever the delay, so forgetting
favours neither quick acceptances nor slow ones.

Source of the exponential forgetting of likelihoods: J. Ibrahim, M.-H. Chen, Power prior distributions for regression
models, Statistical Science 15 (2000).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class CellKey(NamedTuple):
    """Whose propensities, shown how, to whom."""

    version: str
    treatment: str
    segment: str


@dataclass(slots=True)
class Cell:
    """Sums as of `at_ms` (epoch milliseconds), by age step."""

    at_ms: int
    accepted: list[float]
    exposed: list[float]

    @classmethod
    def empty(cls, at_ms: int, steps: int) -> "Cell":
        """Nothing was seen."""
        return cls(at_ms, [0.0] * steps, [0.0] * steps)

    def move_to(self, at_ms: int, half_life_ms: float) -> None:
        """Forgets up to a moment; an earlier one changes nothing."""
        if at_ms > self.at_ms:
            kept = weight(at_ms - self.at_ms, half_life_ms)
            self.accepted = [kept * number for number in self.accepted]
            self.exposed = [kept * number for number in self.exposed]
            self.at_ms = at_ms

    def factor(self, at_ms: int, half_life_ms: float) -> float:
        """What an impression of that moment weighs in the sums; they are moved on if it is newer."""
        self.move_to(at_ms, half_life_ms)
        return weight(self.at_ms - at_ms, half_life_ms)

    @property
    def size(self) -> float:
        """How much there is."""
        return self.exposed[0]


def weight(age_ms: float, half_life_ms: float) -> float:
    """What something of that age counts as."""
    return float(2.0 ** (-age_ms / half_life_ms))


def merged(cells: Iterable[Cell], now_ms: int, half_life_ms: float) -> Cell | None:
    """The sums over several partitions, all as of now; None of none."""
    total: Cell | None = None
    for cell in cells:
        kept = weight(max(0, now_ms - cell.at_ms), half_life_ms)
        if total is None:
            total = Cell.empty(now_ms, len(cell.accepted))
        for step in range(len(total.accepted)):
            total.accepted[step] += kept * cell.accepted[step]
            total.exposed[step] += kept * cell.exposed[step]
    return total
