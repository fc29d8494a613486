"""The in-process ledger means what the store's ledger means."""

from decision_engine.contact_ledger import Alternative, ContactClock, ContactRule, ReservationRequest, Scope
from decision_engine.outcomes import ContactStatus, Outcome
from services.simulation.in_process_ledger import InProcessLedger

CONTACTS = int(ContactStatus.RESERVED | ContactStatus.ANY_RESPONSE)


def once(offer: int) -> ContactRule:
    return ContactRule("once", Scope.OFFER, offer, CONTACTS, ContactClock.CONTACT, 0.0, 1, "CAP")


def never_after_reject(offer: int) -> ContactRule:
    return ContactRule("no", Scope.OFFER, offer, int(ContactStatus.REJECT), ContactClock.OUTCOME, 0.0, 1, "REJECTED")


def alternative(offer: int, *rules: ContactRule) -> Alternative:
    return Alternative(offer=offer, group=1, issue=1, channel=1, mandatory=False, rules=rules)


def ask(*positions: tuple[Alternative, ...], now_ms: int = 1_000, tracking: bytes = b"tracking") -> ReservationRequest:
    return ReservationRequest(
        now_ms=now_ms, lapses_ms=now_ms + 600_000, trackings=(tracking,) * len(positions), positions=positions
    )


def test_the_first_allowed_alternative_is_reserved_and_counts_for_the_next() -> None:
    ledger = InProcessLedger()

    assert ledger.reserve(ask((alternative(1, once(1)), alternative(2)))) == [0]
    assert ledger.reserve(ask((alternative(1, once(1)), alternative(2)))) == [1]
    assert ledger.reserve(ask((alternative(1, once(1)),))) == [None]


def test_one_offer_is_reserved_once_a_request() -> None:
    assert InProcessLedger().reserve(ask((alternative(1),), (alternative(1), alternative(2)))) == [0, 1]


def test_a_reservation_never_shown_lapses_and_one_shown_stays() -> None:
    lapsed, shown = InProcessLedger(), InProcessLedger()
    for ledger in (lapsed, shown):
        ledger.reserve(ask((alternative(1, once(1)),)))
    shown.respond(b"tracking", Outcome.IMPRESSION, 2_000)

    assert lapsed.reserve(ask((alternative(1, once(1)),), now_ms=601_000)) == [0]
    assert shown.reserve(ask((alternative(1, once(1)),), now_ms=601_000)) == [None]


def test_a_rejection_suppresses_and_an_impression_alone_does_not() -> None:
    ledger = InProcessLedger()
    ledger.reserve(ask((alternative(1),)))
    ledger.respond(b"tracking", Outcome.IMPRESSION, 2_000)

    assert ledger.reserve(ask((alternative(1, never_after_reject(1)),), tracking=b"second__")) == [0]
    ledger.respond(b"tracking", Outcome.REJECT, 3_000)
    assert ledger.reserve(ask((alternative(1, never_after_reject(1)),))) == [None]


def test_times_are_of_the_first_showing_and_the_last_outcome() -> None:
    ledger = InProcessLedger()
    ledger.reserve(ask((alternative(1),)))
    for outcome, at_ms in ((Outcome.IMPRESSION, 5_000), (Outcome.CLICK, 6_000), (Outcome.ACCEPT, 7_000)):
        ledger.respond(b"tracking", outcome, at_ms)
    (record,) = ledger.records

    assert (record.contact_ms, record.outcome_ms) == (5_000, 7_000)
    assert record.status & ContactStatus.ACCEPT
