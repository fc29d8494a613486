"""Exploration: a placement's order is sometimes drawn instead of arbitrated, with probabilities known exactly.

The scheme, for one placement: its offers stand in greedy order, and the *entrants*, which are the marketing offers
that are not mandatory, take part in a lottery. With probability epsilon the entrants are permuted uniformly among
the places entrants hold in the greedy order, and each shows one of its treatments here drawn uniformly; otherwise
everything stays greedy and each offer shows its first treatment. Mandatory and service offers never move. So with n
entrants, an entrant with t treatments has at a place that entrants hold the probability

    (1 - epsilon) x [it stands there greedily, and this is its first treatment] + epsilon / (n x t)

and any other offer has 1 at its own place, 0 elsewhere. Only offers that passed every gate and cap are in the order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decision_engine.draws import draw_below, draw_fraction


def explores(epsilon: float, seed: str, label: str) -> bool:
    """Whether this placement of this decision draws its order."""
    return epsilon > 0 and draw_fraction(seed, f"{label}.coin") < epsilon


@dataclass(frozen=True, slots=True, kw_only=True)
class Lottery:
    """One drawn order. `greedy` is the order of the offers without a draw, `places` where the entrants stand in it;
    `seed` and `label` name the draw, so that it can be made again."""

    greedy: Sequence[int]
    places: Sequence[int]
    seed: str
    label: str

    def order(self) -> Iterator[int]:
        """The offers in drawn order; lazily, as only the first few places are ever needed."""
        drawn = self._drawn_entrants()
        entrant_places = set(self.places)
        for place, offer in enumerate(self.greedy):
            yield next(drawn) if place in entrant_places else offer

    def treatment(self, offer: int, count: int) -> int:
        """Which of an entrant's `count` treatments here is shown."""
        return draw_below(self.seed, f"{self.label}.treatment.{offer}", count)

    def _drawn_entrants(self) -> Iterator[int]:
        """A uniform permutation of the entrants, as far as it is asked for (Fisher-Yates from the front)."""
        pool = [self.greedy[place] for place in self.places]
        for first in range(len(pool)):
            chosen = first + draw_below(self.seed, f"{self.label}.{first}", len(pool) - first)
            pool[first], pool[chosen] = pool[chosen], pool[first]
            yield pool[first]


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """The probabilities of a lottery. `entrants` is how many take part."""

    epsilon: float
    entrants: int

    def at_place(self, *, greedily: bool, entrant: bool, treatments: int) -> float:
        """The chance of a treatment to stand at one place. `greedily`: whether it does without a draw.
        For an entrant the place must be one that entrants hold."""
        kept = 1.0 if greedily else 0.0
        if not entrant:
            return kept
        return (1.0 - self.epsilon) * kept + self.epsilon / (self.entrants * treatments)

    def among_first(self, places: int, *, greedily: bool, entrant: bool, treatments: int) -> float:
        """The chance of a treatment to stand at any of the first places, `places` of which entrants hold."""
        kept = 1.0 if greedily else 0.0
        if not entrant:
            return kept
        return (1.0 - self.epsilon) * kept + self.epsilon * places / (self.entrants * treatments)
