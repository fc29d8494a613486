"""S7, large inflow: far above the customer's own average and a floor; once the manager has spoken the app is silent."""

from collections.abc import Callable
from typing import Any

import pytest

from decision_engine.outcomes import Outcome

LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Offered = Callable[..., set[str]]
Reasons = Callable[[Any, str], set[str]]


@pytest.fixture
def saver(customer: Make) -> Any:
    """Credits of 10,000 yuan a month."""
    person = customer(age=45, segment="affluent")
    for month in range(3):
        person.posts("credit", "transfer_in", 1_000_000, days_ago=10 + 25 * month, balance_after=3_000_000)
    return person


@pytest.mark.parametrize(
    ("amount", "outcome"),
    [
        (2_900_000, "NO_LARGE_INFLOW"),  # below three times the average, and below the floor
        (4_900_000, "NO_LARGE_INFLOW"),  # far above the average, but below the floor
        (5_000_000, None),
        (20_000_000, None),
    ],
)
def test_a_credit_counts_when_it_is_far_above_the_average_and_above_the_floor(
    saver: Any, fate: Fate, amount: int, outcome: str | None
) -> None:
    saver.posts("credit", "transfer_in", amount, days_ago=0.01, balance_after=3_000_000 + amount)
    decision = saver.asks("inbox_lead", 5)
    assert fate(decision, "large_inflow_call") in ({outcome} if outcome else LIVE)


def test_what_is_usual_for_the_customer_is_no_large_inflow(customer: Make, fate: Fate) -> None:
    rich = customer(age=50)
    for month in range(3):
        rich.posts("credit", "transfer_in", 10_000_000, days_ago=10 + 25 * month)
    rich.posts("credit", "transfer_in", 29_000_000, days_ago=0.01)
    assert fate(rich.asks("inbox_lead", 5), "large_inflow_call") == "NO_LARGE_INFLOW"
    rich.posts("credit", "transfer_in", 60_000_000, days_ago=0.005)
    assert fate(rich.asks("inbox_lead", 5), "large_inflow_call") in LIVE


def test_the_very_first_credit_may_be_a_large_one(customer: Make, fate: Fate) -> None:
    person = customer(age=50)
    person.posts("credit", "transfer_in", 8_000_000, days_ago=0.01)
    assert fate(person.asks("inbox_lead", 5), "large_inflow_call") in LIVE


def test_it_is_a_matter_of_three_days(saver: Any, fate: Fate) -> None:
    saver.posts("credit", "transfer_in", 20_000_000, days_ago=0.01)
    saver.days_later(3)
    assert fate(saver.asks("inbox_lead", 5), "large_inflow_call") == "NO_LARGE_INFLOW"


def test_once_the_manager_has_called_the_app_is_silent(saver: Any, fate: Fate, reasons: Reasons) -> None:
    saver.posts("credit", "transfer_in", 60_000_000, days_ago=0.01, balance_after=63_000_000)
    assert fate(saver.asks("home_banner", 3), "large_inflow_plan") in LIVE
    lead = saver.asks("inbox_lead", 5)
    assert reasons(lead, "large_inflow_call") == {"INFLOW_FAR_ABOVE_AVERAGE", "VERY_LARGE_INFLOW"}
    saver.responds(lead, "large_inflow_call", Outcome.IMPRESSION)
    for placement in ("home_banner", "wealth_page_tile"):
        assert fate(saver.asks(placement, 3), "large_inflow_plan") == "MANAGER_HAS_CALLED", placement


@pytest.mark.parametrize("outcome", [Outcome.ACCEPT, Outcome.REJECT])
def test_whatever_was_said_to_the_contact_centre_silences_the_app_too(saver: Any, fate: Fate, outcome: Outcome) -> None:
    saver.posts("credit", "transfer_in", 20_000_000, days_ago=0.01, balance_after=23_000_000)
    call = saver.asks("agent_panel", 5)
    saver.responds(call, "large_inflow_call", outcome)
    assert fate(saver.asks("home_banner", 3), "large_inflow_plan") not in LIVE
    assert fate(saver.asks("inbox_lead", 5), "large_inflow_call") not in LIVE, "nobody calls twice"


def test_what_the_app_has_shown_does_not_keep_the_manager_from_calling(saver: Any, fate: Fate) -> None:
    saver.posts("credit", "transfer_in", 20_000_000, days_ago=0.01, balance_after=23_000_000)
    shown = saver.asks("wealth_page_tile", 4)
    saver.responds(shown, "large_inflow_plan", Outcome.IMPRESSION)
    assert fate(saver.asks("inbox_lead", 5), "large_inflow_call") in LIVE


def test_what_was_taken_in_the_app_needs_no_call(saver: Any, fate: Fate) -> None:
    saver.posts("credit", "transfer_in", 20_000_000, days_ago=0.01, balance_after=23_000_000)
    shown = saver.asks("wealth_page_tile", 4)
    saver.responds(shown, "large_inflow_plan", Outcome.ACCEPT)
    assert fate(saver.asks("inbox_lead", 5), "large_inflow_call") == "TAKEN_IN_THE_APP"
