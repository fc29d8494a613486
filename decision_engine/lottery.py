"""The lottery of one placement: who may stand elsewhere than greedily, drawn with chances that are known exactly.

The offers of a placement stand in greedy order. Its *movers* are those that exploration may move; all others keep
their places whatever is drawn. A lottery is one of two draws, picked by a coin:

shuffle (with probability s)
    The n movers are permuted uniformly among the places movers hold, and each shows one of its t treatments here
    drawn uniformly. A treatment then stands at any of these places with probability 1 / (n x t).
promotion (otherwise)
    One treatment is put at the first place movers hold, treatment i with chance q(i). The movers before its offer move
    back by one of these places, everyone else stays; all but the promoted show their first treatment. With Q(k) the
    chances of the k-th mover's treatments together, counted from 0, there stands

        at the first place   treatment i with chance q(i);
        at the k-th place    the k-th mover if one before it was promoted: Q(0) + ... + Q(k-1),
                             the one before it if that one was overtaken:  Q(k) + Q(k+1) + ...

    (the promoted itself is at the first place; k > 0). Without exploration all chance is with the greedy leader.

So every probability is a sum that needs no simulation, for the first place and for any other.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.candidates import PlacementPlan
from decision_engine.draws import draw_below, draw_fraction
from decision_engine.rejections import Indexes

Numbers = NDArray[np.float64]


class Seat(NamedTuple):
    """An offer with one of a placement's candidates, and the place of the drawn order where it stands."""

    offer: int
    candidate: int
    place: int


