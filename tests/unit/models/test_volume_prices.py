"""Dual prices: the optimum of small programmes is known, and choosing by price makes the optimum's choices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dual_prices import Opportunity, ScarceOption, price_traffic, smoothed


def one(*options: tuple[float, dict[str, float]], places: int = 1) -> Opportunity:
    return Opportunity(tuple(ScarceOption(value, uses) for value, uses in options), places)


def test_the_price_of_a_scarce_unit_is_what_the_next_in_line_would_bring() -> None:
    traffic = [one((value, {"stock": 1.0})) for value in (10.0, 8.0, 5.0, 3.0)]
    priced = price_traffic(traffic, {"stock": 2.5})
    assert priced.value == pytest.approx(10 + 8 + 0.5 * 5)
    assert priced.prices["stock"] == pytest.approx(5.0)
    assert priced.used["stock"] == pytest.approx(2.5)


def test_what_is_plenty_costs_nothing() -> None:
    priced = price_traffic([one((10.0, {"stock": 1.0}))] * 3, {"stock": 9.0})
    assert priced.prices == {"stock": 0.0}


def test_the_second_best_lowers_what_a_unit_is_worth() -> None:
    traffic = [one((10.0, {"stock": 1.0}), (7.0, {})), one((9.0, {"stock": 1.0}))]
    assert price_traffic(traffic, {"stock": 1.0}).value == pytest.approx(16.0)


def test_a_budget_is_priced_by_the_unit_of_money() -> None:
    traffic = [one((1000.0, {"budget": 100.0})), one((300.0, {"budget": 100.0}))]
    assert price_traffic(traffic, {"budget": 150.0}).prices["budget"] == pytest.approx(3.0)


def test_places_bound_what_one_decision_shows() -> None:
    traffic = [one((5.0, {}), (4.0, {}), (3.0, {"stock": 1.0}), places=2)]
    assert price_traffic(traffic, {"stock": 5.0}).value == pytest.approx(9.0)


def test_without_traffic_there_are_no_prices() -> None:
    assert price_traffic([], {"stock": 5.0}).prices == {"stock": 0.0}


def test_smoothing_moves_towards_the_newest() -> None:
    assert smoothed({"a": 10.0}, {"a": 20.0, "b": 4.0}, 0.25) == {"a": 12.5, "b": 4.0}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scarce=st.floats(0.05, 0.9))
def test_choosing_by_price_is_nearly_the_optimum(seed: int, scarce: float) -> None:
    """Ties apart: of the optimum's choices at most one decision a resource is split."""
    draws = np.random.default_rng(seed)
    values = draws.lognormal(3.0, 1.0, (120, 3))
    traffic = [one((a, {"x": 1.0}), (b, {"y": 2.0}), (c, {})) for a, b, c in values.tolist()]
    units = {"x": 120 * scarce / 2, "y": 120 * scarce}
    priced = price_traffic(traffic, units)
    left, value = dict(units), 0.0
    for seen in traffic:
        nets = [o.value - sum(priced.prices[r] * u for r, u in o.uses.items()) for o in seen.options]
        best = int(np.argmax(nets))
        chosen = seen.options[best]
        if nets[best] >= -1e-9 and all(left[r] >= u for r, u in chosen.uses.items()):
            value += chosen.value
            left = {r: left[r] - chosen.uses.get(r, 0.0) for r in left}
    assert value <= priced.value * (1 + 1e-9)
    assert value >= priced.value - 3 * float(values.max())
