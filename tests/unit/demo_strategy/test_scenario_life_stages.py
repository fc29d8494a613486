"""S12, the four customer groups: what each is offered, how, and what it never is."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

DAY = 86_400_000
LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Offered = Callable[..., set[str]]
CREDIT = {"dining_card", "gold_card", "classic_card", "dual_currency_card", "personal_loan"}
PLACEMENTS = ("home_banner", "card_page_tile", "wealth_page_tile", "agent_panel", "branch_tablet", "inbox_lead")


@pytest.fixture
def minor(customer: Make) -> Any:
    """A fifteen-year-old who looks, on paper, like a good borrower."""
    person = customer(age=15, life_stage="minor", credit_score=720, income_band=4, aum=5_000_000)
    person.posts("credit", "transfer_in", 20_000_000, days_ago=1, balance_after=25_000_000)
    for day in range(8):
        person.posts("debit", "card", 50_000, days_ago=1 + day, category="dining", balance_after=20_000_000)
    return person


def test_a_minor_is_never_offered_credit_or_anything_but_savings(minor: Any, demo_bank: Any, offered: Offered) -> None:
    minor.consents("guardian", granted=True)
    groups = {offer.name: offer.group for offer in demo_bank.offers}
    for placement in PLACEMENTS:
        found = offered(minor.asks(placement, 5, page="cards"))
        assert {groups[offer] for offer in found} <= {"youth", "service_messages"}, placement


def test_credit_is_refused_to_a_minor_for_the_age_alone(minor: Any, fate: Fate) -> None:
    minor.consents("guardian", granted=True)
    minor.holds("classic_card")
    decision = minor.asks("home_banner", 3, page="cards", last_transaction_amount=600_000)
    assert {fate(decision, offer) for offer in CREDIT} <= {"UNDER_AGE", "MINOR", None}
    assert fate(decision, "dining_card") == "UNDER_AGE"
    assert fate(decision, "purchase_instalment") == "MINOR"


def test_savings_for_a_minor_need_the_guardians_consent(minor: Any, fate: Fate) -> None:
    assert fate(minor.asks("home_banner", 3), "youth_savings") == "CONSENT_GUARDIAN"
    minor.consents("guardian", granted=True)
    assert fate(minor.asks("home_banner", 3), "youth_savings") in LIVE
    minor.days_later(0.01)
    minor.consents("guardian", granted=False)
    assert fate(minor.asks("home_banner", 3), "youth_savings") == "CONSENT_GUARDIAN"


def test_an_adult_needs_no_guardian_and_gets_no_youth_savings(customer: Make, fate: Fate) -> None:
    person = customer(age=18)
    person.consents("guardian", granted=True)
    assert fate(person.asks("home_banner", 3), "youth_savings") == "NOT_A_MINOR"


@pytest.mark.parametrize(
    ("stage", "age", "offer"),
    [
        ("young_starter", 24, "starter_savings"),
        ("wealth_builder", 48, "wealth_checkup"),
        ("senior", 70, "senior_deposit"),
    ],
)
def test_each_stage_has_an_offer_of_its_own(customer: Make, fate: Fate, stage: str, age: int, offer: str) -> None:
    aum = 1_000_000 if stage == "young_starter" else 20_000_000
    person = customer(age=age, life_stage=stage, aum=aum)
    person.posts("credit", "salary", 900_000, days_ago=10, category="salary", balance_after=6_000_000)
    decision = person.asks("agent_panel", 5)
    own = {"starter_savings", "wealth_checkup", "senior_deposit"}
    assert fate(decision, offer) in LIVE
    assert {fate(decision, other) for other in own - {offer}} == {"NOT_THIS_STAGE"}


@pytest.mark.parametrize("known", [{"life_stage": "senior"}, {"age": 60}, {"age": 60, "life_stage": "senior"}])
def test_seniors_are_not_offered_high_risk_however_rich_and_bold(
    customer: Make, fate: Fate, known: Mapping[str, Any]
) -> None:
    person = customer(**{"age": 66, **known}, segment="private", aum=200_000_000, risk_level=5)
    person.is_known_as(risk_assessed_at=person.now_ms - DAY)
    person.posts("credit", "transfer_in", 90_000_000, days_ago=2, balance_after=150_000_000)
    decision = person.asks("wealth_page_tile", 4, page="wealth")
    assert fate(decision, "equity_fund") == "AGE_RISK"  # R4
    assert fate(decision, "private_fund") in {"AGE_RISK", None}  # R5
    assert fate(person.asks("inbox_lead", 5), "private_fund") == "AGE_RISK"
    assert fate(decision, "bond_fund") in LIVE


def test_a_senior_who_calls_is_helped_before_anything_is_offered(customer: Make, offered: Offered) -> None:
    person = customer(age=70, life_stage="senior")
    person.posts("credit", "transfer_in", 500_000, days_ago=3, category="pension", balance_after=5_000_000)
    for placement in ("agent_panel", "branch_tablet"):
        decision = person.asks(placement, 5)
        first = decision.placements[0].options[0]
        assert (first.candidate.offer, first.mandatory) == ("senior_human_help", True), placement
    younger = person.asks("home_banner", 3)
    assert "senior_human_help" not in offered(younger), "it is what people do, not what an app shows"


def test_in_the_app_seniors_see_large_type_and_one_touch_to_a_person(
    customer: Make, demo_bank: Any, fate: Fate
) -> None:
    person = customer(age=70, life_stage="senior")
    person.happens("bank.channel.login", {"channel": "mobile", "method": "voice"}, days_ago=1)
    assert fate(person.asks("home_banner", 3, intent="help"), "senior_hotline") in LIVE
    banner = demo_bank.offer("senior_hotline").treatments[0]
    assert banner.attributes == {"type_size": "large", "hotline": "one_touch"}
    assert fate(customer(age=30).asks("home_banner", 3, intent="help"), "senior_hotline") == "NOT_NEEDED"
