"""Travel, community, inflow, life stages, welcome, rewards and service first, over the whole path: events on the bus,
decision with its explanation, response, and what the next decision does with it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest

pytestmark = pytest.mark.servers
LIVE = ("offered", "ranked_lower")
TRAVEL = {"fx_exchange", "travel_insurance", "dual_currency_card"}
CHANNELS = {
    "home_banner": "mobile",
    "wealth_page_tile": "mobile",
    "card_page_tile": "mobile",
    "agent_panel": "contact_centre",
    "branch_tablet": "branch",
    "inbox_lead": "manager",
}
Ago = Callable[[float], datetime]


def known(bank: Any, customer: str, **attributes: object) -> None:
    """Makes the customer known, and waits until decisions know it."""
    bank.send(customer, "bank.profile.updated", {"attributes": attributes})
    name = next(name for name in attributes if not name.endswith("_at"))  # moments are shown as text
    bank.until(lambda: bank.attribute(customer, name) == attributes[name], f"{customer} is known by {name}")


def posted(bank: Any, customer: str, direction: str, amount: int, at: datetime, **more: object) -> None:
    """A posting; `kind` is card unless said otherwise."""
    data = {"account_id": "1", "direction": direction, "kind": "card", "amount": amount, "currency": "CNY", **more}
    bank.send(customer, "bank.transaction.posted", data, at)


def asked(bank: Any, customer: str, placement: str, **more: object) -> dict[str, Any]:
    """A decision for as many options as the placement has room for."""
    more.setdefault("count", 3 if placement == "home_banner" else 4 if placement.endswith("tile") else 5)
    answer: dict[str, Any] = bank.decide(customer, placement, CHANNELS[placement], **more)
    return answer


def until_fate(bank: Any, customer: str, placement: str, offer: str, wanted: str, **more: object) -> dict[str, Any]:
    """Asks without leaving a trace until the offer fares as wanted (`live`, or a reason code), then in earnest."""

    def fares() -> bool:
        trace = asked(bank, customer, placement, dry_run=True, **more)["decision"]["trace"]
        return any(fares_as(candidate, wanted) for candidate in trace if candidate["offer"] == offer)

    bank.until(fares, f"{offer} is {wanted} for {customer}")
    return asked(bank, customer, placement, **more)


def fares_as(candidate: Mapping[str, Any], wanted: str) -> bool:
    """`live`: nothing but the slate stands against it."""
    if wanted == "live":
        return candidate["outcome"] in LIVE or candidate.get("stage") == "slate"
    return candidate.get("reason") == wanted


def offers(answer: Mapping[str, Any]) -> list[str]:
    return [option["offer"] for option in answer.get("options", [])]


def option(answer: Mapping[str, Any], offer: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [o for o in answer.get("options", []) if o["offer"] == offer]
    assert found, f"{offer} is not among {offers(answer)}"
    return found[0]


# S2: outbound travel


def test_s2_a_visa_fee_brings_one_of_three_travel_offers_until_the_departure(bank: Any, ago: Ago) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=35)  # no credit score, so no card
    assert bank.fate(asked(bank, customer, "agent_panel"), "travel_insurance")["reason"] == "NO_TRAVEL"
    posted(bank, customer, "debit", 60_000, ago(1), category="visa_fee", channel="online")
    answer = until_fate(bank, customer, "agent_panel", "travel_insurance", "live", context={"page": "travel"})
    standing = TRAVEL & set(offers(answer))
    assert len(standing) == 1
    chosen = option(answer, standing.pop())
    assert chosen["script"], "agents have something to say"
    assert {reason["code"] for reason in chosen["reasons"]} <= {"VISA_PAID"}
    bank.respond(chosen, "impression", "contact_centre")
    bank.respond(chosen, "reject", "contact_centre")
    refused = asked(bank, customer, "home_banner")
    both = {"fx_exchange", "travel_insurance"}
    assert {bank.fate(refused, offer)["reason"] for offer in both} == {"REJECTED_LATELY", "GROUP_REJECTED_LATELY"}


def test_s2_after_departure_nothing_more_is_offered_for_the_journey(bank: Any, ago: Ago) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=35, departure_at=int(ago(-3).timestamp() * 1000))
    posted(bank, customer, "debit", 450_000, ago(1), category="airline", channel="online")
    until_fate(bank, customer, "home_banner", "fx_exchange", "live")
    departed = {"departure_at": int(ago(0.1).timestamp() * 1000)}
    bank.send(customer, "bank.profile.updated", {"attributes": departed})
    gone = until_fate(bank, customer, "home_banner", "fx_exchange", "DEPARTED")
    assert bank.fate(gone, "travel_insurance")["reason"] == "DEPARTED"
    assert bank.fate(gone, "travel_insurance")["stage"] == "applicability"


# S4: community banking


def test_s4_neighbours_are_invited_to_their_own_branch_and_nobody_else_is(bank: Any, ago: Ago) -> None:
    customer, stranger = bank.new_customer(), bank.new_customer()
    for person, distance in ((customer, 700), (stranger, 4_000)):
        fee = {"kind": "utility", "category": "property_fee", "balance_after": 600_000}
        posted(bank, person, "debit", 40_000, ago(5), **fee)
        login = {"channel": "mobile", "method": "voice", "large_type": True}
        bank.send(person, "bank.channel.login", login, ago(1))
        known(bank, person, age=68, life_stage="senior", branch_id="B001", branch_distance=distance)
    tablet = {"context": {"branch_id": "B001"}}
    answer = until_fate(bank, customer, "branch_tablet", "branch_activity_b001", "live", **tablet)
    assert bank.fate(answer, "branch_activity_b002")["reason"] == "OUTSIDE_CATCHMENT"
    seat = option(answer, "branch_activity_b001")
    assert {reason["code"] for reason in seat["reasons"]} == {"PAYS_BILLS_HERE", "EASY_LOGIN"}
    bank.respond(seat, "accept", "branch")
    assert bank.fate(asked(bank, customer, "home_banner"), "branch_activity_b001")["reason"] == "ACCEPTED_LATELY"
    far = until_fate(bank, stranger, "home_banner", "branch_activity_b001", "OUTSIDE_CATCHMENT")
    assert bank.fate(far, "community_deposit")["reason"] == "OUTSIDE_CATCHMENT"


# S7: large inflow


def test_s7_a_large_inflow_goes_to_the_manager_and_once_called_the_app_is_silent(bank: Any, ago: Ago) -> None:
    customer = bank.new_customer()
    for days in (20, 45, 70):
        posted(bank, customer, "credit", 1_000_000, ago(days), kind="transfer_in")
    known(bank, customer, age=62, segment="platinum")  # for whom the manager has no other lead
    assert bank.fate(asked(bank, customer, "inbox_lead"), "large_inflow_call")["reason"] == "NO_LARGE_INFLOW"
    posted(bank, customer, "credit", 60_000_000, ago(0.01), kind="transfer_in")
    until_fate(bank, customer, "wealth_page_tile", "large_inflow_plan", "live")
    lead = option(until_fate(bank, customer, "inbox_lead", "large_inflow_call", "live"), "large_inflow_call")
    assert {reason["code"] for reason in lead["reasons"]} == {"INFLOW_FAR_ABOVE_AVERAGE", "VERY_LARGE_INFLOW"}
    bank.respond(lead, "impression", "manager")
    for placement in ("home_banner", "wealth_page_tile"):
        fate = bank.fate(asked(bank, customer, placement), "large_inflow_plan")
        assert (fate["stage"], fate["reason"]) == ("contact_policy", "MANAGER_HAS_CALLED"), placement


# S12: life stages


def test_s12_minors_get_savings_with_the_guardians_consent_and_never_credit(bank: Any) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=15, life_stage="minor", credit_score=760)
    answer = asked(bank, customer, "home_banner")
    assert "fallback" in answer
    assert bank.fate(answer, "youth_savings")["reason"] == "CONSENT_GUARDIAN"
    assert bank.fate(answer, "dining_card")["reason"] == "UNDER_AGE"
    bank.send(customer, "bank.consent.changed", {"purpose": "guardian", "granted": True, "proof_id": "g-1"})
    answer = until_fate(bank, customer, "home_banner", "youth_savings", "live")
    assert offers(answer) == ["youth_savings"]


def test_s12_seniors_are_helped_by_a_person_first_in_large_type_and_without_high_risk(bank: Any, ago: Ago) -> None:
    customer = bank.new_customer()
    posted(bank, customer, "credit", 20_000_000, ago(3), kind="transfer_in", balance_after=25_000_000)
    bank.send(customer, "bank.channel.login", {"channel": "mobile", "large_type": True}, ago(1))
    assessed = int(ago(10).timestamp() * 1000)
    known(bank, customer, age=70, life_stage="senior", aum=30_000_000, risk_level=5, risk_assessed_at=assessed)
    answer = until_fate(bank, customer, "agent_panel", "senior_human_help", "live")
    assert (answer["options"][0]["offer"], answer["options"][0]["mandatory"]) == ("senior_human_help", True)
    wealth = until_fate(bank, customer, "wealth_page_tile", "bond_fund", "live")
    assert bank.fate(wealth, "equity_fund")["reason"] == "AGE_RISK"
    until_fate(bank, customer, "home_banner", "senior_hotline", "live")

    def hotline() -> dict[str, Any] | None:
        answer = asked(bank, customer, "home_banner", context={"intent": "help"}, dry_run=True)
        return next((o for o in answer.get("options", []) if o["offer"] == "senior_hotline"), None)

    shown = bank.until(hotline, "one touch to a person is shown")
    assert shown["attributes"] == {"type_size": "large", "hotline": "one_touch"}


# S13: prospects and new customers


def test_s13_a_prospect_is_invited_then_led_step_by_step(bank: Any, ago: Ago) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=30, customer_status="prospect")
    answer = until_fate(bank, customer, "home_banner", "open_account", "live")
    assert set(offers(answer)) <= {"open_account", "prospect_activity"}
    assert bank.fate(answer, "mobile_payment")["reason"] == "PROSPECT"
    bank.respond(option(answer, "open_account"), "convert")
    bank.send(customer, "bank.product.opened", {"product": "current_account", "account_id": "1"}, ago(0.02))
    known(bank, customer, customer_status="customer")
    first = until_fate(bank, customer, "agent_panel", "onboard_first_login", "live")
    assert bank.fate(first, "open_account")["reason"] == "NOT_A_PROSPECT"
    assert bank.fate(first, "onboard_pay_by_phone")["reason"] == "ONBOARDING_STEP_BEFORE"
    bank.send(customer, "bank.channel.login", {"channel": "mobile"}, ago(0.01))
    second = until_fate(bank, customer, "agent_panel", "onboard_pay_by_phone", "live")
    assert bank.fate(second, "onboard_first_login")["reason"] == "ONBOARDING_DONE"
    assert bank.fate(second, "onboard_first_funds")["reason"] == "ONBOARDING_NOT_NOW"


# S15: unified rewards


def test_s15_points_of_all_sources_buy_a_reward_while_the_stock_lasts(bank: Any, ago: Ago) -> None:
    stock = 12
    customers = [bank.new_customer() for _ in range(stock + 1)]
    for customer in customers:
        for source in ("card", "payment", "activity"):
            bank.send(customer, "bank.channel.points_earned", {"points": 3_000, "source": source}, ago(1))
        known(bank, customer, age=35)
    redeemed = []
    for customer in customers[:stock]:
        answer = until_fate(bank, customer, "agent_panel", "reward_lounge", "live", context={"page": "rewards"})
        reward = option(answer, "reward_lounge")
        assert reward["attributes"] == {"reward": "airport_lounge", "points": "8000"}
        bank.respond(reward, "convert", "contact_centre")
        redeemed.append(customer)
    late = until_fate(bank, customers[-1], "agent_panel", "reward_lounge", "VOLUME_EXHAUSTED")
    assert bank.fate(late, "reward_lounge")["stage"] == "volume"
    until_fate(bank, customers[-1], "agent_panel", "reward_coffee", "live")
    spent = {"points": 8_000, "source": "redemption", "reward": "airport_lounge"}
    bank.send(redeemed[0], "bank.channel.points_redeemed", spent)
    bank.until(lambda: bank.attribute(redeemed[0], "points_balance") == 1_000, "the points are spent")
    after = asked(bank, redeemed[0], "agent_panel")
    assert bank.fate(after, "reward_lounge")["reason"] in {"CONVERTED_LATELY", "NOT_ENOUGH_POINTS"}
    until_fate(bank, redeemed[0], "agent_panel", "reward_coffee", "live")


# S16: service before sales


@pytest.mark.parametrize(
    ("opening", "closing", "message", "code"),
    [
        (
            ("bank.channel.complaint_opened", {"complaint_id": "k1", "topic": "fees"}),
            ("bank.channel.complaint_closed", {"complaint_id": "k1", "resolution": "settled"}),
            "complaint_followup",
            "COMPLAINT_OPEN",
        ),
        (
            ("bank.channel.incident_opened", {"incident_id": "i1", "incident": "card_lost"}),
            ("bank.channel.incident_closed", {"incident_id": "i1", "incident": "card_lost", "resolution": "replaced"}),
            "card_lost_help",
            "CARD_LOST",
        ),
        (
            ("bank.channel.incident_opened", {"incident_id": "p1", "incident": "payment_failed"}),
            ("bank.channel.incident_closed", {"incident_id": "p1", "incident": "payment_failed"}),
            "payment_failed_help",
            "PAYMENT_FAILED",
        ),
    ],
    ids=["complaint", "card lost", "failed payment"],
)
def test_s16_service_comes_first_and_sales_resume_when_it_is_done(
    bank: Any, opening: tuple[str, dict], closing: tuple[str, dict], message: str, code: str
) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=40)
    until_fate(bank, customer, "home_banner", "mobile_payment", "live")
    bank.send(customer, *opening)
    for placement in ("home_banner", "agent_panel", "branch_tablet"):
        answer = until_fate(bank, customer, placement, "mobile_payment", code)
        assert (answer["options"][0]["offer"], answer["options"][0]["mandatory"]) == (message, True), placement
        assert offers(answer) == [message], "nothing is sold"
    bank.send(customer, *closing)
    resumed = until_fate(bank, customer, "home_banner", "mobile_payment", "live")
    assert bank.fate(resumed, message)["outcome"] == "rejected"


def test_every_scenario_speaks_both_languages(bank: Any) -> None:
    customer = bank.new_customer()
    known(bank, customer, age=30, customer_status="prospect")
    titles = {
        locale: option(
            until_fate(bank, customer, "home_banner", "open_account", "live", locale=locale), "open_account"
        )["content"]["title"]
        for locale in ("zh-CN", "en")
    }
    assert titles == {"zh-CN": "云杉一类户，十分钟开立", "en": "An account in ten minutes"}


# Households and companies


def test_a_household_and_an_owned_company_count_in_a_members_decision(bank: Any) -> None:
    anna, ben = bank.new_customer(), bank.new_customer()
    company, home = f"corp:{anna.partition(':')[2]}", f"H{anna.partition(':')[2]}"
    known(bank, anna, household_id=home, company_id=company, age=40, credit_score=720, overdue_days=0)
    known(bank, ben, household_id=home, age=41)
    bank.until(lambda: bank.attribute(anna, "household_size") == 2, "both are of one household")
    for _ in range(3):
        bank.send(anna, "bank.channel.page_view", {"page": "loans"})
    until_fate(bank, anna, "agent_panel", "personal_loan", "COMPANY_IN_TROUBLE")  # what is not known bears no loan
    known(bank, company, customer_class="company")
    until_fate(bank, anna, "agent_panel", "personal_loan", "live")
    bank.send(company, "bank.business.signal", {"signal": "lawsuit", "grade": "B", "direction": "negative"})
    until_fate(bank, anna, "agent_panel", "personal_loan", "COMPANY_IN_TROUBLE")
