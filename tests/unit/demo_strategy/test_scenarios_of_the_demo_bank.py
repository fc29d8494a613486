"""The scenarios the demo bank must show: events in, decision and reasons out, response, and what changes next."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from decision_engine.experiment import Arm
from decision_engine.outcomes import Outcome

DAY = 86_400_000
LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]


def reasons_in(decision: Any, offer: str) -> set[str]:
    return {
        code
        for answer in decision.placements
        for option in answer.options
        if option.candidate.offer == offer
        for code, _ in option.reasons
    }


def offers_in(decision: Any) -> set[str]:
    return {option.candidate.offer for answer in decision.placements for option in answer.options}


# S1: potential platinum customers


def potential_platinum(customer: Make, **attributes: Any) -> Any:
    person = customer(age=45, segment="affluent", aum=30_000_000, aum_external_estimate=60_000_000, **attributes)
    person.posts("credit", "transfer_in", 20_000_000, days_ago=3, balance_after=25_000_000)
    return person


WEALTH_BY_RISK = ["money_fund", "bond_fund", "balanced_fund", "equity_fund"]


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_s1_large_inflows_bring_wealth_offers_up_to_the_customers_risk_level(
    customer: Make, fate: Fate, level: int
) -> None:
    person = potential_platinum(customer, risk_level=level)
    person.is_known_as(risk_assessed_at=person.now_ms - 100 * DAY)
    decision = person.asks("wealth_page_tile", 4)
    for risk, offer in enumerate(WEALTH_BY_RISK, start=1):
        expected = LIVE if risk <= level else {"SUITABILITY_TOO_LOW"}
        assert fate(decision, offer) in expected, offer
    assert fate(decision, "platinum_upgrade") in LIVE
    assert "LARGE_INFLOW" in set().union(*(reasons_in(decision, offer) for offer in offers_in(decision)))


@pytest.mark.parametrize(
    ("attributes", "assessed_days_ago", "code"),
    [
        ({}, None, "SUITABILITY_MISSING"),
        ({"risk_level": 5}, None, "SUITABILITY_MISSING"),
        ({"risk_level": 5}, 400, "SUITABILITY_STALE"),
        ({"risk_level": 0}, 10, "SUITABILITY_MISSING"),
    ],
)
def test_s1_without_a_valid_assessment_no_investment_is_offered_and_a_new_one_is_asked_for(
    customer: Make, fate: Fate, attributes: Mapping[str, Any], assessed_days_ago: int | None, code: str
) -> None:
    person = potential_platinum(customer, **attributes)
    if assessed_days_ago is not None:
        person.is_known_as(risk_assessed_at=person.now_ms - assessed_days_ago * DAY)
    decision = person.asks("wealth_page_tile", 4)
    assert {fate(decision, offer) for offer in WEALTH_BY_RISK} == {code}
    if attributes.get("risk_level") != 0:
        assert fate(decision, "risk_reassessment") in LIVE


def test_s1_a_maturing_deposit_and_falling_idle_money_are_signs_too(customer: Make, fate: Fate) -> None:
    maturing = customer(age=45, aum=6_000_000, risk_level=3)
    maturing.is_known_as(risk_assessed_at=maturing.now_ms - DAY, next_maturity_at=maturing.now_ms + 5 * DAY)
    decision = maturing.asks("wealth_page_tile", 4)
    assert fate(decision, "bond_fund") in LIVE
    assert fate(decision, "maturity_notice") in LIVE
    quiet = customer(age=45, aum=6_000_000, risk_level=3)
    quiet.is_known_as(risk_assessed_at=quiet.now_ms - DAY)
    assert fate(quiet.asks("wealth_page_tile", 4), "bond_fund") == "NO_ASSETS_TO_GROW"
    falling = customer(age=45, aum=6_000_000, risk_level=3)
    falling.is_known_as(risk_assessed_at=falling.now_ms - DAY)
    for days_ago, balance in [(80, 2_500_000), (60, 2_500_000), (40, 2_500_000), (2, 200_000)]:
        falling.posts("debit", "transfer_out", 1000, days_ago=days_ago, balance_after=balance)
    decision = falling.asks("wealth_page_tile", 4)
    assert fate(decision, "bond_fund") in LIVE
    assert falling.attribute("balance_runoff") > 0.8


def test_s1_high_risk_is_kept_from_seniors(customer: Make, fate: Fate) -> None:
    person = potential_platinum(customer, risk_level=5)
    person.is_known_as(age=74, risk_assessed_at=person.now_ms - DAY)
    decision = person.asks("wealth_page_tile", 4)
    assert fate(decision, "equity_fund") == "AGE_RISK"
    assert fate(decision, "bond_fund") in LIVE


# S5: the card that fits the spend; instalments after a large purchase


def spend(person: Any, category: str, times: int, amount: int = 30_000) -> None:
    for number in range(times):
        person.posts("debit", "card", amount, days_ago=1 + number * 3, category=category, merchant_country="CN")


@pytest.mark.parametrize(
    ("category", "card"),
    [
        ("dining", "dining_card"),
        ("fuel", "fuel_card"),
        ("online_shopping", "shopping_card"),
        ("airline", "travel_card"),
    ],
)
def test_s5_the_card_fits_the_spend(
    customer: Make, fate: Fate, creditworthy: Mapping[str, Any], category: str, card: str
) -> None:
    person = customer(**creditworthy)
    spend(person, category, 8)
    decision = person.asks("card_page_tile", 4, page="cards")
    cards = {"dining_card", "fuel_card", "shopping_card", "travel_card"}
    assert fate(decision, card) in LIVE
    assert {fate(decision, other) for other in cards - {card}} == {"NO_MATCHING_SPEND"}


def test_s5_credit_needs_an_adult_with_a_sound_record(
    customer: Make, fate: Fate, creditworthy: Mapping[str, Any]
) -> None:
    for attributes, code in [
        ({"age": 17}, "UNDER_AGE"),
        ({"credit_score": 520}, "CREDIT_TOO_LOW"),
        ({"overdue_days": 12}, "OVERDUE"),
    ]:
        person = customer(**{**creditworthy, **attributes})
        spend(person, "dining", 8)
        assert fate(person.asks("card_page_tile", 4), "dining_card") == code
    unknown_age = customer(credit_score=720)
    spend(unknown_age, "dining", 8)
    assert fate(unknown_age.asks("card_page_tile", 4), "dining_card") == "UNDER_AGE"


def test_s5_an_instalment_is_offered_within_the_day_of_a_large_purchase(
    customer: Make, fate: Fate, creditworthy: Mapping[str, Any]
) -> None:
    person = customer(**creditworthy, credit_limit=5_000_000, credit_used=1_000_000)
    person.holds("gold_card")
    assert fate(person.asks("home_banner", 3), "purchase_instalment") == "NO_LARGE_PURCHASE"
    person.posts("debit", "card", 450_000, days_ago=0.01, category="electronics")
    decision = person.asks("home_banner", 3)
    assert fate(decision, "purchase_instalment") in LIVE
    person.days_later(2)
    assert fate(person.asks("home_banner", 3), "purchase_instalment") == "NO_LARGE_PURCHASE"
    at_the_till = person.asks("home_banner", 3, last_transaction_amount=600_000)
    assert fate(at_the_till, "purchase_instalment") in LIVE


def test_s5_no_instalment_without_a_card_or_headroom(
    customer: Make, fate: Fate, creditworthy: Mapping[str, Any]
) -> None:
    without = customer(**creditworthy)
    without.posts("debit", "card", 450_000, category="electronics")
    assert fate(without.asks("home_banner", 3), "purchase_instalment") == "NO_CARD"
    exhausted = customer(**creditworthy, credit_limit=1_000_000, credit_used=990_000)
    exhausted.holds("gold_card")
    exhausted.posts("debit", "card", 450_000, category="electronics")
    assert fate(exhausted.asks("home_banner", 3), "purchase_instalment") == "LIMIT_EXHAUSTED"


# S6: salary arrived


def paid(person: Any, amount: int, days_ago: float) -> None:
    person.posts("credit", "salary", amount, days_ago=days_ago, category="salary", counterparty="Works Ltd")


def test_s6_the_first_salary_brings_a_plan_but_not_twice_in_a_month(customer: Make, fate: Fate) -> None:
    person = customer(age=24, risk_level=2)
    person.is_known_as(risk_assessed_at=person.now_ms - DAY)
    assert fate(person.asks("home_banner", 3), "salary_fund") == "NO_SALARY"
    paid(person, 900_000, days_ago=0.2)
    decision = person.asks("home_banner", 3)
    salary = {offer for offer in offers_in(decision) if offer.startswith("salary_")}
    assert len(salary) == 1
    assert reasons_in(decision, *salary) >= {"FIRST_SALARY"}
    person.responds(decision, *salary, Outcome.IMPRESSION)
    again = person.asks("home_banner", 3)
    assert {fate(again, "salary_fund"), fate(again, "salary_deposit")} == {"SALARY_ONCE_A_MONTH"}
    person.days_later(15)
    paid(person, 900_000, days_ago=0)
    assert fate(person.asks("home_banner", 3), "salary_fund") == "SALARY_AS_USUAL"
    paid(person, 2_700_000, days_ago=0)
    assert fate(person.asks("home_banner", 3), "salary_fund") in LIVE


def test_s6_a_plan_that_was_never_shown_frees_the_month_again(customer: Make, fate: Fate) -> None:
    person = customer(age=24)
    paid(person, 900_000, days_ago=0.2)
    assert fate(person.asks("home_banner", 3), "salary_deposit") in LIVE
    assert fate(person.asks("home_banner", 3), "salary_deposit") == "SALARY_ONCE_A_MONTH"
    person.days_later(0.01)
    assert fate(person.asks("home_banner", 3), "salary_deposit") in LIVE


# S8: churn signals


def leaving(customer: Make, **more: Any) -> Any:
    person = customer(age=40, segment="platinum", **more)
    for days_ago, balance in [(70, 40_000_000), (40, 38_000_000), (3, 3_000_000)]:
        person.posts("debit", "transfer_out", 1000, days_ago=days_ago, balance_after=balance)
    person.posts("debit", "transfer_out", 20_000_000, days_ago=2, own_account=True, balance_after=2_000_000)
    return person


def test_s8_run_off_and_own_transfers_bring_retention_and_a_call(customer: Make, fate: Fate) -> None:
    person = leaving(customer)
    assert person.attribute("churn_signal_count") == 2
    decision = person.asks("home_banner", 3)
    assert fate(decision, "retention_rate_bonus") in LIVE
    assert fate(decision, "fee_waiver") in LIVE
    call = person.asks("inbox_lead", 5)
    assert reasons_in(call, "manager_care_call") == {"BALANCE_RUNOFF", "MONEY_GOES_ELSEWHERE"}
    content = customer(age=40, segment="platinum")
    content.posts("credit", "salary", 1_000_000, days_ago=1, balance_after=9_000_000)
    assert fate(content.asks("home_banner", 3), "fee_waiver") == "NO_CHURN_SIGNAL"


def test_s8_a_login_gap_and_an_unused_card_count_as_signals(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    person.holds("gold_card")
    person.happens("bank.channel.login", {"channel": "mobile"}, days_ago=45)
    person.posts("debit", "card", 5_000, days_ago=75, category="dining")
    assert person.attribute("churn_signal_count") == 2
    decision = person.asks("home_banner", 3)
    assert fate(decision, "card_reactivation") in LIVE
    person.posts("debit", "card", 5_000, days_ago=0, category="dining")
    assert fate(person.asks("home_banner", 3), "card_reactivation") == "CARD_IN_USE"


def test_s8_the_holdout_stays_untouched(customer: Make, fate: Fate) -> None:
    person = leaving(lambda **attributes: customer(Arm.HOLDOUT, **attributes))
    decision = person.asks("home_banner", 3)
    assert offers_in(decision) == {"risk_reassessment"}, "service goes on"
    assert fate(decision, "retention_rate_bonus") == "HOLDOUT"


# S16 and S17: service before sales; refusals and rights


def test_s16_an_open_complaint_stops_sales_and_closing_it_resumes_them(customer: Make, fate: Fate) -> None:
    person = customer(age=40, satisfaction_score=30)
    assert fate(person.asks("agent_panel"), "mobile_payment") in LIVE
    person.happens("bank.channel.complaint_opened", {"complaint_id": "k1", "topic": "fees"})
    decision = person.asks("agent_panel")
    assert fate(decision, "mobile_payment") == "COMPLAINT_OPEN"
    first = decision.placements[0].options[0]
    assert (first.candidate.offer, first.mandatory) == ("complaint_followup", True)
    person.happens("bank.channel.complaint_closed", {"complaint_id": "k1", "resolution": "settled"})
    person.days_later(0.01)
    resumed = person.asks("agent_panel")
    assert fate(resumed, "mobile_payment") in LIVE
    assert fate(resumed, "complaint_followup") == "NO_OPEN_COMPLAINT"


def test_s17_a_rejection_holds_in_every_channel_and_for_the_whole_group(
    customer: Make, fate: Fate, creditworthy: Mapping[str, Any]
) -> None:
    person = customer(**creditworthy)
    spend(person, "dining", 8)
    spend(person, "fuel", 8)
    decision = person.asks("card_page_tile", 4)
    person.responds(decision, "dining_card", Outcome.REJECT)
    for placement in ("home_banner", "agent_panel", "branch_tablet"):
        later = person.asks(placement)
        assert fate(later, "dining_card") == "REJECTED_LATELY", placement
        assert fate(later, "fuel_card") == "GROUP_REJECTED_LATELY", placement
    assert person.attribute("cards_reject_count_90d") == 1
    person.days_later(8)
    eighth_day = person.asks("card_page_tile", 4)
    assert fate(eighth_day, "dining_card") == "REJECTED_LATELY"
    assert fate(eighth_day, "fuel_card") in LIVE
    person.days_later(23)
    assert fate(person.asks("card_page_tile", 4), "dining_card") in LIVE


@pytest.mark.parametrize(
    ("outcome", "code", "days"), [(Outcome.ACCEPT, "ACCEPTED_LATELY", 89), (Outcome.CONVERT, "CONVERTED_LATELY", 364)]
)
def test_s17_what_was_taken_in_one_channel_disappears_everywhere(
    customer: Make, fate: Fate, outcome: Outcome, code: str, days: int
) -> None:
    person = customer(age=40)
    decision = person.asks("agent_panel")
    person.responds(decision, "mobile_payment", outcome)
    assert fate(person.asks("home_banner", 3), "mobile_payment") == code
    person.days_later(days)
    assert fate(person.asks("branch_tablet"), "mobile_payment") == code
    person.days_later(2)
    assert fate(person.asks("branch_tablet"), "mobile_payment") in LIVE


def test_s17_marketing_off_leaves_only_service_messages(customer: Make, fate: Fate) -> None:
    person = customer(age=40, aum=5_000_000, card_blocked=True)
    person.consents("marketing", granted=False)
    for placement in ("home_banner", "agent_panel", "branch_tablet", "wealth_page_tile"):
        decision = person.asks(placement)
        assert offers_in(decision) <= {"card_blocked_help", "risk_reassessment"}, placement
    decision = person.asks("home_banner", 3)
    assert fate(decision, "mobile_payment") == "NO_MARKETING"
    assert fate(decision, "card_blocked_help") in LIVE
    person.days_later(1)
    person.consents("marketing", granted=True)
    person.is_known_as(card_blocked=False)
    assert fate(person.asks("home_banner", 3), "mobile_payment") in LIVE


def test_s17_without_leave_for_text_messages_none_goes_out_and_never_two_a_day(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    person.posts("credit", "transfer_in", 3_000_000, days_ago=5, balance_after=4_000_000)
    assert fate(person.asks("outbound_message", 1), "term_deposit") == "CONSENT_SMS"
    person.consents("sms", granted=True)
    decision = person.asks("outbound_message", 1)
    assert offers_in(decision) == {"term_deposit"}
    person.responds(decision, "term_deposit", Outcome.IMPRESSION)
    assert fate(person.asks("outbound_message", 1), "term_deposit") == "CAP_SMS_DAY"
    person.days_later(1)
    assert fate(person.asks("outbound_message", 1), "term_deposit") in LIVE


def test_s17_without_personalisation_the_order_ignores_who_the_customer_is(
    customer: Make, creditworthy: Mapping[str, Any]
) -> None:
    person = customer(**creditworthy)
    spend(person, "dining", 8)
    assert person.asks("home_banner", 3).personalised
    person.consents("personalisation", granted=False)
    assert not person.asks("home_banner", 3).personalised


def test_s17_an_erased_customer_is_unknown_and_is_offered_nothing(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    person.happens("bank.customer.erased", {"request_id": "x"})
    decision = person.asks("home_banner", 3)
    assert offers_in(decision) == set()
    assert fate(decision, "mobile_payment") == "NO_MARKETING"
    assert person.attribute("age") is None


def test_caps_hold_over_all_channels_together(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    for placement in ("home_banner", "agent_panel", "branch_tablet"):
        decision = person.asks(placement, 3)
        person.responds(decision, "mobile_payment", Outcome.IMPRESSION)
    assert fate(person.asks("home_banner", 3), "mobile_payment") == "CAP_OFFER"
    person.days_later(7.1)
    assert fate(person.asks("home_banner", 3), "mobile_payment") in LIVE


# The replayed bank


def test_a_czech_account_in_its_own_words(czech_customer: Make, fate: Fate) -> None:
    person = czech_customer(age=33, account_frequency="monthly", district_average_salary=1_000_000)
    for month in range(5):
        person.posts("credit", "transfer_in", 1_500_000, days_ago=20 + 30 * month, balance_after=3_500_000)
        for week in range(3):
            person.posts(
                "debit", "cash_withdrawal", 350_000, days_ago=3 + 30 * month + 7 * week, balance_after=2_500_000
            )
        person.posts(
            "debit", "transfer_out", 200_000, days_ago=5 + 30 * month, category="household", counterparty_bank="AB"
        )
    decision = person.asks("agent_panel")
    assert fate(decision, "classic_card") in LIVE
    assert fate(decision, "personal_loan") in LIVE
    assert fate(decision, "term_deposit") in LIVE
    assert fate(decision, "junior_card") == "AGE_OUT_OF_RANGE"
    assert fate(decision, "household_order") == "ALREADY_USED"
    person.posts("debit", "cash_withdrawal", 1_500, category="penalty_interest", balance_after=-1_000)
    person.holds("classic_card", days_ago=1)
    decision = person.asks("agent_panel")
    assert fate(decision, "personal_loan") == "ARREARS"
    assert fate(decision, "classic_card") == "ALREADY_HELD"
