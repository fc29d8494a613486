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
from models.training.time_split import growing_until

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


def test_trees_grown_again_on_all_rows_know_what_the_judged_rows_tell_and_their_figures_do_not() -> None:
    """The turn is in the judged rows alone: what is judged cannot know it, what serves leans towards it."""
    again, usual = fitted(FitSettings(regrow=True)), fitted(FitSettings())
    asked = np.array([[-1.5], [1.5]])
    assert np.diff(again.scorer.score(asked))[0] < np.diff(again.rehearsal.scorer.score(asked))[0] - 0.05
    assert again.draft.metrics["auc"].value < 0.5
    assert again.draft.data is not None and again.draft.data.held_out_since_ms == again.draft.data.until_ms
    assert again.rehearsal.draft.data == usual.draft.data
    assert usual.rehearsal.scorer is usual.scorer


def test_a_rehearsal_from_later_on_has_learnt_from_all_rows_until_then_and_from_none_after() -> None:
    rows, asked = turning(), np.array([[-1.5], [1.5]])
    later = FitSettings(regrow=True, rehearse_from_ms=5400 * 1000)
    rehearsed = fitted(later).rehearsal
    assert rehearsed.draft.data is not None and rehearsed.draft.data.held_out_since_ms == 5400 * 1000
    early = fitted(FitSettings(regrow=True)).rehearsal
    assert np.diff(rehearsed.scorer.score(asked))[0] < np.diff(early.scorer.score(asked))[0]
    turned = replace(rows, labels=np.where(np.arange(6000) >= 5400, 1 - rows.labels, rows.labels))
    other = fit_model("taste", turned, 0, later, lambda _: None)
    np.testing.assert_array_equal(other.rehearsal.scorer.score(asked), rehearsed.scorer.score(asked))
    assert (other.scorer.score(asked) != fitted(later).scorer.score(asked)).any()


def test_a_rehearsal_from_before_the_held_out_part_is_the_model_that_was_judged() -> None:
    model = fitted(FitSettings(regrow=True, rehearse_from_ms=1000))
    assert model.rehearsal.draft.data == fitted(FitSettings()).draft.data


def test_what_stops_and_calibrates_is_the_newest_fifth_of_what_may_be_learnt_from() -> None:
    growing = growing_until(turning(), 5400)
    assert (growing.fitting, growing.validation) == (slice(0, 4320), slice(4320, 5400))


def test_rows_of_one_moment_both_stop_the_trees_or_both_grow_them() -> None:
    rows = turning(1000)
    growing = growing_until(replace(rows, decided_ms=rows.decided_ms // 300_000), 1000)
    assert (growing.fitting, growing.validation) == (slice(0, 600), slice(600, 1000))


def test_the_card_says_that_trees_were_grown_again() -> None:
    assert b'"grown_again_on_all_rows": true' in fitted(FitSettings(regrow=True)).files["card.json"]
    assert b'"grown_again_on_all_rows": false' in fitted(FitSettings()).files["card.json"]
