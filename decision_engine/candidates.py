"""Candidates: the treatments that may fill a placement, in the order of offer and treatment name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.decision import DecisionRequest
from decision_engine.identifiers import PlacementId
from decision_engine.offers import Offer, Placement, Treatment
from decision_engine.rejections import Indexes, Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPlan:
    """Everything that can be shown in one placement.

    `offer_of` gives each candidate's offer. An offer's candidates stand together: `starts[offer]` is the first,
    `counts[offer]` how many there are (0: none here).
    """

    placement: Placement
    treatments: tuple[Treatment, ...]
    offer_of: Indexes
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    present: Mask
    is_everywhere: bool
    """Whether every offer has a candidate here."""
    treatment_shares: NDArray[np.float64]
    """Per candidate 1 / the number of its offer's treatments here."""


class AskedPlacement(NamedTuple):
    """A placement as a request asks for it; `plan` is None when the channel has no such placement."""

    number: int
    id: PlacementId
    wanted: int
    plan: PlacementPlan | None


def plan_placement(placement: Placement, offers: Sequence[Offer]) -> PlacementPlan:
    """Lists the treatments made for the placement and its channel."""
    found = [
        (index, treatment)
        for index, offer in enumerate(offers)
        for treatment in sorted(offer.treatments, key=lambda treatment: treatment.name)
        if placement.id in treatment.placements and treatment.channel == placement.channel
    ]
    offer_of = np.array([index for index, _ in found], np.intp)
    counts = np.bincount(offer_of, minlength=len(offers))
    starts = np.cumsum(counts) - counts
    return PlacementPlan(
        placement=placement,
        treatments=tuple(treatment for _, treatment in found),
        offer_of=offer_of,
        starts=tuple(starts.tolist()),
        counts=tuple(counts.tolist()),
        present=counts > 0,
        is_everywhere=bool((counts > 0).all()),
        treatment_shares=1.0 / counts[offer_of],
    )


def asked_placements(
    plans: Mapping[PlacementId, PlacementPlan], request: DecisionRequest
) -> tuple[AskedPlacement, ...]:
    """The placements of a request, in its order. One of another channel is treated as unknown, and none gives more
    options than it has room for."""
    asked = []
    for number, wish in enumerate(request.placements):
        plan = plans.get(wish.id)
        if plan is not None and plan.placement.channel != request.channel:
            plan = None
        wanted = 0 if plan is None else max(0, min(wish.count, plan.placement.max_count))
        asked.append(AskedPlacement(number=number, id=wish.id, wanted=wanted, plan=plan))
    return tuple(asked)


def offers_in_play(asked: Sequence[AskedPlacement], offers: int) -> Mask:
    """The offers with a candidate in any of the placements."""
    in_play = np.zeros(offers, np.bool_)
    for placement in asked:
        if placement.plan is not None:
            in_play |= placement.plan.present
    return in_play
