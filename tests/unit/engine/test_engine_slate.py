"""Slates and settlement: who stands where, who replaces whom, and what becomes of the rest."""

from types import SimpleNamespace

import pytest

from decision_engine.contact_ledger import Scope
from decision_engine.engine import ReservationMismatch, decide, settle
from decision_engine.identifiers import key32, key64
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy, prepare


def ranked_offers(bank: SimpleNamespace, names: str, **overrides: object) -> PreparedStrategy:
    """Offers of one letter each, best first."""
    offers = [bank.offer(name, value=100 - place) for place, name in enumerate(names)]
    return prepare(bank.strategy(*offers, **overrides))


def test_offer_stands_once_over_all_placements(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "abcd"), bank.request("banner:2", "tile:2"))
    assert bank.offered(decision) == [["a", "b"], ["c", "d"]]
    assert bank.why(decision, "a", "tile") == (Stage.SLATE, "slate.duplicate", "DUPLICATE")
    assert bank.fate(decision, "a", "tile").priority == 10.0
    assert bank.fate(decision, "a", "tile").selection_probability == 0.0


def test_duplicate_that_would_not_have_stood_anyway_is_ranked_lower(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("a", value=5),
        bank.offer("b", value=9, treatments=(bank.treatment("b", "main", "mobile", "tile"),)),
    )
    decision = bank.answer(strategy, bank.request("banner", "tile"))
    assert bank.offered(decision) == [["a"], ["b"]]
    assert bank.fate(decision, "a", "tile").fate is Fate.RANKED_LOWER


def test_duplicates_are_allowed_on_request_but_not_within_a_placement(bank: SimpleNamespace) -> None:
    two = tuple(bank.treatment("a", short) for short in ("one", "two"))
    strategy = bank.strategy(bank.offer("a", value=9000, treatments=two), bank.offer("b"))
    decision = bank.answer(strategy, bank.request("banner:2", "tile:2", allow_duplicates=True))
    assert bank.offered(decision) == [["a", "b"], ["a", "b"]]
    second = [c for c in decision.candidates if c.treatment == "a.mobile.two"]
    assert [(c.stage, c.code) for c in second] == [(Stage.SLATE, "DUPLICATE")] * 2


def test_sibling_treatment_beyond_the_places_asked_for_is_ranked_lower(bank: SimpleNamespace) -> None:
    two = tuple(bank.treatment("a", short) for short in ("one", "two"))
    decision = bank.answer(bank.strategy(bank.offer("a", treatments=two)))
    assert [(c.treatment, c.fate) for c in decision.candidates] == [
        ("a.mobile.one", Fate.OFFERED),
        ("a.mobile.two", Fate.RANKED_LOWER),
    ]


def test_nothing_left_after_earlier_placements_is_a_fallback(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "a"), bank.request("banner", "tile"))
    assert (bank.offered(decision), decision.placements[1].fallback_cause) == ([["a"], []], "ALL_REJECTED")


def test_reservation_asks_for_winners_with_spares_and_their_rules(bank: SimpleNamespace) -> None:
    limits = (
        bank.limit("one", scope=Scope.OFFER, limit=1),
        bank.limit("sms", scope=Scope.CHANNEL, of="sms"),
        bank.limit("five", scope=Scope.ALL, limit=5),
    )
    prepared = ranked_offers(bank, "abcdefgh", contact_limits=limits)
    request = bank.request("banner:2")
    reservation = decide(prepared, request, bank.customer(), (), {}).reservation
    names = {key32(name): name for name in "abcdefgh"}
    assert [[names[a.offer] for a in seats] for seats in reservation.positions] == [list("acdef"), list("bcdef")]
    first = reservation.positions[0][0]
    assert reservation.trackings == tuple(key64(f"01J.{n}").to_bytes(8, "little") for n in range(2))
    assert (first.group, first.issue, first.channel) == (key32("cards"), key32("acquire"), key32("mobile"))
    assert [(rule.id, rule.key, rule.limit) for rule in first.rules] == [("one", key32("a"), 1), ("five", 0, 5)]
    assert first.rules[0].since_ms == -7 * bank.DAY
    assert (reservation.now_ms, reservation.lapses_ms) == (bank.NOW, bank.NOW + 600_000)


