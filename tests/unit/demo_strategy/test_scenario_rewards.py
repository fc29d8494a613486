"""S15, unified rewards: points from cards, payments and activities buy rewards; a redemption is a `convert`."""

from collections.abc import Callable
from typing import Any

import pytest

from decision_engine.outcomes import Outcome
from decision_engine.volume_view import VolumeStanding

LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Reasons = Callable[[Any, str], set[str]]
REWARDS = {"reward_coffee": 500, "reward_fuel_coupon": 2_000, "reward_lounge": 8_000}


def earns(person: Any, points: int, source: str, days_ago: float = 1) -> None:
    person.happens("bank.channel.points_earned", {"points": points, "source": source}, days_ago)


def test_points_of_all_sources_make_one_balance(customer: Make, fate: Fate, reasons: Reasons) -> None:
    person = customer(age=35)
    for source in ("card", "payment", "activity"):
        assert fate(person.asks("home_banner", 3), "reward_coffee") == "NOT_ENOUGH_POINTS"
        earns(person, 170, source)
    assert person.attribute("points_balance") == 510
    decision = person.asks("agent_panel", 5)
    assert fate(decision, "reward_coffee") in LIVE
    assert reasons(decision, "reward_coffee") <= {"POINTS_FROM_EVERYWHERE", "POINTS_JUST_EARNED"}


@pytest.mark.parametrize(("offer", "price"), REWARDS.items())
def test_a_reward_is_offered_from_its_price_on(customer: Make, fate: Fate, offer: str, price: int) -> None:
    person = customer(age=35)
    earns(person, price - 1, "card")
    assert fate(person.asks("home_banner", 3, page="rewards"), offer) == "NOT_ENOUGH_POINTS"
    earns(person, 1, "payment")
    assert fate(person.asks("home_banner", 3, page="rewards"), offer) in LIVE


def test_the_reward_is_an_attribute_of_every_treatment(demo_bank: Any) -> None:
    for name, price in REWARDS.items():
        for treatment in demo_bank.offer(name).treatments:
            assert set(treatment.attributes) == {"reward", "points"}, treatment.name
            assert treatment.attributes["points"] == str(price)


def test_every_reward_has_a_stock(demo_bank: Any) -> None:
    stocked = {volume.of.name for volume in demo_bank.volumes if volume.resource == "stock"}
    assert stocked >= set(REWARDS)


def test_a_reward_out_of_stock_is_not_promised(customer: Make, fate: Fate) -> None:
    person = customer(age=35)
    earns(person, 9_000, "card")
    person.volumes = {"lounge_visits": VolumeStanding(0), "coffee": VolumeStanding(7)}
    decision = person.asks("agent_panel", 5)
    assert fate(decision, "reward_lounge") == "VOLUME_EXHAUSTED"
    assert fate(decision, "reward_coffee") in LIVE


def test_a_redemption_is_a_convert_and_the_points_are_gone(customer: Make, fate: Fate) -> None:
    person = customer(age=35)
    earns(person, 2_600, "card")
    decision = person.asks("agent_panel", 5)
    person.responds(decision, "reward_coffee", Outcome.CONVERT)
    person.happens("bank.channel.points_redeemed", {"points": 500, "reward": "coffee_voucher"})
    after = person.asks("home_banner", 3, page="rewards")
    assert fate(after, "reward_coffee") == "CONVERTED_LATELY"
    assert person.attribute("points_balance") == 2_100
    assert fate(after, "reward_fuel_coupon") in LIVE
    person.happens("bank.channel.points_redeemed", {"points": 2_000, "reward": "fuel_coupon"})
    assert fate(person.asks("home_banner", 3), "reward_fuel_coupon") == "NOT_ENOUGH_POINTS"
