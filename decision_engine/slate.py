"""The slate: which candidate stands where, over all placements of a request.

Placements are filled in the order of the request. An offer stands at most once in a placement, and at most once in
the whole slate unless duplicates are allowed. Behind the winners of each position wait a few spares, in the same
order, for the case that the contact ledger refuses a winner at the last moment.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from decision_engine.candidates import AskedPlacement, PlacementPlan
from decision_engine.exploration import Lottery, Odds, explores
from decision_engine.rejections import Indexes, Mask

SPARES = 4
"""Alternatives behind each winner: enough that losing a position to a concurrent decision is rare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateTerms:
    """How a slate is filled: the share of draws, the seed they are made from, and whether an offer may repeat."""

    epsilon: float
    seed: str
    allow_duplicates: bool


@dataclass(frozen=True, slots=True)
class Seat:
    """An offer with one of a placement's candidates, and the chance it had of standing there."""

    offer: int
    candidate: int
    selection_probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSlate:
    """One placement filled. `greedy` is the order of the offers free for it, before any draw; `positions` the
    alternatives of each position, the winner first."""

    asked: AskedPlacement
    greedy: Sequence[int]
    odds: Odds
    entrant_places: int
    """How many of the places asked for are held by entrants."""
    positions: tuple[tuple[Seat, ...], ...]


def fill_slate(
    asked: Sequence[AskedPlacement], order: Indexes, entrants: Mask, terms: SlateTerms
) -> tuple[PlacementSlate, ...]:
    """Fills the placements from the order of the offers still alive, best first."""
    taken = np.zeros(len(entrants), np.bool_)
    fillings = []
    for placement in asked:
        filling = _Filling(placement, order, entrants, terms, taken)
        fillings.append(filling)
        if not terms.allow_duplicates:
            taken[[seat.offer for seat in filling.winners]] = True
    return tuple(filling.finished(taken, terms) for filling in fillings)


class _Filling:
    """A placement while its slate is being filled: the winners are seated, the rest of the order still waits."""

    def __init__(self, asked: AskedPlacement, order: Indexes, entrants: Mask, terms: SlateTerms, taken: Mask) -> None:
        self.asked = asked
        self.entrants = entrants
        free = order[:0] if asked.plan is None else order[asked.plan.present[order] & ~taken[order]]
        places: list[int] = np.flatnonzero(entrants[free]).tolist()
        self.greedy: list[int] = free.tolist()
        self.odds = Odds(epsilon=terms.epsilon, entrants=len(places))
        self.entrant_places = bisect_left(places, asked.wanted)
        self._lottery = self._draw(places, terms)
        self._rest = self._seats()
        self.winners = list(islice(self._rest, asked.wanted))

    def finished(self, taken: Mask, terms: SlateTerms) -> PlacementSlate:
        """Adds the spares, once all winners of the request are known."""
        count = len(self.winners)
        limit = SPARES * count if terms.allow_duplicates else SPARES if count else 0
        spares = list(islice((seat for seat in self._rest if not taken[seat.offer]), limit))
        positions = [
            # With duplicates allowed the ledger would reserve a shared spare twice, so each position has its own.
            (winner, *(spares[place::count] if terms.allow_duplicates else spares))
            for place, winner in enumerate(self.winners)
        ]
        return PlacementSlate(
            asked=self.asked,
            greedy=self.greedy,
            odds=self.odds,
            entrant_places=self.entrant_places,
            positions=tuple(positions),
        )

    def _draw(self, places: Sequence[int], terms: SlateTerms) -> Lottery | None:
        label = f"explore.{self.asked.number}"
        if not places or not explores(terms.epsilon, terms.seed, label):
            return None
        return Lottery(greedy=self.greedy, places=places, seed=terms.seed, label=label)

    def _seats(self) -> Iterator[Seat]:
        plan = self.asked.plan
        if plan is None:
            return
        for place, offer in enumerate(self._lottery.order() if self._lottery else self.greedy):
            yield self._seat(plan, place, offer)

    def _seat(self, plan: PlacementPlan, place: int, offer: int) -> Seat:
        count, entrant = plan.counts[offer], bool(self.entrants[offer])
        drawn = self._lottery is not None and entrant and count > 1
        treatment = self._lottery.treatment(offer, count) if self._lottery and drawn else 0
        greedily = self.greedy[place] == offer and treatment == 0
        probability = self.odds.at_place(greedily=greedily, entrant=entrant, treatments=count)
        return Seat(offer, plan.starts[offer] + treatment, probability)
