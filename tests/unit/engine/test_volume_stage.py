"""Volumes in a decision: what is used up is left out, what is scarce pays, and the record holds what was seen."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.decision import Decision
from decision_engine.engine import decide, settle
from decision_engine.outcomes import Fate
from decision_engine.prepared import prepare
from decision_engine.strategy import UnitCost, VolumeConstraint, VolumePeriod, VolumeScope
from decision_engine.volume_view import VolumeStanding


def volume(id_: str = "stock", kind: str = "offer", name: str = "gold", **overrides: Any) -> VolumeConstraint:
    defaults: dict[str, Any] = {
        "id": id_,
        "of": VolumeScope(kind=kind, name=name),
        "resource": "stock",
        "amount": 100,
        "unit_cost": UnitCost(),
        "period": VolumePeriod(calendar="day"),
        "charged_on": "reservation",
        "hold_seconds": 3600,
        "pacing": "none",
    }
    return VolumeConstraint(**(defaults | overrides))


@pytest.fixture
def gold_and_silver(bank: SimpleNamespace) -> Any:
    """Decides over two offers, gold worth 300 a showing and silver 100, under volumes and a view of them."""

    def deciding(
        volumes: tuple[VolumeConstraint, ...], view: Mapping[str, VolumeStanding], channel: str = "mobile", **gold: Any
    ) -> Decision:
        offers = (
            bank.offer("gold", value=3000, treatments=_both("gold", bank), **gold),
            bank.offer("silver", value=1000, treatments=_both("silver", bank)),
        )
        prepared = prepare(bank.strategy(*offers, volumes=volumes))
        request = bank.request("banner" if channel == "mobile" else "panel", channel=channel)
        draft = decide(prepared, request, bank.customer(), (), {}, view)
        return settle(prepared, draft, [0] * len(draft.reservation.positions))

    return deciding


def _both(offer: str, bank: SimpleNamespace) -> tuple[Any, ...]:
    return (bank.treatment(offer), bank.treatment(offer, "talk", "contact_centre", "panel"))


def test_with_units_left_the_offer_is_made(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(1)})
    assert bank.offered(decision) == [["gold"]]


def test_a_used_up_volume_takes_its_offer_out_and_says_so(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(0)})
    assert bank.offered(decision) == [["silver"]]
    assert bank.why(decision, "gold") == ("volume", "stock", "VOLUME_EXHAUSTED")


def test_what_is_held_back_for_later_is_named_paced(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(0, paced=True)})
    assert bank.why(decision, "gold") == ("volume", "stock", "VOLUME_PACED")


def test_a_budget_that_is_left_must_pay_for_the_whole_offer(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    budget = volume("budget", "group", "cards", resource="budget", unit_cost=UnitCost(units=50))
    assert bank.offered(gold_and_silver((budget,), {"budget": VolumeStanding(50)})) == [["gold"]]
    assert bank.offered(gold_and_silver((budget,), {"budget": VolumeStanding(49)})) == [[]]


def test_unit_costs_can_be_the_offers_own(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    budget = volume(
        "budget", "attribute", "tier", of=VolumeScope(kind="attribute", name="tier", equals="high"),
        unit_cost=UnitCost(attribute="cashback"),
    )  # fmt: skip
    attributes = {"tier": "high", "cashback": 30.0}
    decision = gold_and_silver((budget,), {"budget": VolumeStanding(29)}, attributes=attributes)
    assert bank.why(decision, "gold") == ("volume", "budget", "VOLUME_EXHAUSTED")
    assert bank.offered(gold_and_silver((budget,), {"budget": VolumeStanding(30)}, attributes=attributes)) == [["gold"]]


def test_a_channels_capacity_limits_that_channel_alone(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    desks = volume("desks", "channel", "contact_centre", resource="capacity")
    nothing_left = {"desks": VolumeStanding(0)}
    assert bank.offered(gold_and_silver((desks,), nothing_left)) == [["gold"]]
    assert bank.offered(gold_and_silver((desks,), nothing_left, channel="contact_centre")) == [[]]


def test_of_several_volumes_the_first_declared_counts(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    both = (volume("first", "group", "cards"), volume("second"))
    decision = gold_and_silver(both, {"first": VolumeStanding(0), "second": VolumeStanding(0)})
    assert bank.why(decision, "gold")[1] == "first"


def test_mandatory_offers_need_stock_like_any_other(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(0)}, mandatory=True)
    assert bank.offered(decision) == [["silver"]]


def test_a_price_is_subtracted_from_the_priority(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(unit_cost=UnitCost(units=2)),), {"stock": VolumeStanding(9, price=60.0)})
    gold = bank.fate(decision, "gold")
    assert (gold.resource_cost, gold.priority) == (120.0, 180.0)
    assert bank.offered(decision) == [["gold"]]


def test_a_high_price_leaves_the_units_to_others(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(9, price=250.0)})
    assert bank.offered(decision) == [["silver"]]
    assert bank.fate(decision, "gold").fate is Fate.RANKED_LOWER


def test_what_is_worth_less_than_it_takes_is_held_back_with_its_factors(
    gold_and_silver: Any, bank: SimpleNamespace
) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(9, price=301.0)})
    gold = bank.fate(decision, "gold")
    assert bank.why(decision, "gold") == ("volume", "volume.worth", "VOLUME_PACED")
    assert (gold.propensity, gold.resource_cost, gold.priority) == (0.1, 301.0, -1.0)
    assert gold.selection_probability == 0.0


def test_a_mandatory_offer_is_not_held_back_by_its_price(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(),), {"stock": VolumeStanding(9, price=999.0)}, mandatory=True)
    assert bank.offered(decision) == [["gold"]]


def test_what_is_charged_on_acceptance_costs_its_propensity(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    decision = gold_and_silver((volume(charged_on="accept"),), {"stock": VolumeStanding(9, price=1000.0)})
    assert bank.fate(decision, "gold").resource_cost == pytest.approx(100.0)


def test_a_volume_the_view_does_not_name_limits_nothing(gold_and_silver: Any, bank: SimpleNamespace) -> None:
    assert bank.offered(gold_and_silver((volume(),), {})) == [["gold"]]
    assert bank.offered(gold_and_silver((volume(),), {"other": VolumeStanding(0)})) == [["gold"]]


def test_the_decision_keeps_only_what_could_make_a_difference(gold_and_silver: Any) -> None:
    volumes = (volume("plenty"), volume("short"), volume("priced"))
    view = {"plenty": VolumeStanding(7), "short": VolumeStanding(0), "priced": VolumeStanding(500, price=2.5)}
    decision = gold_and_silver(volumes, view)
    assert decision.volumes == {"short": VolumeStanding(0), "priced": VolumeStanding(1, price=2.5)}


def test_the_kept_part_gives_the_same_decision_again(gold_and_silver: Any) -> None:
    volumes = (volume("short", "group", "cards", unit_cost=UnitCost(units=3)), volume("priced"))
    view = {"short": VolumeStanding(700), "priced": VolumeStanding(500, price=120.0)}
    first = gold_and_silver(volumes, view)
    assert gold_and_silver(volumes, first.volumes) == first
