"""The pipeline as a whole: what is offered, what is answered instead, and what the record says."""

from types import SimpleNamespace

import pytest

from decision_engine.customer import UNKNOWN_CUSTOMER
from decision_engine.outcomes import Fate, Stage


def test_best_priority_is_offered_and_the_rest_ranked_lower(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("low", value=10), bank.offer("high", value=20))
    decision = bank.answer(strategy)
    assert bank.offered(decision) == [["high"]]
    assert bank.fate(decision, "low").fate is Fate.RANKED_LOWER
    assert bank.fate(decision, "low").priority == 0.1 * 10


def test_priority_multiplies_propensity_context_value_and_lever(bank: SimpleNamespace) -> None:
    weights = (bank.weight('context.page == "cards"', 40), bank.weight("age >= 18", 15), bank.weight("age < 18", 500))
    offer = bank.offer("card", base_rate=0.25, value=800, lever=10.0, context_weights=weights)
    decision = bank.answer(bank.strategy(offer), bank.request(context={"page": "cards"}), bank.customer(age=30))
    candidate = bank.fate(decision, "card")
    assert (candidate.propensity, candidate.context_weight, candidate.value, candidate.lever) == (0.25, 55, 800, 10.0)
    assert candidate.priority == pytest.approx(0.25 * 1.55 * 800 * 1.1)
    assert candidate.resource_cost == 0.0


def test_ties_are_broken_by_offer_name_then_treatment_name(bank: SimpleNamespace) -> None:
    both = tuple(bank.treatment("a", short) for short in ("second", "first"))
    decision = bank.answer(bank.strategy(bank.offer("b"), bank.offer("a", treatments=both)), bank.request("banner:2"))
    assert [option.candidate.treatment for option in decision.placements[0].options] == [
        "a.mobile.first",
        "b.mobile.main",
    ]


def test_mandatory_offers_come_first_by_their_own_priority(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("rich", value=10_000),
        bank.offer("notice", value=1, mandatory=True, purpose="service"),
        bank.offer("warning", value=2, mandatory=True, purpose="service"),
    )
    decision = bank.answer(strategy, bank.request("banner:3"))
    assert bank.offered(decision) == [["warning", "notice", "rich"]]
    assert [option.mandatory for option in decision.placements[0].options] == [True, True, False]


