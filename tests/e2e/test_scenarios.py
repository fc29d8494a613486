"""The demo bank's scenarios over the whole path: events on the bus, decisions and responses over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from decision_engine.experiment import Arm

pytestmark = pytest.mark.servers
LIVE = ("offered", "ranked_lower")


def known(bank: Any, customer: str, **attributes: object) -> None:
    """Makes the customer known, and waits until decisions know it."""
    bank.send(customer, "bank.profile.updated", {"attributes": attributes})
    name = next(iter(attributes))
    bank.until(lambda: bank.attribute(customer, name) == attributes[name], f"{customer} is known by {name}")


def posted(bank: Any, customer: str, direction: str, kind: str, amount: int, at: Any, **more: object) -> None:
    data = {"account_id": "1", "direction": direction, "kind": kind, "amount": amount, "currency": "CNY", **more}
    bank.send(customer, "bank.transaction.posted", data, at)


def until_live(bank: Any, customer: str, offer: str, placement: str, **more: object) -> dict:
    """Asks without leaving a trace until the offer is in play, then asks in earnest."""

    def live() -> bool:
        trace = bank.decide(customer, placement, dry_run=True, **more)["decision"]["trace"]
        return any(c["offer"] == offer and c["outcome"] in LIVE for c in trace)

    bank.until(live, f"{offer} is in play for {customer}")
    return bank.decide(customer, placement, **more)


def option(placement: dict, offer: str) -> dict:
    found = [o for o in placement.get("options", []) if o["offer"] == offer]
    assert found, f"{offer} is not among {[o['offer'] for o in placement.get('options', [])]}"
    return found[0]


def some_marketing_option(bank: Any, placement: dict) -> dict:
    service = {"complaint_followup", "card_blocked_help", "risk_reassessment", "kyc_update", "large_type_guide"}
    return next(o for o in placement["options"] if o["offer"] not in service)


def test_s1_a_potential_platinum_customer_gets_what_suits_the_risk_level_and_nothing_above(bank, ago) -> None:
    customer = bank.new_customer()
    assessed = int(ago(100).timestamp() * 1000)
    posted(bank, customer, "credit", "transfer_in", 20_000_000, ago(3), balance_after=25_000_000)
    known(bank, customer, age=45, segment="affluent", aum=30_000_000, risk_level=2, risk_assessed_at=assessed)
    answer = until_live(bank, customer, "bond_fund", "wealth_page_tile", count=2)
    assert bank.fate(answer, "equity_fund")["reason"] == "SUITABILITY_TOO_LOW"
    assert bank.fate(answer, "equity_fund")["stage"] == "suitability"
    chosen = answer["options"][0]
    assert chosen["content"]["title"]
    bank.respond(chosen, "impression")
    bank.respond(chosen, "accept")
    after = bank.decide(customer, "wealth_page_tile", count=2)
    assert bank.fate(after, chosen["offer"])["stage"] == "contact_policy"


def test_s1_without_an_assessment_no_investment_is_offered(bank, ago) -> None:
    customer = bank.new_customer()
    posted(bank, customer, "credit", "transfer_in", 20_000_000, ago(3), balance_after=25_000_000)
    known(bank, customer, age=45, aum=30_000_000)
    answer = until_live(bank, customer, "risk_reassessment", "wealth_page_tile", count=2)
    fates = {offer: bank.fate(answer, offer)["reason"] for offer in ("money_fund", "bond_fund", "equity_fund")}
    assert set(fates.values()) == {"SUITABILITY_MISSING"}


def test_s5_the_card_that_fits_the_spend_then_an_instalment_after_a_large_purchase(bank, ago) -> None:
    customer = bank.new_customer()
    for day in range(1, 25, 3):
        posted(bank, customer, "debit", "card", 30_000, ago(day), category="dining", merchant_country="CN")
    known(bank, customer, age=35, credit_score=720, overdue_days=0, income_band=4, life_stage="family_builder")
    answer = until_live(bank, customer, "dining_card", "card_page_tile", context={"page": "cards"})
    assert bank.fate(answer, "fuel_card")["reason"] == "NO_MATCHING_SPEND"
    before = bank.decide(customer, "home_banner")
    assert bank.fate(before, "purchase_instalment")["reason"] == "NO_CARD"
    bank.send(customer, "bank.product.opened", {"product": "dining_card", "account_id": "2"}, ago(0.02))
    posted(bank, customer, "debit", "card", 450_000, ago(0.01), category="electronics")
    after = until_live(bank, customer, "purchase_instalment", "home_banner")
    assert bank.fate(after, "dining_card")["outcome"] == "rejected"


def test_s6_a_first_salary_brings_a_plan_and_not_twice_in_a_month(bank, ago) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=24, risk_level=2, risk_assessed_at=int(ago(1).timestamp() * 1000))
    assert bank.fate(bank.decide(customer), "salary_deposit")["reason"] == "NO_SALARY"
    posted(bank, customer, "credit", "salary", 900_000, ago(0.01), category="salary", counterparty="Works Ltd")
    answer = until_live(bank, customer, "salary_deposit", "home_banner")
    plans = [o for o in answer["options"] if o["offer"].startswith("salary_")]
    assert len(plans) == 1
    assert "FIRST_SALARY" in [reason["code"] for reason in plans[0]["reasons"]]
    bank.respond(plans[0], "impression")
    again = bank.decide(customer)
    assert {bank.fate(again, f"salary_{kind}")["reason"] for kind in ("fund", "deposit")} == {"SALARY_ONCE_A_MONTH"}


def test_s8_money_running_off_brings_retention_and_the_holdout_stays_untouched(bank, ago) -> None:
    for arm in (Arm.FULL, Arm.HOLDOUT):
        customer = bank.new_customer(arm)
        for days, balance in ((70, 40_000_000), (40, 38_000_000), (3, 3_000_000)):
            posted(bank, customer, "debit", "transfer_out", 1000, ago(days), balance_after=balance)
        out = {"own_account": True, "balance_after": 2_000_000}
        posted(bank, customer, "debit", "transfer_out", 20_000_000, ago(2), **out)
        known(bank, customer, age=40, segment="platinum")
        bank.until(lambda c=customer: bank.attribute(c, "churn_signal_count") == 2, "both churn signals are seen")
        answer = bank.decide(customer)
        assert answer["decision"]["arm"] == arm.value
        fate = bank.fate(answer, "retention_rate_bonus")
        if arm is Arm.FULL:
            assert fate["outcome"] in LIVE
        else:
            assert (fate["stage"], fate["reason"]) == ("experiment", "HOLDOUT")


def test_s17_a_rejection_holds_on_the_very_next_request_in_any_channel(bank) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=40)
    refused = some_marketing_option(bank, bank.decide(customer))
    bank.respond(refused, "impression")
    bank.respond(refused, "reject")
    for placement, channel in (
        ("home_banner", "mobile"),
        ("agent_panel", "contact_centre"),
        ("branch_tablet", "branch"),
    ):
        answer = bank.decide(customer, placement, channel)
        fate = bank.fate(answer, refused["offer"])
        assert (fate["stage"], fate["reason"]) == ("contact_policy", "REJECTED_LATELY"), placement


def test_s17_marketing_off_leaves_service_messages_and_personalisation_off_a_neutral_order(bank) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=40, aum=5_000_000)
    assert bank.decide(customer)["decision"]["personalised"]
    bank.send(customer, "bank.consent.changed", {"purpose": "personalisation", "granted": False})
    bank.until(lambda: not bank.decide(customer, dry_run=True)["decision"]["personalised"], "the ranking is neutral")
    neutral = bank.decide(customer)
    assert all(o["reasons"] == [] for o in neutral.get("options", []))
    bank.send(customer, "bank.consent.changed", {"purpose": "marketing", "granted": False})

    def silent() -> bool:
        offers = [o["offer"] for o in bank.decide(customer, dry_run=True).get("options", [])]
        return set(offers) <= {"risk_reassessment"}

    bank.until(silent, "marketing has stopped")
    assert bank.fate(bank.decide(customer), "mobile_payment")["reason"] == "NO_MARKETING"


def test_s17_an_erased_customer_is_offered_nothing(bank) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=40)
    bank.send(customer, "bank.customer.erased", {"request_id": "erase-1"})
    bank.until(lambda: bank.attribute(customer, "age") is None, "the profile is gone")
    assert "fallback" in bank.decide(customer)


def test_a_thousand_concurrent_requests_for_one_customer_never_exceed_a_cap(bank) -> None:
    """`offer_per_week` allows three contacts with an offer: however many ask at once, three reservations stand."""
    customer = bank.new_customer()
    known(bank, customer, age=40)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: bank.decide(customer, count=1, patient=True), range(1000)))
    offered = [o["offer"] for answer in answers for o in answer.get("options", []) if not o["mandatory"]]
    assert offered
    assert {offer: offered.count(offer) for offer in offered if offered.count(offer) > 3} == {}
    assert len(offered) <= 20, "twenty contacts a day at most"
