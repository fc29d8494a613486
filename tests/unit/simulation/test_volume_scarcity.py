"""The scarcity comparison on a small bank: nobody takes more than there is, and prices beat the others."""

import pytest

from services.simulation.scarcity import (
    DUAL_PRICES,
    FIRST_COME,
    HINDSIGHT,
    PLAIN_PACING,
    ScarcityRun,
    gain,
    run_scarcity,
    shares_of_optimum,
)


@pytest.fixture(scope="module")
def small_bank() -> ScarcityRun:
    return run_scarcity(customers=200, days=1, seed=3)


def test_nobody_uses_more_than_there_is(small_bank: ScarcityRun) -> None:
    assert all(share <= 1 + 1e-9 for used in small_bank.used.values() for share in used.values())


def test_hindsight_is_the_best_and_prices_come_next(small_bank: ScarcityRun) -> None:
    values = small_bank.values
    assert values[HINDSIGHT] >= values[DUAL_PRICES] > max(values[FIRST_COME], values[PLAIN_PACING])


def test_the_same_seed_gives_the_same_run(small_bank: ScarcityRun) -> None:
    assert run_scarcity(customers=200, days=1, seed=3) == small_bank


def test_shares_and_gains_have_intervals_around_their_means() -> None:
    runs = [
        ScarcityRun(
            seed=seed,
            visits=100,
            values={HINDSIGHT: 100.0, DUAL_PRICES: 96.0 + seed, PLAIN_PACING: 50.0, FIRST_COME: 60.0},
            used={},
        )
        for seed in (1, 2, 3)
    ]
    prices = shares_of_optimum(runs)[0]
    assert (prices.policy, prices.mean) == (DUAL_PRICES, pytest.approx(0.98))
    assert prices.low <= prices.mean <= prices.high
    assert gain(runs, DUAL_PRICES, FIRST_COME).mean == pytest.approx(98 / 60 - 1)
