"""What the contact ledger is asked to reserve: per position the alternatives with the rules that could refuse them."""

from collections.abc import Mapping, Sequence

from decision_engine.contact_ledger import Alternative, ContactRule, ReservationRequest
from decision_engine.contact_policy import ContactMoment
from decision_engine.decision import DecisionRequest
from decision_engine.identifiers import TrackingId, key64
from decision_engine.prepared import PreparedStrategy
from decision_engine.slate import PlacementSlate


def tracking_id(request: DecisionRequest, position: int) -> TrackingId:
    """The name of whatever is shown at a position; positions count over the whole decision, from 0."""
    return TrackingId(f"{request.decision_id}.{position}")


def tracking_key(tracking: TrackingId) -> bytes:
    """The tracking id as the ledger stores it: 8 bytes."""
    return key64(tracking).to_bytes(8, "little")


def lapses_ms(prepared: PreparedStrategy, request: DecisionRequest) -> int:
    """When a reservation that was never shown lapses, and its option with it; epoch milliseconds."""
    return request.now_ms + prepared.strategy.reservation_seconds * 1000


def plan_reservation(
    prepared: PreparedStrategy, request: DecisionRequest, slate: Sequence[PlacementSlate], moment: ContactMoment
) -> ReservationRequest:
    """All positions of the slate, in order. Whatever ends up at a position has the position's tracking id."""
    positions = [position for placement in slate for position in placement.positions]
    tracking_keys = [tracking_key(tracking_id(request, place)) for place in range(len(positions))]
    offers = {seat.offer for seats in positions for seat in seats}
    rules = {offer: moment.rules_for(offer) for offer in offers}
    return ReservationRequest(
        now_ms=request.now_ms,
        lapses_ms=lapses_ms(prepared, request),
        positions=tuple(
            tuple(_alternative(prepared, tracking, seat.offer, moment.channel, rules) for seat in seats)
            for tracking, seats in zip(tracking_keys, positions, strict=True)
        ),
        allow_duplicates=request.allow_duplicates,
    )


def _alternative(
    prepared: PreparedStrategy, tracking: bytes, offer: int, channel: int, rules: Mapping[int, tuple[ContactRule, ...]]
) -> Alternative:
    keys = prepared.contacts.keys[offer]
    return Alternative(
        tracking=tracking,
        offer=keys.offer,
        group=keys.group,
        issue=keys.issue,
        channel=channel,
        mandatory=prepared.offers[offer].mandatory,
        rules=rules[offer],
    )
