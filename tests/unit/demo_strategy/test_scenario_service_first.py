"""S16, service before sales: what went wrong comes first and must be shown; sales resume when it has been put right."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Offered = Callable[..., set[str]]


def opens(person: Any, trouble: str, number: str = "1") -> None:
    if trouble == "complaint":
        person.happens("bank.channel.complaint_opened", {"complaint_id": number, "topic": "fees"})
    elif trouble == "card_blocked":
        person.is_known_as(card_blocked=True)
    else:
        person.happens("bank.channel.incident_opened", {"incident_id": number, "incident": trouble})


def closes(person: Any, trouble: str, number: str = "1") -> None:
    person.days_later(0.05)
    if trouble == "complaint":
        person.happens("bank.channel.complaint_closed", {"complaint_id": number, "resolution": "settled"})
    elif trouble == "card_blocked":
        person.is_known_as(card_blocked=False)
    else:
        closing = {"incident_id": number, "incident": trouble, "resolution": "solved"}
        person.happens("bank.channel.incident_closed", closing)


TROUBLES = [
    ("complaint", "complaint_followup", "COMPLAINT_OPEN"),
    ("card_blocked", "card_blocked_help", "CARD_BLOCKED"),
    ("card_lost", "card_lost_help", "CARD_LOST"),
    ("card_stolen", "card_lost_help", "CARD_LOST"),
    ("payment_failed", "payment_failed_help", "PAYMENT_FAILED"),
]


@pytest.mark.parametrize(("trouble", "message", "code"), TROUBLES, ids=[trouble for trouble, _, _ in TROUBLES])
def test_trouble_stops_sales_shows_the_service_message_and_closing_it_resumes_them(
    customer: Make, fate: Fate, trouble: str, message: str, code: str
) -> None:
    person = customer(age=40)
    assert fate(person.asks("home_banner", 3), "mobile_payment") in LIVE
    person.days_later(0.05)
    opens(person, trouble)
    for placement in ("home_banner", "agent_panel", "branch_tablet"):
        decision = person.asks(placement, 3)
        assert fate(decision, "mobile_payment") == code, placement
        first = decision.placements[0].options[0]
        assert (first.candidate.offer, first.mandatory) == (message, True), placement
    closes(person, trouble)
    resumed = person.asks("home_banner", 3)
    assert fate(resumed, "mobile_payment") in LIVE
    assert fate(resumed, message) not in LIVE


@pytest.mark.parametrize(("trouble", "message", "code"), TROUBLES, ids=[trouble for trouble, _, _ in TROUBLES])
def test_nothing_at_all_is_sold_meanwhile(
    customer: Make,
    demo_bank: Any,
    offered: Offered,
    creditworthy: Mapping[str, Any],
    trouble: str,
    message: str,
    code: str,
) -> None:
    person = customer(**creditworthy, aum=30_000_000, risk_level=3)
    person.is_known_as(risk_assessed_at=person.now_ms)
    person.posts("credit", "transfer_in", 20_000_000, days_ago=1, balance_after=25_000_000)
    opens(person, trouble)
    purposes = {offer.name: offer.purpose for offer in demo_bank.offers}
    for placement in ("home_banner", "card_page_tile", "wealth_page_tile", "agent_panel", "branch_tablet"):
        found = offered(person.asks(placement, 5))
        assert {purposes[offer] for offer in found} <= {"service"}, placement


def test_the_service_message_is_exempt_from_every_cap_and_from_the_marketing_refusal(
    customer: Make, fate: Fate
) -> None:
    person = customer(age=40)
    person.consents("marketing", granted=False)
    opens(person, "payment_failed")
    for _ in range(6):
        assert fate(person.asks("home_banner", 3), "payment_failed_help") in LIVE


def test_each_trouble_must_be_closed_by_itself(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    opens(person, "card_lost", "1")
    opens(person, "card_lost", "2")
    opens(person, "payment_failed", "3")
    closes(person, "card_lost", "1")
    assert fate(person.asks("home_banner", 3), "mobile_payment") == "CARD_LOST"
    closes(person, "card_lost", "2")
    assert fate(person.asks("home_banner", 3), "mobile_payment") == "PAYMENT_FAILED"
    closes(person, "payment_failed", "3")
    assert fate(person.asks("home_banner", 3), "mobile_payment") in LIVE


def test_a_failed_payment_that_nobody_closes_is_forgotten_after_a_week(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    opens(person, "payment_failed")
    person.days_later(6)
    assert fate(person.asks("home_banner", 3), "mobile_payment") == "PAYMENT_FAILED"
    person.days_later(1)
    resumed = person.asks("home_banner", 3)
    assert fate(resumed, "mobile_payment") in LIVE
    assert fate(resumed, "payment_failed_help") == "NO_FAILED_PAYMENT"


def test_a_lost_card_is_never_forgotten(customer: Make, fate: Fate) -> None:
    person = customer(age=40)
    opens(person, "card_lost")
    person.days_later(200)
    assert fate(person.asks("home_banner", 3), "mobile_payment") == "CARD_LOST"
