"""What the contact ledger is asked to reserve: per position the alternatives with the rules that could refuse them."""

from collections.abc import Sequence

from decision_engine.contact_ledger import ReservationRequest
from decision_engine.contact_policy import ContactMoment
from decision_engine.contact_rules import MomentAlternatives
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
    usual_ms = request.now_ms + prepared.strategy.reservation_seconds * 1000
    return usual_ms if request.held_until_ms is None else max(usual_ms, request.held_until_ms)


def plan_reservation(
    prepared: PreparedStrategy, request: DecisionRequest, slate: Sequence[PlacementSlate], moment: ContactMoment
) -> ReservationRequest:
    """All positions of the slate, in order. Whatever ends up at a position has the position's tracking id."""
    alternative = MomentAlternatives(prepared.contact_rules, moment).of
    positions = [
        tuple([alternative(seat.offer) for seat in seats]) for placement in slate for seats in placement.positions
    ]
    return ReservationRequest(
        now_ms=request.now_ms,
        lapses_ms=lapses_ms(prepared, request),
        trackings=tuple([tracking_key(tracking_id(request, position)) for position in range(len(positions))]),
        positions=tuple(positions),
        allow_duplicates=request.allow_duplicates or prepared.slate.repeats > 1,
    )
