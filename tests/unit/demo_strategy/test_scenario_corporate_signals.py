"""S14, corporate signals: a graded lead with the fitting product; bad signals stop credit and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Offered = Callable[..., set[str]]


@pytest.fixture
def company(customer: Make) -> Any:
    return customer(customer_class="company", manager_id="M007")


def signals(company: Any, signal: str, direction: str = "positive", grade: str = "B", days_ago: float = 1) -> None:
    data = {"signal": signal, "grade": grade, "direction": direction, "amount": 90_000_000, "currency": "CNY"}
    company.happens("bank.business.signal", data, days_ago)


@pytest.mark.parametrize(
    ("signal", "product"),
    [
        ("project_approved", "project_loan"),
        ("government_procurement_won", "bid_guarantee"),
        ("loan_maturing_elsewhere", "refinancing"),
        ("specialised_sme_listed", "technology_loan"),
        ("hiring_growth", "payroll_service"),
        ("financing_round", "treasury_account"),
        ("cross_border_receipt", "trade_fx"),
        ("subsidiary_founded", "new_company_package"),
        ("account_closing_intent", "corporate_retention"),
    ],
)
def test_a_signal_brings_the_fitting_product(company: Any, fate: Fate, signal: str, product: str) -> None:
    assert fate(company.asks("inbox_lead", 5), product) not in LIVE
    signals(company, signal, "negative" if signal == "account_closing_intent" else "positive")
    assert fate(company.asks("inbox_lead", 5), product) in LIVE


def test_a_grade_a_signal_puts_its_product_before_others(company: Any, fate: Fate, offered: Offered) -> None:
    signals(company, "hiring_growth", grade="C", days_ago=20)
    signals(company, "project_approved", grade="A")
    assert "project_loan" in offered(company.asks("inbox_lead", 1), "inbox_lead")


@pytest.mark.parametrize("signal", ["lawsuit", "administrative_penalty", "negative_news"])
def test_bad_signals_stop_credit_for_a_quarter_but_not_service(company: Any, fate: Fate, signal: str) -> None:
    signals(company, "project_approved")
    signals(company, "hiring_growth")
    signals(company, signal, "negative", days_ago=30)
    decision = company.asks("inbox_lead", 5)
    assert fate(decision, "project_loan") == "NEGATIVE_SIGNAL"
    assert fate(decision, "payroll_service") in LIVE


def test_severe_signals_stop_credit_for_a_year(company: Any, fate: Fate) -> None:
    signals(company, "project_approved")
    signals(company, "payment_default", "negative", days_ago=200)
    assert fate(company.asks("inbox_lead", 5), "project_loan") == "SEVERE_SIGNAL"


def test_a_company_without_a_manager_makes_no_leads(customer: Make, fate: Fate) -> None:
    orphan = customer(customer_class="company")
    signals(orphan, "project_approved")
    assert fate(orphan.asks("inbox_lead", 5), "project_loan") == "NO_MANAGER"


def test_companies_and_persons_have_offers_of_their_own(company: Any, customer: Make, fate: Fate) -> None:
    signals(company, "project_approved")
    assert fate(company.asks("agent_panel", 5), "personal_loan") == "PERSONS_ONLY"
    person = customer(age=40)
    assert fate(person.asks("agent_panel", 5), "project_loan") == "COMPANIES_ONLY"
