"""Comparing policies by the truth: exact means, paired intervals over customers, honest yardsticks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.simulation.policy_value import (
    BEST_SINGLE,
    ORACLE,
    RANDOM,
    JudgedDecision,
    NothingToCompare,
    compare_policies,
)


def judged(customer: str, expected: dict[str, float], chosen: str | None) -> JudgedDecision:
    return JudgedDecision(customer_id=customer, expected=expected, chosen={"ours": chosen})


def test_values_are_means_over_decisions() -> None:
    table = compare_policies(
        [
            judged("a", {"card": 10.0, "loan": 20.0}, "loan"),
            judged("a", {"card": 30.0}, "card"),
            judged("b", {"loan": 4.0, "fund": 8.0, "card": 0.0}, None),
        ],
        seed=1,
    )

    assert table.value("ours").mean == pytest.approx((20 + 30 + 0) / 3)
    assert table.value(RANDOM).mean == pytest.approx((15 + 30 + 4) / 3)
    assert table.value(ORACLE).mean == pytest.approx((20 + 30 + 8) / 3)
    assert table.best_offer == "card"
    assert table.value(BEST_SINGLE).mean == pytest.approx((10 + 30 + 0) / 3)
    assert (table.decisions, table.customers) == (3, 2)


def test_decisions_without_eligible_offers_do_not_count() -> None:
    table = compare_policies([judged("a", {}, None), judged("b", {"card": 2.0}, "card")], seed=1)

    assert (table.decisions, table.value("ours").mean) == (1, 2.0)


def test_nothing_eligible_is_said_plainly() -> None:
    with pytest.raises(NothingToCompare, match="no decision had an eligible offer"):
        compare_policies([judged("a", {}, None)], seed=1)


expected_values = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6), min_size=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pqrs"), expected_values), min_size=1, max_size=20))
def test_the_oracle_is_never_beaten_and_equals_itself(rows: list[tuple[str, dict[str, float]]]) -> None:
    decisions = [judged(customer, expected, max(expected, key=expected.__getitem__)) for customer, expected in rows]
    table = compare_policies(decisions, seed=1)

    assert table.value("ours").mean == pytest.approx(table.value(ORACLE).mean)
    assert all(row.mean <= table.value(ORACLE).mean * (1 + 1e-9) for row in table.values)


def test_a_constant_advantage_has_an_interval_without_width_although_values_vary() -> None:
    draws = np.random.default_rng(5)
    decisions = [
        judged(f"c{i % 40}", {"good": value, "bad": value / 3}, "good")
        for i, value in enumerate(draws.uniform(10, 1_000, 400).tolist())
    ]
    table = compare_policies(decisions, seed=1)
    uplift = table.uplift("ours", RANDOM)

    assert (uplift.mean, uplift.low, uplift.high) == pytest.approx((0.5, 0.5, 0.5))
    assert table.value("ours").low < table.value("ours").mean < table.value("ours").high


def test_intervals_cover_the_mean_in_about_nineteen_of_twenty_samples() -> None:
    draws = np.random.default_rng(7)
    covered = 0
    for sample in range(60):
        values = draws.normal(100, 20, 80).clip(1)
        table = compare_policies([judged(f"c{i}", {"x": v}, "x") for i, v in enumerate(values.tolist())], seed=sample)
        covered += table.value("ours").low <= 100 <= table.value("ours").high

    assert covered >= 52