_seat = partial(tuple.__new__, Seat)
"""Of a tuple; a decision makes dozens of seats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotables:
    """The treatments that can be promoted: number i is candidate `candidates[i]` of the mover `mover_of[i]`; movers
    count from 0 in greedy order, so that number 0 is the leader's first treatment, which stands first without a draw.
    `movers` are their offers."""

    movers: Indexes
    mover_of: Indexes
    candidates: Indexes


def promotables(plan: PlacementPlan, movers: Sequence[int]) -> Promotables:
    """All treatments that the movers have in a placement."""
    counts = np.array([plan.counts[offer] for offer in movers], np.intp)
    starts = np.array([plan.starts[offer] for offer in movers], np.intp)
    mover_of = np.repeat(np.arange(len(movers)), counts)
    within = np.arange(len(mover_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Promotables(movers=np.array(movers, np.intp), mover_of=mover_of, candidates=starts[mover_of] + within)


class Promotion:
    """The chances of being promoted; `chances` sum to 1, one a promotable. `before[k]` is the chance that one of the
    movers ahead of number k is promoted, `totals[k]` that one of its own treatments is."""

    def __init__(self, promotables: Promotables, chances: Numbers) -> None:
        self.promotables = promotables
        self.chances = chances
        self.totals = np.bincount(promotables.mover_of, chances, len(promotables.movers))
        self.before = np.cumsum(self.totals) - self.totals

    def drawn(self, fraction: float) -> tuple[int, int]:
        """The mover and the candidate at a uniform fraction of the chances."""
        bounds = np.cumsum(self.chances)
        place = int(np.searchsorted(bounds, fraction * bounds[-1], "right"))
        return int(self.promotables.mover_of[place]), int(self.promotables.candidates[place])

    def chance(self, candidate: int) -> float:
        """The chance of a candidate to be the promoted one."""
        return float(self.chances[self.promotables.candidates == candidate].sum())


class Draw(NamedTuple):
    """What names a draw, so that it can be made again: the decision's seed and the placement's label."""

    seed: str
    label: str

    def fraction(self, what: str) -> float:
        """A uniform number in [0, 1) of that name."""
        return draw_fraction(self.seed, f"{self.label}.{what}")

    def below(self, what: str, bound: int) -> int:
        """A uniform whole number below the bound, of that name."""
        return draw_below(self.seed, f"{self.label}.{what}", bound)


class Lottery:
    """One placement's lottery. `greedy` is the order of its offers without a draw, `places` where the movers stand in
    it; `shuffle` is the probability of a shuffle, and without a `promotion` the movers stay greedy otherwise."""

    def __init__(
        self,
        plan: PlacementPlan,
        greedy: Sequence[int],
        places: Sequence[int],
        draw: Draw,
        shuffle: float = 0.0,
        promotion: Promotion | None = None,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.greedy = greedy
        self.places = places
        self._draw = draw
        self.shuffle = shuffle if places else 0.0
        self.promotion = promotion

    def order(self) -> Iterator[Seat]:
        """Who stands where in drawn order; lazily, as only the first few places are ever needed."""
        moved = self._moved()
        if moved is not None:
            return self._drawn(moved)
        firsts = map(self.plan.starts.__getitem__, self.greedy)
        return map(_seat, zip(self.greedy, firsts, count(), strict=False))

    def _drawn(self, moved: Iterator[tuple[int, int]]) -> Iterator[Seat]:
        """The order with the movers where they were drawn to."""
        held = set(self.places)
        for place, offer in enumerate(self.greedy):
            if place in held:
                yield Seat(*next(moved), place)
            else:
                yield Seat(offer, self.plan.starts[offer], place)

    def at_place(self, seat: Seat) -> float:
        """The chance of a candidate to stand at one place of the order; at a mover's place only movers can."""
        offer, candidate, place = seat
        kept = float(self.greedy[place] == offer and candidate == self.plan.starts[offer])
        mover = bisect_left(self.places, place)
        if mover == len(self.places) or self.places[mover] != place:
            return kept
        promoted = kept if self.promotion is None else self._promoted_at(self.promotion, mover, offer, candidate)
        return self._mixed(promoted, offer)

    def among_first(self, wanted: int, candidates: Indexes) -> Numbers:
        """The chance of each of these candidates of the placement to stand at any of the first `wanted` places."""
        plan, held = self.plan, bisect_left(self.places, wanted)
        kept = np.zeros(len(plan.treatments))
        kept[[plan.starts[offer] for offer in self.greedy[:wanted]]] = 1.0
        if self.promotion is not None and self.places:
            self._promoted_among(self.promotion, held, kept)
        if self.shuffle > 0.0:
            movers = np.zeros(len(plan.present), np.bool_)
            movers[[self.greedy[place] for place in self.places]] = True
            mine = movers[plan.offer_of[candidates]]
            shuffled = self.shuffle * held / len(self.places) * plan.treatment_shares[candidates]
            return np.where(mine, (1.0 - self.shuffle) * kept[candidates] + shuffled, kept[candidates])
        return kept[candidates]

    def _mixed(self, promoted: float, offer: int) -> float:
        if self.shuffle == 0.0:
            return promoted
        shuffled = 1.0 / (len(self.places) * self.plan.counts[offer])
        return (1.0 - self.shuffle) * promoted + self.shuffle * shuffled

    def _promoted_at(self, promotion: Promotion, mover: int, offer: int, candidate: int) -> float:
        if mover == 0:
            return promotion.chance(candidate)
        if candidate != self.plan.starts[offer]:
            return 0.0
        before = float(promotion.before[mover])
        if offer == self.greedy[self.places[mover]]:
            return before
        return 1.0 - before if offer == self.greedy[self.places[mover - 1]] else 0.0

    def _promoted_among(self, promotion: Promotion, held: int, chances: Numbers) -> None:
        """Puts in the movers' chances by promotion; `held` of the places asked for are movers'."""
        known = promotion.promotables
        chances[known.candidates] = promotion.chances if held else 0.0
        if held:
            # Not promoted, the last mover inside is pushed out by anyone behind it; those ahead of it never are.
            firsts = [self.plan.starts[offer] for offer in known.movers[:held].tolist()]
            stays = 1.0 - promotion.totals[:held]
            stays[-1] = promotion.before[held - 1]
            chances[firsts] += stays

    def _moved(self) -> Iterator[tuple[int, int]] | None:
        """The movers in drawn order; None when nothing is drawn."""
        if self.shuffle > 0.0 and self._draw.fraction("coin") < self.shuffle:
            return self._shuffled()
        if self.promotion is None or not self.places:
            return None
        return self._promoted(*self.promotion.drawn(self._draw.fraction("promotion")))

    def _shuffled(self) -> Iterator[tuple[int, int]]:
        """A uniform permutation of the movers, as far as it is asked for (Fisher-Yates from the front)."""
        pool = [self.greedy[place] for place in self.places]
        for first in range(len(pool)):
            chosen = first + self._draw.below(str(first), len(pool) - first)
            pool[first], pool[chosen] = pool[chosen], pool[first]
            offer = pool[first]
            count = self.plan.counts[offer]
            treatment = self._draw.below(f"treatment.{offer}", count) if count > 1 else 0
            yield offer, self.plan.starts[offer] + treatment

    def _promoted(self, mover: int, candidate: int) -> Iterator[tuple[int, int]]:
        yield self.greedy[self.places[mover]], candidate
        for other, place in enumerate(self.places):
            if other != mover:
                yield self.greedy[place], self.plan.starts[self.greedy[place]]


def leading_chances(lotteries: Sequence[Lottery]) -> Numbers:
    """For lotteries of one placement, none without offers, one a row: the chance of each candidate to stand first, as
    `among_first` says of each alone."""
    plan = lotteries[0].plan
    chances = np.zeros((len(lotteries), len(plan.treatments)))
    chances[range(len(lotteries)), [plan.starts[each.greedy[0]] for each in lotteries]] = 1.0
    shuffling = [row for row, each in enumerate(lotteries) if each.shuffle > 0.0 and each.promotion is None]
    if shuffling:
        movers = np.zeros((len(shuffling), len(plan.present)), np.bool_)
        parts = []
        for moving, each in zip(movers, [lotteries[row] for row in shuffling], strict=True):
            moving[[each.greedy[place] for place in each.places]] = True
            parts.append((1.0 - each.shuffle, each.shuffle * (each.places[0] == 0) / len(each.places)))
        kept, share = np.array(parts).T[:, :, None]
        mixed = kept * chances[shuffling] + share * plan.treatment_shares
        chances[shuffling] = np.where(movers[:, plan.offer_of], mixed, chances[shuffling])
    for row, each in enumerate(lotteries):
        if each.promotion is not None:
            chances[row] = each.among_first(1, np.arange(len(plan.treatments)))
    return chances
