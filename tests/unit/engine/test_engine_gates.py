"""Availability, consent and engagement policy: who may be offered what, and the code when not."""

from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.outcomes import Stage
from decision_engine.strategy import ConsentPurpose, SuitabilityGate

GATE = SuitabilityGate(level_attribute="risk_level", assessed_attribute="risk_assessed_at", valid_days=365)


def purpose(name: str, *, granted: bool) -> ConsentPurpose:
    return ConsentPurpose(name=name, granted_by_default=granted, text={})


@pytest.mark.parametrize(
    ("since", "until", "available"),
    [(0, None, True), (1, None, False), (None, 0, False), (None, 1, True), (0, 1, True), (-5, 0, False)],
)
def test_offer_is_available_from_its_start_until_before_its_end(
    bank: SimpleNamespace, since: int | None, until: int | None, available: bool
) -> None:
    offer = bank.offer(
        "card",
        available_from_ms=None if since is None else bank.NOW + since,
        available_until_ms=None if until is None else bank.NOW + until,
    )
    decision = bank.answer(bank.strategy(offer))
    if available:
        assert bank.offered(decision) == [["card"]]
    else:
        assert bank.why(decision, "card") == (Stage.AVAILABILITY, "availability.dates", "NOT_AVAILABLE")


@pytest.mark.parametrize(
    ("recorded", "default", "known", "offered"),
    [
        (True, False, True, True),
        (False, True, True, False),
        (None, True, True, True),
        (None, False, True, False),
        (None, True, False, False),
        (True, False, False, True),
    ],
)
def test_marketing_needs_a_grant_or_a_known_customers_default(
    bank: SimpleNamespace, recorded: bool | None, default: bool, known: bool, offered: bool
) -> None:
    strategy = bank.strategy(bank.offer("card"), consents={"marketing": purpose("marketing", granted=default)})
    consents = {} if recorded is None else {"marketing": recorded}
    decision = bank.answer(strategy, customer=bank.customer(known=known, consents=consents))
    assert bank.offered(decision) == [["card"] if offered else []]


def test_purpose_nobody_declared_is_refused(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("card", consents=("profiling",)))
    assert bank.why(bank.answer(strategy), "card") == (Stage.CONSENT, "consent.profiling", "CONSENT_PROFILING")


def test_service_messages_need_no_marketing_consent(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("help", purpose="service"), bank.offer("card"))
    decision = bank.answer(strategy, bank.request("banner:2"), bank.customer(consents={"marketing": False}))
    assert bank.offered(decision) == [["help"]]
    assert bank.why(decision, "card")[2] == "NO_MARKETING"


def test_channel_with_a_purpose_of_its_own_needs_it_for_everything(bank: SimpleNamespace) -> None:
    treatments = (bank.treatment("help", "main", "sms", "message"),)
    strategy = bank.strategy(
        bank.offer("help", purpose="service", treatments=treatments), consents={"sms": purpose("sms", granted=True)}
    )
    request = bank.request("message", channel="sms")
    assert bank.offered(bank.answer(strategy, request)) == [["help"]]
    refused = bank.answer(strategy, request, bank.customer(consents={"sms": False}))
    assert bank.why(refused, "help", "message") == (Stage.CONSENT, "consent.sms", "CONSENT_SMS")


@pytest.mark.parametrize(
    ("age", "balance", "city", "expected"),
    [
        (17, 0, "x", (Stage.ELIGIBILITY, "adult", "UNDER_AGE")),
        (18, 0, "x", (Stage.APPLICABILITY, "funds", "TOO_POOR")),
        (18, 9, "x", (Stage.SUITABILITY, "local", "FAR_AWAY")),
    ],
)
def test_first_rule_in_the_order_of_the_layers_is_the_reason(
    bank: SimpleNamespace, age: int, balance: int, city: str, expected: tuple[Stage, str, str]
) -> None:
    offer = bank.offer(
        "card",
        suitability=(bank.rule('city == "beijing"', "FAR_AWAY", "local"),),
        applicability=(bank.rule("balance >= 5", "TOO_POOR", "funds"),),
        eligibility=(bank.rule("age >= 0"), bank.rule("age >= 18", "UNDER_AGE", "adult")),
    )
    customer = bank.customer(age=age, balance=balance, city=city)
    assert bank.why(bank.answer(bank.strategy(offer), customer=customer), "card") == expected


