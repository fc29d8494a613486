"""What the contact ledger is asked to reserve: per position the alternatives with the rules that could refuse them."""

from collections.abc import Sequence

from decision_engine.contact_ledger import Alternative, ReservationRequest
from decision_engine.contact_policy import ContactMoment
from decision_engine.contact_rules import MomentRules
from decision_engine.decision import DecisionRequest
from decision_engine.identifiers import TrackingId, key64
from decision_engine.prepared import PreparedStrategy
from decision_engine.slate import PlacementSlate

_new = tuple.__new__


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
    rules = MomentRules(prepared.contact_rules, moment)
    positions: list[tuple[Alternative, ...]] = []
    known: dict[int, tuple[object, ...]] = {}
    for placement in slate:
        for seats in placement.positions:
            tracking = tracking_key(tracking_id(request, len(positions)))
            alternatives = []
            for seat in seats:
                facts = known.get(seat.offer)
                if facts is None:
                    facts = known[seat.offer] = _facts(prepared, seat.offer, moment, rules)
                alternatives.append(_new(Alternative, (tracking, *facts)))
            positions.append(tuple(alternatives))
    return ReservationRequest(
        now_ms=request.now_ms,
        lapses_ms=lapses_ms(prepared, request),
        positions=tuple(positions),
        allow_duplicates=request.allow_duplicates or prepared.slate.repeats > 1,
    )


def _facts(prepared: PreparedStrategy, offer: int, moment: ContactMoment, rules: MomentRules) -> tuple[object, ...]:
    """What an alternative says of its offer, wherever it would stand: all but the tracking key, in that order."""
    keys = prepared.contacts.keys[offer]
    mandatory = prepared.offers[offer].mandatory
    return keys.offer, keys.group, keys.issue, moment.channel, mandatory, rules.of(offer), moment.outbound
