"""S13, prospects and new customers: nothing that needs a contract; then one step after the other."""

from collections.abc import Callable
from typing import Any

import pytest

from decision_engine.outcomes import Outcome

LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Offered = Callable[..., set[str]]
STEPS = [
    "onboard_first_login",
    "onboard_pay_by_phone",
    "onboard_first_funds",
    "onboard_risk_profile",
    "onboard_payroll",
]


def step_of(person: Any, fate: Fate) -> set[str]:
    """The steps a customer could be shown today by an agent."""
    decision = person.asks("agent_panel", 5)
    return {step for step in STEPS if fate(decision, step) in LIVE | {"SLATE_GROUP_LIMIT"}}


def test_a_prospect_is_offered_nothing_that_needs_a_contract(customer: Make, demo_bank: Any, offered: Offered) -> None:
    prospect = customer(customer_status="prospect", age=35, credit_score=760, income_band=5)
    groups = {offer.name: offer.group for offer in demo_bank.offers}
    everything: set[str] = set()
    for placement in ("home_banner", "card_page_tile", "wealth_page_tile", "agent_panel", "branch_tablet"):
        found = offered(prospect.asks(placement, 5, page="cards"))
        assert {groups[offer] for offer in found} <= {"prospects", "service_messages"}, placement
        everything |= found
    assert "open_account" in everything


def test_the_reason_is_the_missing_contract(customer: Make, fate: Fate) -> None:
    prospect = customer(customer_status="prospect", age=35)
    decision = prospect.asks("home_banner", 3)
    for offer in ("dining_card", "mobile_payment", "term_deposit", "personal_loan"):
        assert fate(decision, offer) == "PROSPECT", offer


def test_a_prospect_who_becomes_a_customer_begins_with_the_first_step(customer: Make, fate: Fate) -> None:
    person = customer(customer_status="prospect", age=35)
    assert fate(person.asks("agent_panel", 5), "open_account") in LIVE
    person.days_later(1)
    person.is_known_as(customer_status="customer")
    person.holds("current_account", days_ago=0)
    decision = person.asks("agent_panel", 5)
    assert fate(decision, "open_account") == "NOT_A_PROSPECT"
    assert fate(decision, "onboard_first_login") in LIVE
    assert fate(decision, "mobile_payment") in LIVE


def test_an_anonymous_visitor_gets_the_placements_own_words(customer: Make) -> None:
    anonymous = customer()
    placement = anonymous.asks("home_banner", 3).placements[0]
    assert not placement.options
    assert placement.fallback_cause is not None


def test_the_steps_follow_the_day_and_what_is_done(customer: Make, fate: Fate) -> None:
    person = customer(age=30, tenure_days=0)
    person.holds("current_account", days_ago=0)
    assert step_of(person, fate) == {"onboard_first_login"}
    person.happens("bank.channel.login", {"channel": "mobile"})
    assert step_of(person, fate) == {"onboard_pay_by_phone"}
    person.holds("mobile_payment", days_ago=0)
    assert step_of(person, fate) == set(), "the next step is for the third day"
    person.days_later(2)
    assert step_of(person, fate) == {"onboard_first_funds"}
    person.days_later(4)
    person.posts("credit", "transfer_in", 100_000)
    assert step_of(person, fate) == {"onboard_risk_profile"}
    person.is_known_as(risk_level=3, risk_assessed_at=person.now_ms)
    assert step_of(person, fate) == set()
    person.days_later(9)
    assert step_of(person, fate) == {"onboard_payroll"}
    person.holds("payroll", days_ago=0)
    assert step_of(person, fate) == set()


def test_a_step_not_taken_does_not_hold_up_the_later_ones_for_ever(customer: Make, fate: Fate) -> None:
    person = customer(age=30)
    person.holds("current_account", days_ago=8)
    person.happens("bank.channel.login", {"channel": "mobile"}, days_ago=7)
    assert step_of(person, fate) == {"onboard_pay_by_phone", "onboard_first_funds"}


@pytest.mark.parametrize(("opened", "tenure"), [(61, None), (1, 900)])
def test_old_customers_are_not_welcomed_again(customer: Make, fate: Fate, opened: int, tenure: int | None) -> None:
    person = customer(age=30, **({} if tenure is None else {"tenure_days": tenure}))
    person.holds("current_account", days_ago=opened)
    assert {fate(person.asks("agent_panel", 5), step) for step in STEPS} == {"NOT_NEW"}


def test_a_step_that_was_refused_is_not_pressed(customer: Make, fate: Fate) -> None:
    person = customer(age=30)
    person.holds("current_account", days_ago=0)
    decision = person.asks("agent_panel", 5)
    person.responds(decision, "onboard_first_login", Outcome.REJECT)
    assert fate(person.asks("branch_tablet", 5), "onboard_first_login") == "REJECTED_LATELY"
