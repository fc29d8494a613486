"""S11, maturity coming: what matures within seven days is renewed, a loan only where the rules for credit allow it."""

from collections.abc import Callable
from typing import Any

import pytest

from decision_engine.strategy import Strategy
from decision_engine.triggers.definitions import Shape

LIVE = {"offered", "ranked_lower"}
DAY = 86_400_000
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]


@pytest.mark.parametrize(("days", "expected"), [(8, "NOTHING_MATURES"), (7, None), (1, None), (-1, "NOTHING_MATURES")])
def test_a_deposit_is_renewed_within_the_seven_days_before_it_matures(
    customer: Make, fate: Fate, days: int, expected: str | None
) -> None:
    person = customer(age=52)
    person.happens("bank.profile.updated", {"attributes": {"next_maturity_at": person.now_ms + days * DAY}})
    assert fate(person.asks("inbox_lead", 5), "deposit_renewal") in ({expected} if expected else LIVE)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, None),
        ({"overdue_days": 12}, "OVERDUE"),
        ({"credit_score": 500}, "CREDIT_TOO_LOW"),
        ({"age": 17}, "UNDER_AGE"),
    ],
)
def test_a_loan_is_renewed_where_credit_may_be_given(
    customer: Make, fate: Fate, told: dict[str, int], expected: str | None
) -> None:
    person = customer(**{"age": 41, "credit_score": 700, "overdue_days": 0} | told)
    person.happens("bank.profile.updated", {"attributes": {"loan_maturity_at": person.now_ms + 5 * DAY}})
    assert fate(person.asks("inbox_lead", 5), "loan_renewal") in ({expected} if expected else LIVE)


def test_both_maturities_start_a_contact_and_a_second_wave_to_the_manager(demo_bank: Strategy) -> None:
    triggers = {trigger.name: trigger for trigger in demo_bank.triggers}
    for name, attribute in (("maturity_coming", "next_maturity_at"), ("loan_maturity_coming", "loan_maturity_at")):
        trigger = triggers[name]
        assert (trigger.pattern.shape, trigger.pattern.attribute) == (Shape.MOMENT, attribute)
        assert trigger.pattern.shift_ms == -7 * DAY
        (wave,) = trigger.waves
        assert (trigger.contact.channel, wave.contact.channel, wave.after_ms) == ("sms", "manager", 2 * DAY)
        assert wave.contact.recipient == "manager_id"
