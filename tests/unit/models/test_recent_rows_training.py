"""Training in which newer rows count more: judged forward in time, then grown on everything."""

from dataclasses import replace

import numpy as np
import pytest

from decision_engine.model_training import Balance
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from models.decision_log.design_matrix import ExampleSet
from models.errors import TrainingRefused
from models.training.fit import FittedModel, fit_model
from models.training.settings import FitSettings

RECENT = FitSettings(rounds=60, half_life_rows=500)


def turning(count: int = 6000) -> ExampleSet:
    """What sells is turned round for the last fifth of the rows."""
    draw = np.random.default_rng(3)
    spend = draw.uniform(-2, 2, count)
    towards = np.where(np.arange(count) < 0.8 * count, spend, -spend)
    labels = (draw.random(count) < 1 / (1 + np.exp(1.0 - 1.5 * towards))).astype(float)
    return ExampleSet(
        schema=FeatureSchema((Column(name="spend", source=ColumnSource.ATTRIBUTE),)),
        matrix=spend[:, None],
        labels=labels,
        base_rates=np.full(count, 0.3),
        decided_ms=np.arange(count, dtype=np.int64) * 1000,
    )


def fitted(settings: FitSettings) -> FittedModel:
    return fit_model("taste", turning(), 0, settings, lambda _: None)


def test_what_serves_has_learnt_the_newest_rows_and_says_that_none_were_held_out() -> None:
    recent, usual = fitted(RECENT), fitted(FitSettings())
    asked = np.array([[-1.5], [1.5]])
    low, high = recent.scorer.score(asked)
    assert low > high + 0.2  # as things are now
    low, high = usual.scorer.score(asked)
    assert low < high  # as they were
    assert recent.draft.data is not None and recent.draft.data.held_out_since_ms == recent.draft.data.until_ms


def test_its_figures_are_those_of_trees_that_had_not_seen_the_judged_rows() -> None:
    """Nothing before the turn tells of it, so whoever saw the judged rows would look far better."""
    assert fitted(RECENT).draft.metrics["auc"].value < 0.5


def test_weighted_positives_are_refused_as_nothing_would_take_the_weight_off_again() -> None:
    with pytest.raises(TrainingRefused, match="balance"):
        fitted(replace(RECENT, balance=Balance.FULL))
