"""The closed loop in one process: the model learns what the truth rewards, and the same configuration repeats."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.adapters.file_strategy_source import load_strategy_file
from services.simulation.closed_loop import LoopConfig, LoopResult, run_closed_loop
from services.simulation.policy_value import ORACLE, RANDOM
from services.simulation.served_decisions import BASE_RATE_POLICY, MODEL_POLICY

SMALL = LoopConfig(
    strategy=load_strategy_file(Path(__file__).with_name("small_bank.yaml")),
    customers=300,
    history_days=15,
    exploration_days=10,
    measured_days=3,
    seed=1,
    exploration_epsilon=0.5,
)


@pytest.fixture(scope="module")
def result() -> LoopResult:
    return run_closed_loop(SMALL, lambda _: None)


def test_the_model_policy_is_worth_more_than_random_eligible_offers_and_than_base_rates(result: LoopResult) -> None:
    comparison = result.comparison

    assert comparison.uplift(MODEL_POLICY, RANDOM).low > 0.1
    assert comparison.uplift(MODEL_POLICY, BASE_RATE_POLICY).low > 0
    assert comparison.value(MODEL_POLICY).mean < comparison.value(ORACLE).mean


def test_the_model_was_learnt_from_drawn_responses(result: LoopResult) -> None:
    (model,) = result.models

    assert model.refused is None
    assert model.auc is not None and model.auc > 0.55
    assert 0 < result.accepted < result.learnt_from


def test_the_same_configuration_gives_the_same_table() -> None:
    quick = replace(SMALL, customers=120, history_days=3, exploration_days=2, measured_days=1)
    first, second = (run_closed_loop(quick, lambda _: None) for _ in range(2))

    assert first == second


def test_too_little_to_learn_from_is_reported_and_base_rates_decide() -> None:
    quick = replace(SMALL, customers=120, history_days=3, exploration_days=1, measured_days=1)
    result = run_closed_loop(quick, lambda _: None)

    assert result.models[0].refused is not None
    assert result.comparison.uplift(MODEL_POLICY, BASE_RATE_POLICY).mean == 0
