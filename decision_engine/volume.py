"""Volume constraints in a decision: offers whose stock, budget or capacity is used up are left out, and scarce ones
pay for what they take.

What is left and what it is worth comes from outside as a view; a volume the view says nothing of limits nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.arbitration import Ranking
from decision_engine.identifiers import OfferName, key32
from decision_engine.offers import Offer
from decision_engine.outcomes import Stage
from decision_engine.rejections import PASSED, Falls, Indexes, Mask, Rejection
from decision_engine.strategy import VolumeConstraint
from decision_engine.volume_view import VolumeStanding, VolumeUse, VolumeView

Numbers = NDArray[np.float64]
EXHAUSTED = "VOLUME_EXHAUSTED"
PACED = "VOLUME_PACED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePlan:
    """Per volume the offers that take from it, what each takes, and the most that any takes. `uses` is the same by
    offer. The rejections of volume i are `first_number + 2 i` (used up) and the one after it (held back)."""

    volumes: tuple[VolumeConstraint, ...]
    members: tuple[Indexes, ...]
    costs: tuple[NDArray[np.int64], ...]
    largest: tuple[int, ...]
    uses: tuple[tuple[tuple[int, int], ...], ...]
    offer_of: Mapping[int, int]
    exhausted: VolumeView
    """The view in which nothing is left of anything."""
    first_number: int


def plan_volumes(
    offers: Sequence[Offer], volumes: Sequence[VolumeConstraint], first_number: int
) -> tuple[VolumePlan, tuple[Rejection, ...]]:
    """Lines volumes and offers up; the rejections, two a volume, are numbered from `first_number`."""
    members = [[number for number, offer in enumerate(offers) if volume.of.concerns(offer)] for volume in volumes]
    costs = [
        np.array([volume.unit_cost.of(offers[number]) for number in concerned], np.int64)
        for volume, concerned in zip(volumes, members, strict=True)
    ]
    uses: list[list[tuple[int, int]]] = [[] for _ in offers]
    for place, concerned in enumerate(members):
        for number, cost in zip(concerned, costs[place].tolist(), strict=True):
            uses[number].append((place, cost))
    plan = VolumePlan(
        volumes=tuple(volumes),
        members=tuple(np.array(concerned, np.intp) for concerned in members),
        costs=tuple(costs),
        largest=tuple(int(cost.max(initial=0)) for cost in costs),
        uses=tuple(map(tuple, uses)),
        offer_of={key32(offer.name): number for number, offer in enumerate(offers)},
        exhausted={volume.id: VolumeStanding(0) for volume in volumes},
        first_number=first_number,
    )
    rejections = [Rejection(Stage.VOLUME, volume.id, code) for volume in volumes for code in (EXHAUSTED, PACED)]
    return plan, tuple(rejections)


def screen_volumes(plan: VolumePlan, view: VolumeView, channel: str) -> Falls:
    """Which offers cannot be handed out now; of several volumes the first one declared counts."""
    falls = np.full(len(plan.uses), PASSED, np.int16)
    for place in reversed(range(len(plan.volumes))):
        standing = _standing(plan, view, place, channel)
        if standing is not None and standing.remaining < plan.largest[place]:
            short = plan.members[place][plan.costs[place] > standing.remaining]
            falls[short] = plan.first_number + 2 * place + standing.paced
    return falls


def resource_costs(plan: VolumePlan, view: VolumeView, channel: str, propensity: Numbers) -> Numbers | None:
    """Per offer what it takes at its price, in minor units of value; None when nothing has a price.

    A volume charged on acceptance is taken from with the offer's propensity only.
    """
    costs: Numbers | None = None
    for place, volume in enumerate(plan.volumes):
        standing = _standing(plan, view, place, channel)
        if standing is None or standing.price <= 0:
            continue
        if costs is None:
            costs = np.zeros(len(plan.uses), np.float64)
        members = plan.members[place]
        taken = plan.costs[place] * propensity[members] if volume.charged_on == "accept" else plan.costs[place]
        costs[members] += standing.price * taken
    return costs


def hold_back(ranking: Ranking, mandatory: Mask) -> tuple[Mask | None, Ranking]:
    """Takes out of the order what is worth less here than the units it would take: they are worth more elsewhere.
    Mandatory offers stay. Answers which offers those are, None where there are none."""
    losing = (ranking.priorities < 0) & (ranking.resource_costs > 0) & ~mandatory
    kept = ~losing[ranking.order]
    if kept.all():
        return None, ranking
    return losing, ranking._replace(order=ranking.order[kept])


def recorded_view(plan: VolumePlan, view: VolumeView) -> dict[str, VolumeStanding]:
    """The part of a view that can make a difference: deciding on it again gives the same decision."""
    recorded = {}
    for volume, largest in zip(plan.volumes, plan.largest, strict=True):
        standing = view.get(volume.id)
        if standing is not None and (standing.remaining < largest or standing.price > 0):
            recorded[volume.id] = VolumeStanding(min(standing.remaining, largest), standing.paced, standing.price)
    return recorded


def volume_use(plan: VolumePlan, offer: int, channel: str) -> VolumeUse:
    """What making an offer (its 32-bit key) in a channel takes."""
    return _use(plan, plan.offer_of[offer], channel)


def use_of_offer(plan: VolumePlan, offer: OfferName, channel: str) -> VolumeUse:
    """What making an offer in a channel takes; nothing for an offer the strategy does not have."""
    number = plan.offer_of.get(key32(offer))
    return {} if number is None else _use(plan, number, channel)


def _use(plan: VolumePlan, number: int, channel: str) -> VolumeUse:
    return {
        plan.volumes[place].id: cost for place, cost in plan.uses[number] if _counts_in(plan.volumes[place], channel)
    }


def _standing(plan: VolumePlan, view: VolumeView, place: int, channel: str) -> VolumeStanding | None:
    volume = plan.volumes[place]
    return view.get(volume.id) if _counts_in(volume, channel) else None


def _counts_in(volume: VolumeConstraint, channel: str) -> bool:
    """A channel's capacity is taken by that channel alone; every other volume by all."""
    return volume.of.kind != "channel" or volume.of.name == channel
