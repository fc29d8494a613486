"""Offers that stand before the customer already: neither offered nor reserved once more, and said so."""

from types import SimpleNamespace

from decision_engine.deciding_together import Question, decide_together
from decision_engine.engine import decide
from decision_engine.outcomes import Stage
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.volume_view import NO_VOLUMES


def ranked_offers(bank: SimpleNamespace) -> PreparedStrategy:
    """Offers of one letter each, best first."""
    return prepare(bank.strategy(*(bank.offer(name, value=100 - place) for place, name in enumerate("abcd"))))


def test_what_is_shown_leaves_its_place_to_the_next_best(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank), bank.request("banner:2", shown=("a", "c")))
    assert bank.offered(decision) == [["b", "d"]]
    assert bank.why(decision, "a") == (Stage.AVAILABILITY, "availability.shown", "ALREADY_SHOWN")
    assert bank.fate(decision, "a").propensity is None


def test_what_is_shown_is_not_among_what_is_reserved(bank: SimpleNamespace) -> None:
    prepared = ranked_offers(bank)
    draft = decide(prepared, bank.request("banner:3", shown=("a", "b")), bank.customer(), [], {})
    alternatives = {choice.offer for position in draft.reservation.positions for choice in position}
    assert len(alternatives) == 2
    assert len(draft.reservation.positions) == 2


def test_when_everything_is_shown_there_is_nothing_more(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank), bank.request("banner", shown=tuple("abcd")))
    assert (bank.offered(decision), decision.placements[0].fallback_cause) == ([[]], "ALL_REJECTED")


def test_questions_decided_together_leave_out_the_same(bank: SimpleNamespace) -> None:
    prepared = ranked_offers(bank)
    request = bank.request("banner:2", shown=("a", "c"))
    (together,) = decide_together(prepared, [Question(request, bank.customer(), (), {}, NO_VOLUMES)])
    alone = decide(prepared, request, bank.customer(), [], {})
    assert (together.falls == alone.falls).all()
    assert together.reservation == alone.reservation
