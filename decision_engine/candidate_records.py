"""The record of every candidate: why it was rejected, or its factors and whether it was offered.

A decision settles its candidates as arrays, one element a candidate. Whoever encodes the record reads the arrays;
whoever wants to look at candidates one by one gets them as values, made when they are first asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from decision_engine.arbitration import Ranking
from decision_engine.candidates import PlacementPlan
from decision_engine.decision import Candidate
from decision_engine.draft import Draft
from decision_engine.offers import Offer
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy
from decision_engine.rejections import HELD_BACK, HOLDOUT, PASSED, Falls, Indexes, Rejection
from decision_engine.seating import PlacementSeating
from decision_engine.slate import PlacementSlate

Chances = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementColumns:
    """The fates of one placement's candidates, in the order of offer and treatment name (`plan.treatments`; the offer
    of each is `plan.offer_of`).

    `rejections` holds per candidate the number of its rejection, `PASSED` for the offered and the ranked lower; what
    a number means says `RejectionTable`. `scored` are the candidates that passed every gate, ascending, `chances`
    their selection probabilities. `offered` are the candidates that are offered, best rank first.
    """

    number: int
    """The placement's in the request."""
    plan: PlacementPlan
    rejections: Falls
    scored: Indexes
    chances: Chances
    offered: tuple[int, ...]

    def fate(self, candidate: int) -> Fate:
        """How one candidate ended."""
        if candidate in self.offered:
            return Fate.OFFERED
        return Fate.RANKED_LOWER if self.rejections[candidate] == PASSED else Fate.REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredOffers:
    """The factors of the offers, each array one element an offer of the strategy; they mean something for those that
    passed every gate."""

    offers: Sequence[Offer]
    propensity: Chances
    ranking: Ranking


class CandidateRecords(Sequence[Candidate]):
    """All candidates of a decision, placement by placement as asked, without those that the channel does not have.
    Equal to any sequence of equal candidates. Arrays and values are made of the settled draft when first asked for."""

    def __init__(self, prepared: PreparedStrategy, draft: Draft, seatings: Sequence[PlacementSeating]) -> None:
        self._prepared = prepared
        self._draft = draft
        self._seatings = seatings
        self.rejections = prepared.rejections

    @property
    def scored(self) -> ScoredOffers:
        """The factors, by offer."""
        draft = self._draft
        return ScoredOffers(offers=self._prepared.offers, propensity=draft.scores.propensity, ranking=draft.ranking)

    @property
    def falls(self) -> Falls:
        """The rejections by gates, by offer."""
        return self._draft.falls

    @cached_property
    def placements(self) -> tuple[PlacementColumns, ...]:
        """The fates, by placement as asked."""
        settled = (
            _settle_placement(self._prepared, self._draft, slate, seating)
            for slate, seating in zip(self._draft.slate, self._seatings, strict=True)
        )
        return tuple(columns for columns in settled if columns is not None)

    def offered(self, seating: PlacementSeating) -> list[Candidate]:
        """The candidates that are offered in a placement, best rank first."""
        slate = self._draft.slate[seating.number]
        plan, lottery = slate.asked.plan, slate.lottery
        if plan is None or lottery is None:
            raise IndexError(f"placement {seating.number} of the request has no candidates")
        return [
            self._record(plan, seat.candidate, Fate.OFFERED, None, lottery.at_place(seat)) for _, seat in seating.seated
        ]

    def shared_stages(self, placement: int) -> set[Stage]:
        """The stages in which candidates of a placement were rejected, but for those by rules of their own offers."""
        columns = next((columns for columns in self.placements if columns.number == placement), None)
        numbers = () if columns is None else np.unique(columns.rejections).tolist()
        shared = (number for number in numbers if number != PASSED and self.rejections.is_shared(number))
        return {self.rejections[0, number].stage for number in shared}

    @cached_property
    def _made(self) -> tuple[Candidate, ...]:
        return tuple(chain.from_iterable(map(self._made_of, self.placements)))

    def _made_of(self, columns: PlacementColumns) -> list[Candidate]:
        plan = columns.plan
        records = self._prepared.rejected[plan.placement.id].among(columns.rejections)
        for candidate, chance in zip(columns.scored.tolist(), columns.chances.tolist(), strict=True):
            number = int(columns.rejections[candidate])
            rejection = None if number == PASSED else self.rejections[int(plan.offer_of[candidate]), number]
            records[candidate] = self._record(plan, candidate, columns.fate(candidate), rejection, chance)
        return records

    def _record(
        self, plan: PlacementPlan, candidate: int, fate: Fate, rejection: Rejection | None, chance: float
    ) -> Candidate:
        """The record of a candidate that passed every gate."""
        offer, ranking = plan.offer_of.item(candidate), self._draft.ranking
        facts = self._prepared.offers[offer]
        return Candidate(  # without names it is made in half the time
            plan.placement.id,
            facts.name,
            plan.treatments[candidate].name,
            fate,
            None if rejection is None else rejection.stage,
            None if rejection is None else rejection.rule,
            None if rejection is None else rejection.code,
            self._draft.scores.propensity.item(offer),
            ranking.context_weights.item(offer),
            facts.value,
            ranking.levers.item(offer),
            ranking.resource_costs.item(offer),
            ranking.priorities.item(offer),
            chance,
        )

    def __len__(self) -> int:
        plans = (slate.asked.plan for slate in self._draft.slate)
        return sum(len(plan.treatments) for plan in plans if plan is not None)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Candidate, ...]: ...
    def __getitem__(self, index: int | slice) -> Candidate | tuple[Candidate, ...]:
        return self._made[index]

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._made)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made == tuple(other)

    def __hash__(self) -> int:
        return hash(self._made)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Sent elsewhere, the values go without what they were made from."""
        return tuple, (self._made,)


def _settle_placement(
    prepared: PreparedStrategy, draft: Draft, slate: PlacementSlate, seating: PlacementSeating
) -> PlacementColumns | None:
    plan, lottery = slate.asked.plan, slate.lottery
    if plan is None or lottery is None:
        return None
    rejections: Falls = draft.falls[plan.offer_of]
    scored = (rejections == PASSED).nonzero()[0]
    chances = lottery.among_first(slate.places, scored)
    if draft.held_back is not None:
        outweighed = draft.held_back[plan.offer_of[scored]]
        rejections[scored[outweighed]] = prepared.rejections.late(HELD_BACK)
        chances[outweighed] = 0.0
    if draft.held_out is not prepared.nothing:
        withheld = draft.held_out[plan.offer_of[scored]]
        rejections[scored[withheld]] = prepared.rejections.late(HOLDOUT)
        chances[withheld] = 0.0
    for candidate, rejection in {**slate.kept_out(), **seating.refused}.items():
        rejections[candidate] = prepared.rejections.late(rejection)
    for _, seat in seating.seated:
        rejections[seat.candidate] = PASSED
        chances[scored.searchsorted(seat.candidate)] = lottery.at_place(seat)
    return PlacementColumns(
        number=slate.asked.number,
        plan=plan,
        rejections=rejections,
        scored=scored,
        chances=chances,
        offered=tuple(seat.candidate for _, seat in seating.seated),
    )
