"""What stopped a candidate, in words: every rejection the engine gives, and the rules a strategy declares."""

from types import ModuleType
from typing import Any

import pytest

from decision_engine.contact_ledger import ContactClock, Scope
from decision_engine.outcomes import ContactStatus, Fate, Stage
from decision_engine.rejections import ENGINE_REJECTIONS, LATE_REJECTIONS
from decision_engine.strategy import (
    ContactLimit,
    ContactWindow,
    QuietTime,
    UnitCost,
    VolumeConstraint,
    VolumePeriod,
    VolumeScope,
)
from services.api.screens.console_decision_words import DecisionWords
from services.api.screens.words import LOCALES, load_words
from services.use_cases.authoring.rule_editing import RuleEditing
from services.use_cases.observing.decision_view import CandidateView, decision_view

WORDS = load_words()


def rejected(stage: Stage, rule: str, code: str) -> CandidateView:
    data = {
        "decision_id": "1", "time": "2026-11-21T09:50:00Z", "customer_id": "retail:1", "channel": "mobile",
        "strategy_version": "v", "arm": "full",
        "candidates": [{"placement": "home_banner", "offer": "gold_card", "treatment": "gold_card.mobile.main",
                        "outcome": "rejected", "stage": stage.value, "rule": rule, "reason": code}],
    }  # fmt: skip
    (one,) = decision_view(data, None).candidates
    assert one.fate is Fate.REJECTED
    return one


def speaking(strategy: Any, locale: str = "en") -> DecisionWords:
    editing = RuleEditing(strategy)
    return DecisionWords(
        WORDS, locale, strategy, lambda when: editing.said(when, locale), lambda when: editing.check(when).names
    )


@pytest.mark.parametrize("locale", LOCALES)
def test_every_rejection_of_the_engine_has_words(small_bank: ModuleType, locale: str) -> None:
    for strategy in (small_bank.strategy(), None):
        words = DecisionWords(WORDS, locale, strategy, lambda _: None, lambda _: ())
        for rejection in (*ENGINE_REJECTIONS, *LATE_REJECTIONS):
            one = rejected(rejection.stage, rejection.rule, rejection.code)
            assert words.rule(one), rejection
            assert words.why(one) not in ("", rejection.code), rejection


def limit(**changed: Any) -> ContactLimit:
    fields: dict[str, Any] = {
        "id": "cap", "scope": Scope.GROUP, "of": None, "statuses": ContactStatus.REJECT | ContactStatus.DISMISS,
        "clock": ContactClock.OUTCOME, "window": ContactWindow(rolling_seconds=7 * 86_400), "limit": 2, "code": "CAP",
        "text": {"en": "Twice a week is enough"},
    }  # fmt: skip
    return ContactLimit(**(fields | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "Not after 2 or more: Rejected or Later of its group within 7 days"),
        (
            {"scope": Scope.ALL, "statuses": ContactStatus.RESERVED, "window": ContactWindow(rolling_seconds=5_400)},
            "Not after 2 or more: contacts in all within 1.5 hours",
        ),
        (
            {"statuses": ContactStatus.ANY_RESPONSE, "window": ContactWindow(calendar="month"), "limit": 1},
            "Not after 1 or more: contacts of its group this month",
        ),
    ],
)
def test_a_cap_is_read_out(small_bank: ModuleType, changed: dict[str, Any], said: str) -> None:
    words = speaking(small_bank.strategy(contact_limits=(limit(**changed),)))
    one = rejected(Stage.CONTACT_POLICY, "cap", "CAP")
    assert words.rule(one) == said
    assert words.why(one) == "Twice a week is enough"
    assert words.reads(one) == ()


def test_quiet_hours_and_consents_are_read_out(small_bank: ModuleType) -> None:
    quiet = QuietTime(id="night", channels=("mobile",), from_minute=21 * 60, until_minute=8 * 60 + 30)
    words = speaking(small_bank.strategy(quiet_times=(quiet,)))
    assert words.rule(rejected(Stage.CONTACT_POLICY, "night", "QUIET_HOURS")) == "Quiet from 21:00 to 08:30"
    assert words.rule(rejected(Stage.CONSENT, "consent.sms", "CONSENT_SMS")) == "Needs the customer's consent: SMS"


def test_a_volume_says_whether_it_is_used_up_or_kept_for_later(small_bank: ModuleType) -> None:
    volume = VolumeConstraint(
        id="plastic", of=VolumeScope(kind="group", name="cards"), resource="cards", amount=12_000,
        unit_cost=UnitCost(), period=VolumePeriod(calendar="month"), charged_on="accept", hold_seconds=60,
        pacing="even",
    )  # fmt: skip
    words = speaking(small_bank.strategy(volumes=(volume,)))
    assert words.rule(rejected(Stage.VOLUME, "plastic", "VOLUME_EXHAUSTED")).endswith("none left")
    assert "12,000" in words.rule(rejected(Stage.VOLUME, "plastic", "VOLUME_PACED"))


def test_a_rule_says_what_it_looked_at(small_bank: ModuleType) -> None:
    words = speaking(small_bank.strategy())
    one = rejected(Stage.ELIGIBILITY, "adult", "UNDER_AGE")
    assert words.rule(one) == "Needs: Age is at least 18"
    assert words.why(one) == "Too young"
    assert words.reads(one) == ("age",)
    assert words.fact("age") == "Age"


def test_a_rule_nobody_knows_any_more_keeps_its_code(small_bank: ModuleType) -> None:
    words = speaking(small_bank.strategy())
    one = rejected(Stage.ELIGIBILITY, "gone", "GONE")
    assert (words.rule(one), words.why(one), words.reads(one)) == ("", "GONE", ())