def test_mandatory_offers_are_reserved_without_rules(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("recall", mandatory=True), contact_limits=(bank.limit(),))
    reservation = decide(prepare(strategy), bank.request(), bank.customer(), (), {}).reservation
    assert [(a.mandatory, a.rules) for a in reservation.positions[0]] == [(True, ())]


def test_spares_are_never_winners_of_another_placement(bank: SimpleNamespace) -> None:
    prepared = ranked_offers(bank, "abcdef")
    reservation = decide(prepared, bank.request("banner", "tile:2"), bank.customer(), (), {}).reservation
    names = {key32(name): name for name in "abcdef"}
    assert [[names[a.offer] for a in seats] for seats in reservation.positions] == [
        list("adef"),
        list("bdef"),
        list("cdef"),
    ]


def test_with_duplicates_allowed_no_two_positions_of_a_placement_share_a_spare(bank: SimpleNamespace) -> None:
    prepared = ranked_offers(bank, "abcdefghijkl")
    request = bank.request("banner:2", "tile", allow_duplicates=True)
    reservation = decide(prepared, request, bank.customer(), (), {}).reservation
    assert reservation.allow_duplicates
    banner = [alternative.offer for seats in reservation.positions[:2] for alternative in seats]
    assert len(banner) == len(set(banner)) == 10
    assert reservation.positions[2][0].offer == key32("a")


def test_spare_takes_the_place_of_a_refused_winner(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "abcd"), bank.request("banner:2"), taken=[1, 0])
    assert bank.offered(decision) == [["c", "b"]]
    assert [option.tracking_id for option in decision.placements[0].options] == ["01J.0", "01J.1"]
    assert bank.why(decision, "a") == (
        Stage.CONTACT_POLICY,
        "contact_policy.reserved_meanwhile",
        "RESERVED_MEANWHILE",
    )
    assert bank.fate(decision, "a").priority == 10.0
    assert bank.fate(decision, "d").fate is Fate.RANKED_LOWER


def test_lost_position_leaves_the_others_with_ranks_closed_up(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "ab"), bank.request("banner:2"), taken=[None, 0])
    assert [(o.rank, o.tracking_id, o.candidate.offer) for o in decision.placements[0].options] == [(1, "01J.1", "b")]


def test_placement_that_lost_every_position_is_capped(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "abc"), bank.request("banner:2", "tile"), taken=[None, None, 0])
    assert decision.placements[0].fallback_cause == "CAPPED"
    assert bank.offered(decision) == [[], ["c"]]


def test_spare_taken_at_another_position_keeps_its_place(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "abcd"), bank.request("banner:2"), taken=[1, 2])
    assert bank.offered(decision) == [["c", "d"]]
    assert {c.offer: c.code for c in decision.candidates if c.fate is Fate.REJECTED} == {
        "a": "RESERVED_MEANWHILE",
        "b": "RESERVED_MEANWHILE",
    }


def test_spare_taken_by_another_placement_is_a_duplicate_here(bank: SimpleNamespace) -> None:
    decision = bank.answer(ranked_offers(bank, "abcd"), bank.request("banner", "tile"), taken=[1, 2])
    assert bank.offered(decision) == [["c"], ["d"]]
    assert bank.fate(decision, "c", "tile").code == "DUPLICATE"
    assert bank.fate(decision, "b", "tile").code == "RESERVED_MEANWHILE"


@pytest.mark.parametrize("taken", [[], [0, 0], [4], [-1]])
def test_answer_that_does_not_fit_the_draft_is_refused(bank: SimpleNamespace, taken: list[int | None]) -> None:
    prepared = ranked_offers(bank, "abc")
    draft = decide(prepared, bank.request(), bank.customer(), (), {})
    with pytest.raises(ReservationMismatch):
        settle(prepared, draft, taken)


def test_replacement_keeps_the_chance_of_the_place_it_held_in_the_order(bank: SimpleNamespace) -> None:
    prepared = ranked_offers(bank, "abc")
    decision = bank.answer(prepared, taken=[1])
    assert bank.fate(decision, "b").fate is Fate.OFFERED
    assert bank.fate(decision, "b").selection_probability == 1.0
