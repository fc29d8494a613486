"""S2, outbound travel: signs of a journey bring one of currency, insurance and card; departure ends it."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

DAY = 86_400_000
LIVE = {"offered", "ranked_lower"}
TRAVEL = {"fx_exchange", "travel_insurance", "dual_currency_card"}
Make = Callable[..., Any]
Fate = Callable[[Any, str], str | None]
Offered = Callable[..., set[str]]
Reasons = Callable[[Any, str], set[str]]


@pytest.fixture
def traveller(customer: Make, creditworthy: Mapping[str, Any]) -> Any:
    """Somebody who may have any of the three, and has given no sign yet."""
    return customer(**creditworthy)


def test_without_a_sign_of_a_journey_nothing_is_offered_for_one(traveller: Any, fate: Fate) -> None:
    decision = traveller.asks("home_banner", 3)
    assert {fate(decision, offer) for offer in TRAVEL} == {"NO_TRAVEL"}


@pytest.mark.parametrize(
    ("sign", "brings"),
    [
        ({"kind": "card", "category": "visa_fee", "channel": "online"}, TRAVEL),
        ({"kind": "card", "category": "airline", "channel": "online"}, TRAVEL),
        (
            {"kind": "card", "category": "other", "merchant_country": "JP", "channel": "online"},
            {"fx_exchange", "dual_currency_card"},
        ),
        ({"kind": "fx", "category": "travel"}, {"travel_insurance"}),
    ],
    ids=["visa fee", "flight", "booked abroad online", "currency bought"],
)
def test_each_payment_for_a_journey_brings_what_fits_it(
    traveller: Any, fate: Fate, sign: Mapping[str, Any], brings: set[str]
) -> None:
    traveller.posts("debit", sign["kind"], 80_000, days_ago=1, **{k: v for k, v in sign.items() if k != "kind"})
    decision = traveller.asks("agent_panel", 5)
    assert {offer for offer in TRAVEL if fate(decision, offer) != "NO_TRAVEL"} == brings


def test_a_search_for_currency_is_a_sign_and_the_reason_says_so(customer: Make, fate: Fate, reasons: Reasons) -> None:
    person = customer(age=35)  # no credit score, so no card
    person.happens("bank.channel.search", {"query": "exchange rate", "topic": "fx"}, days_ago=0.1)
    decision = person.asks("home_banner", 3, page="fx")
    assert fate(decision, "travel_insurance") in LIVE | {"SLATE_GROUP_LIMIT"}
    assert reasons(decision, "fx_exchange") == {"FX_SEARCH"}


def test_only_one_of_the_three_stands_in_a_placement(traveller: Any, fate: Fate, offered: Offered) -> None:
    traveller.posts("debit", "card", 450_000, days_ago=2, category="airline", channel="online")
    traveller.posts("debit", "card", 60_000, days_ago=1, category="visa_fee", channel="online")
    for placement in ("home_banner", "agent_panel", "branch_tablet"):
        decision = traveller.asks(placement, 5, page="travel")
        standing = offered(decision) & TRAVEL
        assert len(standing) == 1, placement
        others = {fate(decision, offer) for offer in TRAVEL - standing}
        assert others <= {"SLATE_GROUP_LIMIT", "ranked_lower"}, placement


def test_the_day_of_departure_ends_it_and_the_next_booking_begins_anew(traveller: Any, fate: Fate) -> None:
    traveller.posts("debit", "card", 450_000, category="airline", channel="online")
    traveller.is_known_as(departure_at=traveller.now_ms + 10 * DAY)
    assert fate(traveller.asks("home_banner", 3), "travel_insurance") in LIVE
    traveller.days_later(9.9)
    assert fate(traveller.asks("home_banner", 3), "travel_insurance") in LIVE
    traveller.days_later(0.1)
    gone = traveller.asks("home_banner", 3)
    assert {fate(gone, offer) for offer in TRAVEL} == {"DEPARTED"}
    traveller.days_later(12)
    traveller.posts("debit", "card", 390_000, category="airline", channel="online")
    traveller.is_known_as(departure_at=traveller.now_ms + 20 * DAY)
    assert fate(traveller.asks("home_banner", 3), "travel_insurance") in LIVE


def test_a_payment_in_a_shop_abroad_tells_that_the_customer_has_left(traveller: Any, fate: Fate) -> None:
    traveller.posts("debit", "card", 450_000, days_ago=8, category="airline", channel="online")
    assert fate(traveller.asks("home_banner", 3), "fx_exchange") in LIVE
    traveller.posts("debit", "card", 9_000, days_ago=0.01, category="dining", channel="pos", merchant_country="JP")
    assert fate(traveller.asks("home_banner", 3), "fx_exchange") == "DEPARTED"


def test_what_was_taken_for_the_journey_is_not_offered_again(traveller: Any, fate: Fate) -> None:
    traveller.posts("debit", "card", 60_000, category="visa_fee", channel="online")
    traveller.holds("dual_currency_card", days_ago=0)
    assert fate(traveller.asks("card_page_tile", 4), "dual_currency_card") == "ALREADY_HELD"


def test_the_card_needs_a_sound_record_but_currency_and_insurance_do_not(customer: Make, fate: Fate) -> None:
    person = customer(age=30)
    person.posts("debit", "card", 60_000, category="visa_fee", channel="online")
    decision = person.asks("agent_panel", 5)
    assert fate(decision, "dual_currency_card") == "CREDIT_TOO_LOW"
    assert fate(decision, "travel_insurance") in LIVE | {"SLATE_GROUP_LIMIT"}
