"""S4, community banking: activities and a deposit for those who live near a branch, and only there."""

from collections.abc import Callable
from typing import Any

import pytest

from decision_engine.volume_view import VolumeStanding

LIVE = {"offered", "ranked_lower"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Reasons = Callable[[Any, str], set[str]]


@pytest.fixture
def neighbour(customer: Make) -> Any:
    """A pensioner six hundred metres from branch B001 who pays the property fee and logs in by voice."""
    person = customer(age=68, life_stage="senior", branch_id="B001", branch_distance=600)
    person.posts("debit", "utility", 40_000, days_ago=5, category="property_fee", balance_after=2_000_000)
    person.happens("bank.channel.login", {"channel": "mobile", "method": "voice", "large_type": True}, days_ago=3)
    return person


def test_a_neighbour_gets_the_activity_of_the_branch_and_the_community_deposit(
    neighbour: Any, fate: Fate, reasons: Reasons
) -> None:
    decision = neighbour.asks("branch_tablet", 5, branch_id="B001")
    assert fate(decision, "branch_activity_b001") in LIVE
    assert fate(decision, "community_deposit") in LIVE
    assert fate(decision, "branch_activity_b002") == "OUTSIDE_CATCHMENT"
    assert reasons(decision, "branch_activity_b001") == {"PAYS_BILLS_HERE", "EASY_LOGIN"}


@pytest.mark.parametrize(
    ("address", "outcome"),
    [
        ({"branch_id": "B001", "branch_distance": 2000}, None),
        ({"branch_id": "B001", "branch_distance": 2001}, "OUTSIDE_CATCHMENT"),
        ({"branch_id": "B017", "branch_distance": 300}, "OUTSIDE_CATCHMENT"),
        ({"branch_id": "B001"}, "OUTSIDE_CATCHMENT"),
    ],
    ids=["at the edge", "beyond the edge", "another branch", "address unknown"],
)
def test_the_catchment_is_walking_distance_from_a_community_branch(
    customer: Make, fate: Fate, address: dict[str, Any], outcome: str | None
) -> None:
    person = customer(age=50, **address)
    person.posts("debit", "utility", 20_000, days_ago=5, category="utilities", balance_after=2_000_000)
    decision = person.asks("home_banner", 3)
    for offer in ("branch_activity_b001", "community_deposit"):
        assert fate(decision, offer) in ({outcome} if outcome else LIVE), offer


def test_whoever_shows_no_sign_of_living_there_is_left_alone(customer: Make, fate: Fate) -> None:
    person = customer(age=50, branch_id="B001", branch_distance=300)
    assert fate(person.asks("home_banner", 3), "branch_activity_b001") == "NO_COMMUNITY_SIGN"
    person.happens("bank.channel.login", {"channel": "mobile", "method": "voice"}, days_ago=1)
    assert fate(person.asks("home_banner", 3), "branch_activity_b001") in LIVE


def test_at_another_branch_nobody_is_sent_home(neighbour: Any, fate: Fate) -> None:
    decision = neighbour.asks("branch_tablet", 5, branch_id="B030")
    assert fate(decision, "branch_activity_b001") == "OTHER_BRANCH"
    assert fate(decision, "community_deposit") == "OTHER_BRANCH"


def test_moving_house_moves_the_catchment(neighbour: Any, fate: Fate) -> None:
    neighbour.is_known_as(branch_id="B002", branch_distance=900)
    decision = neighbour.asks("agent_panel", 5)
    assert fate(decision, "branch_activity_b001") == "OUTSIDE_CATCHMENT"
    assert fate(decision, "branch_activity_b002") in LIVE


def test_the_app_is_told_to_use_large_type(demo_bank: Any) -> None:
    offer = demo_bank.offer("branch_activity_b001")
    banner = next(treatment for treatment in offer.treatments if treatment.channel == "mobile")
    assert banner.attributes == {"type_size": "large"}


def test_when_the_seats_of_a_branch_are_taken_the_activity_is_no_longer_offered_but_the_deposit_is(
    neighbour: Any, fate: Fate
) -> None:
    neighbour.volumes = {"seats_b001": VolumeStanding(1), "seats_b002": VolumeStanding(0)}
    assert fate(neighbour.asks("agent_panel", 5), "branch_activity_b001") in LIVE
    neighbour.volumes = {"seats_b001": VolumeStanding(0), "seats_b002": VolumeStanding(30)}
    full = neighbour.asks("agent_panel", 5)
    assert fate(full, "branch_activity_b001") == "VOLUME_EXHAUSTED"
    assert fate(full, "community_deposit") in LIVE