def test_missing_attribute_rejects_the_rule_and_its_negation(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("a", eligibility=(bank.rule("age >= 18"),)),
        bank.offer("b", eligibility=(bank.rule("!(age >= 18)"),)),
    )
    assert bank.offered(bank.answer(strategy, bank.request("banner:2"))) == [[]]


def test_holdings_and_context_can_gate(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("a", eligibility=(bank.rule('!has_product("gold_card")'),)),
        bank.offer("b", applicability=(bank.rule('context.page == "cards" && channel == "mobile"'),)),
    )
    customer = bank.customer(holdings=frozenset({"gold_card"}))
    assert bank.offered(bank.answer(strategy, bank.request("banner:2", context={"page": "cards"}), customer)) == [["b"]]
    assert bank.offered(bank.answer(strategy, bank.request("banner:2"))) == [["a"]]


@pytest.mark.parametrize(
    ("level", "age_days", "expected"),
    [
        ("C3", 10, None),
        ("C5", 365, None),
        (3, 10, None),
        (3.0, 10, None),
        ("C2", 10, "SUITABILITY_TOO_LOW"),
        (2, 10, "SUITABILITY_TOO_LOW"),
        ("C3", 365.001, "SUITABILITY_STALE"),
        ("C5", -0.001, "SUITABILITY_MISSING"),
        (None, 10, "SUITABILITY_MISSING"),
        ("C3", None, "SUITABILITY_MISSING"),
        ("R5", 10, "SUITABILITY_MISSING"),
        (6, 10, "SUITABILITY_MISSING"),
        (3.5, 10, "SUITABILITY_MISSING"),
        (True, 10, "SUITABILITY_MISSING"),
        ("C3", "yesterday", "SUITABILITY_MISSING"),
        (10**400, 10, "SUITABILITY_MISSING"),
        ("C3", float("nan"), "SUITABILITY_MISSING"),
    ],
)
def test_investment_product_needs_a_sufficient_and_current_assessment(
    bank: SimpleNamespace, level: Any, age_days: Any, expected: str | None
) -> None:
    strategy = bank.strategy(bank.offer("fund", risk_level=3), bank.offer("card"), suitability=GATE)
    assessed = (
        bank.NOW - int(age_days * bank.DAY) if isinstance(age_days, int) or age_days in (365.001, -0.001) else age_days
    )
    attributes = {"risk_level": level, "risk_assessed_at": assessed}
    given = {name: value for name, value in attributes.items() if value is not None}
    decision = bank.answer(strategy, bank.request("banner:2"), bank.customer(**given))
    assert "card" in bank.offered(decision)[0]
    if expected is None:
        assert "fund" in bank.offered(decision)[0]
    else:
        rule = expected.lower().replace("_", ".", 1)
        assert bank.why(decision, "fund") == (Stage.SUITABILITY, rule, expected)


def test_risk_match_comes_after_applicability_and_before_own_suitability_rules(bank: SimpleNamespace) -> None:
    fund = bank.offer(
        "fund",
        risk_level=1,
        applicability=(bank.rule("balance >= 5", "TOO_POOR", "funds"),),
        suitability=(bank.rule("age < 70", "TOO_OLD", "age"),),
    )
    strategy = bank.strategy(fund, suitability=GATE)
    assert bank.why(bank.answer(strategy, customer=bank.customer(age=80, balance=1)), "fund")[2] == "TOO_POOR"
    assert (
        bank.why(bank.answer(strategy, customer=bank.customer(age=80, balance=9)), "fund")[2] == "SUITABILITY_MISSING"
    )
    assessed = bank.customer(age=80, balance=9, risk_level="C1", risk_assessed_at=bank.NOW)
    assert bank.why(bank.answer(strategy, customer=assessed), "fund")[2] == "TOO_OLD"


def test_strategy_without_a_risk_match_refuses_every_investment_product(bank: SimpleNamespace) -> None:
    customer = bank.customer(risk_level="C5", risk_assessed_at=bank.NOW)
    decision = bank.answer(bank.strategy(bank.offer("fund", risk_level=1)), customer=customer)
    assert bank.why(decision, "fund")[2] == "SUITABILITY_MISSING"


def test_earlier_stage_is_the_reason_when_several_refuse(bank: SimpleNamespace) -> None:
    offer = bank.offer("card", available_until_ms=bank.NOW, eligibility=(bank.rule("age > 99"),))
    strategy = bank.strategy(offer, contact_limits=(bank.limit(),))
    decision = bank.answer(
        strategy, customer=bank.customer(consents={"marketing": False}), records=[bank.contact("card")]
    )
    assert bank.fate(decision, "card").stage is Stage.AVAILABILITY