def test_options_carry_rank_tracking_id_and_expiry(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(*(bank.offer(name) for name in "abc"))
    decision = bank.answer(strategy, bank.request("banner:2", "tile"))
    options = [option for placement in decision.placements for option in placement.options]
    assert [(option.rank, option.tracking_id) for option in options] == [(1, "01J.0"), (2, "01J.1"), (1, "01J.2")]
    assert {option.expires_ms for option in options} == {bank.NOW + 600_000}


def test_placement_gives_no_more_options_than_it_has_room_for(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(*(bank.offer(f"offer_{number}") for number in range(9)))
    assert len(bank.offered(bank.answer(strategy, bank.request("banner:9")))[0]) == 5


@pytest.mark.parametrize("placement", ["nowhere", "panel", "message"])
def test_placement_unknown_in_the_channel_falls_back(bank: SimpleNamespace, placement: str) -> None:
    decision = bank.answer(bank.strategy(bank.offer("card")), bank.request(placement, "banner"))
    assert decision.placements[0].fallback_cause == "NO_CANDIDATES"
    assert decision.placements[0].options == ()
    assert bank.offered(decision) == [[], ["card"]]


def test_treatment_of_another_channel_is_no_candidate(bank: SimpleNamespace) -> None:
    elsewhere = bank.offer("card", treatments=(bank.treatment("card", "main", "sms", "banner", "message"),))
    decision = bank.answer(bank.strategy(elsewhere), bank.request("banner"))
    assert decision.candidates == ()
    assert decision.placements[0].fallback_cause == "NO_CANDIDATES"


def test_asking_for_no_option_gives_the_fallback(bank: SimpleNamespace) -> None:
    decision = bank.answer(bank.strategy(bank.offer("card")), bank.request("banner:0"))
    assert decision.placements[0].fallback_cause == "NO_CANDIDATES"
    assert bank.fate(decision, "card").fate is Fate.RANKED_LOWER


def test_strategy_without_offers_falls_back_everywhere(bank: SimpleNamespace) -> None:
    decision = bank.answer(bank.strategy(), bank.request("banner", "tile"))
    assert [placement.fallback_cause for placement in decision.placements] == ["NO_CANDIDATES"] * 2


def test_all_rejected_is_said_when_gates_left_nothing(bank: SimpleNamespace) -> None:
    offer = bank.offer("card", eligibility=(bank.rule("age >= 18"),))
    decision = bank.answer(bank.strategy(offer), customer=bank.customer(age=10))
    assert decision.placements[0].fallback_cause == "ALL_REJECTED"


def test_capped_is_said_when_the_contact_policy_left_nothing(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("card"), contact_limits=(bank.limit(),))
    decision = bank.answer(strategy, records=[bank.contact("card")])
    assert decision.placements[0].fallback_cause == "CAPPED"


def test_unknown_customer_gets_only_what_passes_without_any_state(bank: SimpleNamespace) -> None:
    service = bank.offer("help", purpose="service")
    gated = bank.offer("letter", purpose="service", eligibility=(bank.rule("age >= 18"),))
    decision = bank.answer(bank.strategy(service, gated, bank.offer("card")), customer=UNKNOWN_CUSTOMER)
    assert bank.offered(decision) == [["help"]]
    assert bank.why(decision, "card") == (Stage.CONSENT, "consent.marketing", "NO_MARKETING")
    assert bank.fate(decision, "letter").stage is Stage.ELIGIBILITY
    assert decision.personalised is False
    assert decision.feature_age_ms is None


def test_feature_age_is_measured_from_the_newest_event(bank: SimpleNamespace) -> None:
    decision = bank.answer(bank.strategy(), customer=bank.customer(newest_event_ms=bank.NOW - 420))
    assert decision.feature_age_ms == 420


def test_without_the_ledger_only_service_and_mandatory_offers_are_made(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("card"),
        bank.offer("recall", mandatory=True),
        bank.offer("help", purpose="service"),
        contact_limits=(bank.limit(),),
    )
    request = bank.request("banner:3", degraded_causes=("ledger_unavailable",))
    decision = bank.answer(strategy, request, records=[bank.contact("help")])
    assert bank.offered(decision) == [["recall", "help"]]
    assert bank.why(decision, "card") == (
        Stage.CONTACT_POLICY,
        "contact_policy.ledger_unavailable",
        "LEDGER_UNAVAILABLE",
    )
    assert decision.degraded_causes == ("ledger_unavailable",)


@pytest.mark.parametrize("cause", ["ledger_unavailable", "state_unavailable", "deadline"])
def test_nothing_left_for_lack_of_data_is_called_degraded(bank: SimpleNamespace, cause: str) -> None:
    decision = bank.answer(bank.strategy(bank.offer("card")), bank.request(degraded_causes=(cause,)), UNKNOWN_CUSTOMER)
    assert decision.placements[0].fallback_cause == "DEGRADED"


def test_reasons_that_hold_are_given_in_the_locale_asked_for(bank: SimpleNamespace) -> None:
    reasons = (bank.reason("age >= 60", "SENIOR"), bank.reason("balance >= 100", "SAVER"))
    strategy = bank.strategy(bank.offer("fund", reasons=reasons))
    decision = bank.answer(strategy, bank.request(locale="en"), bank.customer(age=30, balance=100))
    assert decision.placements[0].options[0].reasons == (("SAVER", "SAVER in English"),)


def test_missing_locale_gives_reasons_in_the_first_one(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("fund", reasons=(bank.reason("age >= 18", "ADULT"),)))
    decision = bank.answer(strategy, bank.request(locale="fr"), bank.customer(age=30))
    assert decision.placements[0].options[0].reasons == (("ADULT", "ADULT 中文"),)


def test_at_most_three_reasons_are_given(bank: SimpleNamespace) -> None:
    reasons = tuple(bank.reason(f"age >= {age}", f"OVER_{age}") for age in (10, 20, 30, 40, 50))
    decision = bank.answer(bank.strategy(bank.offer("fund", reasons=reasons)), customer=bank.customer(age=70))
    assert [code for code, _ in decision.placements[0].options[0].reasons] == ["OVER_10", "OVER_20", "OVER_30"]


def test_every_candidate_is_recorded_once_with_one_fate(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("a"), bank.offer("b", eligibility=(bank.rule("age > 90"),)), bank.offer("c"), bank.offer("d")
    )
    decision = bank.answer(strategy, bank.request("banner", "tile"), bank.customer(age=30))
    listed = [(candidate.placement, candidate.treatment) for candidate in decision.candidates]
    assert len(listed) == len(set(listed)) == 8
    for candidate in decision.candidates:
        assert (candidate.stage is not None) == (candidate.fate is Fate.REJECTED)
        assert (candidate.priority is None) == (candidate.offer == "b")
