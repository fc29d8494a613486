"""Who would have a seat, were it not for a rule of the slate."""

from collections.abc import Iterator, Sequence

from decision_engine.candidates import AskedPlacement, PlacementPlan
from decision_engine.lottery import Seat
from decision_engine.rejections import BUNDLE, CHANNEL_LIMIT, DUPLICATE, GROUP_LIMIT, Rejection
from decision_engine.slate_field import SlateField, Taken


def kept_out(asked: AskedPlacement, winners: Sequence[Seat], field: SlateField, taken: Taken) -> dict[int, Rejection]:
    """The candidates of a placement that would stand by priority, before the last winner or at a free place, and the
    rule that kept them out. `taken` is what stands in the whole slate."""
    plan = asked.plan
    if plan is None:
        return {}
    winning = {seat.candidate for seat in winners}
    found: dict[int, Rejection] = {}
    for offer, rejection in _ruled_out(asked, [seat.offer for seat in winners], field, taken):
        first = plan.starts[offer]
        for candidate in range(first, first + plan.counts[offer]):
            if candidate not in winning:
                found[candidate] = rejection
    return found


def _ruled_out(
    asked: AskedPlacement, here: Sequence[int], field: SlateField, taken: Taken
) -> Iterator[tuple[int, Rejection]]:
    free_places = asked.wanted - len(here)
    last = len(field.offers) if free_places else max(map(field.rank, here), default=-1)
    plan: PlacementPlan | None = asked.plan
    for offer in dict.fromkeys(here if taken.allow_duplicates else taken.offers):
        if field.rank(offer) < last and (offer in here or taken.bars(offer)):
            yield offer, DUPLICATE
    if field.plan.is_plain or plan is None:
        return
    quotas, standing = taken.quotas(), frozenset(taken.offers)
    for offer in field.here[asked.number]:
        if offer in standing or field.rank(offer) >= last:
            continue
        if offer in field.plan.children:
            yield offer, BUNDLE
        elif quotas.get(field.plan.group_of[offer], 1) <= 0:
            yield offer, GROUP_LIMIT
        elif free_places > 0 and taken.total() == 0:
            free_places -= 1
            yield offer, CHANNEL_LIMIT
