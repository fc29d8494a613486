"""The record of every candidate: why it was rejected, or its factors and whether it was offered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.arbitration import RESOURCE_COST
from decision_engine.candidates import PlacementPlan
from decision_engine.decision import Candidate
from decision_engine.draft import Draft
from decision_engine.offers import Offer
from decision_engine.outcomes import Fate
from decision_engine.prepared import PreparedStrategy
from decision_engine.rejections import DUPLICATE, HOLDOUT, Rejection
from decision_engine.seating import PlacementSeating
from decision_engine.slate import PlacementSlate


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredOffers:
    """The scored numbers of one draft as plain values, by offer; `rank` is an offer's place in the order of all."""

    offers: Sequence[Offer]
    propensity: Mapping[int, float]
    context_weight: Mapping[int, float]
    priority: Mapping[int, float]
    held_out: Mapping[int, bool]
    entrants: Mapping[int, bool]
    rank: Mapping[int, int]


def scored_offers(prepared: PreparedStrategy, draft: Draft) -> ScoredOffers:
    """Takes the numbers of the offers that passed all gates out of their arrays, once."""
    alive = draft.ranking.order
    offers = alive.tolist()
    return ScoredOffers(
        offers=prepared.offers,
        propensity=dict(zip(offers, draft.scores.propensity[alive].tolist(), strict=True)),
        context_weight=dict(zip(offers, draft.ranking.context_weights[alive].tolist(), strict=True)),
        priority=dict(zip(offers, draft.ranking.priorities[alive].tolist(), strict=True)),
        held_out=dict(zip(offers, draft.held_out[alive].tolist(), strict=True)),
        entrants=dict(zip(offers, prepared.entrants[alive].tolist(), strict=True)),
        rank={offer: place for place, offer in enumerate(offers)},
    )


def record_candidates(
    prepared: PreparedStrategy, draft: Draft, slate: PlacementSlate, seating: PlacementSeating, scored: ScoredOffers
) -> Sequence[Candidate]:
    """All candidates of a placement, in the order of offer and treatment name."""
    plan = slate.asked.plan
    if plan is None:
        return ()
    records, passed = prepared.rejected[plan.placement.id].among(draft.falls)
    recorder = _PlacementRecorder(plan, slate, seating, scored)
    for place, offer in zip(passed, plan.offer_of[passed].tolist(), strict=True):
        records[place] = recorder.record(place, offer)
    return records


class _PlacementRecorder:
    """Writes the records of one placement's candidates that passed all gates."""

    def __init__(
        self, plan: PlacementPlan, slate: PlacementSlate, seating: PlacementSeating, scored: ScoredOffers
    ) -> None:
        self._plan = plan
        self._slate = slate
        self._scored = scored
        self._id = plan.placement.id
        self._seats = {seat.candidate: seat for _, seat in seating.seated}
        self._refused = seating.refused
        self._winning_offers = {position[0].offer for position in slate.positions}
        self._winning_candidates = {position[0].candidate for position in slate.positions}
        self._free = set(slate.greedy)
        self._first_greedily = set(slate.greedy[: slate.asked.wanted])
        # Offers whose other candidates may be here for no other lack than that the offer stands somewhere already.
        self._repeated = self._winning_offers.union(scored.rank.keys() - self._free)

    def record(self, candidate: int, offer: int) -> Candidate:
        """The record of one candidate and its offer."""
        seat = self._seats.get(candidate)
        rejection = None if seat is not None else self._rejection(candidate, offer)
        scored, facts = self._scored, self._scored.offers[offer]
        return Candidate(
            placement=self._id,
            offer=facts.name,
            treatment=self._plan.treatments[candidate].name,
            fate=Fate.OFFERED if seat is not None else Fate.REJECTED if rejection is not None else Fate.RANKED_LOWER,
            stage=rejection.stage if rejection is not None else None,
            rule=rejection.rule if rejection is not None else None,
            code=rejection.code if rejection is not None else None,
            propensity=scored.propensity[offer],
            context_weight=scored.context_weight[offer],
            value=facts.value,
            lever=facts.lever,
            resource_cost=RESOURCE_COST,
            priority=scored.priority[offer],
            selection_probability=seat.selection_probability if seat is not None else self._chance(candidate, offer),
        )

    def _rejection(self, candidate: int, offer: int) -> Rejection | None:
        if self._scored.held_out[offer]:
            return HOLDOUT
        if candidate in self._refused:
            return self._refused[candidate]
        return DUPLICATE if offer in self._repeated and self._would_stand(candidate, offer) else None

    def _would_stand(self, candidate: int, offer: int) -> bool:
        """Whether the candidate of a repeated offer would stand here, by priority, were repeating allowed."""
        if candidate in self._winning_candidates:
            return False
        if len(self._slate.positions) < self._slate.asked.wanted:
            return True
        rank = self._scored.rank
        return any(rank[offer] < rank[winner] for winner in self._winning_offers)

    def _chance(self, candidate: int, offer: int) -> float:
        """The chance of standing in one of the places asked for."""
        if offer not in self._free:
            return 0.0
        return self._slate.odds.among_first(
            self._slate.entrant_places,
            greedily=offer in self._first_greedily and candidate == self._plan.starts[offer],
            entrant=self._scored.entrants[offer],
            treatments=self._plan.counts[offer],
        )
