"""Fitting: learns what is there, refuses what cannot be judged, and is the same every time."""

from dataclasses import replace

import numpy as np
import pytest

from models.decision_log.design_matrix import ExampleSet
from models.errors import TrainingRefused
from models.evaluation.promotion_checks import promotion_problems
from models.manifest import Metric
from models.training.fit import FitSettings, FittedModel, fit_model


def fit(rows: ExampleSet, **settings: int) -> FittedModel:
    return fit_model("cross_sell", rows, 60, FitSettings(**{"rounds": 60, **settings}), lambda _: None)  # type: ignore[arg-type]


def with_labels(rows: ExampleSet, labels: np.ndarray) -> ExampleSet:
    return replace(rows, labels=labels)


def test_a_learnable_rule_is_learnt_and_may_be_promoted(fitted: FittedModel) -> None:
    metrics = fitted.draft.metrics
    assert metrics["auc"].value > 0.72
    assert metrics["log_loss"].value < metrics["log_loss_base_rates"].value
    assert metrics["calibration_error"].value < 0.1
    assert promotion_problems(fitted.draft) == []


def test_judgement_is_on_rows_later_than_all_that_was_learnt(fitted: FittedModel, example_rows: ExampleSet) -> None:
    data = fitted.draft.data
    assert data is not None
    held_out = example_rows.decided_ms >= data.held_out_since_ms
    assert held_out.sum() == fitted.draft.metrics["rows"].value == 500
    assert fitted.draft.metrics["positives"].value == example_rows.labels[held_out].sum()


def test_noise_is_not_promoted(example_rows: ExampleSet) -> None:
    noise = np.random.default_rng(1).random(example_rows.labels.size) < 0.2
    problems = promotion_problems(fit(with_labels(example_rows, noise.astype(float))).draft)
    assert len(problems) == 2
    assert "AUC" in problems[0] and "log loss" in problems[1]


def test_a_model_without_measures_is_not_promoted(fitted: FittedModel) -> None:
    assert len(promotion_problems(replace(fitted.draft, metrics={}))) == 2
    unsure = {**fitted.draft.metrics, "auc": Metric(value=0.9)}
    assert len(promotion_problems(replace(fitted.draft, metrics=unsure))) == 1


def test_the_same_rows_and_seed_give_the_same_files_whatever_the_threads(example_rows: ExampleSet) -> None:
    first, second = fit(example_rows), fit(example_rows, threads=2)
    assert first.draft.data == second.draft.data
    one, two = (f.scorer.score(example_rows.matrix) for f in (first, second))
    assert (one == two).all()
    assert first.files == fit(example_rows).files


def test_other_rows_have_another_fingerprint(example_rows: ExampleSet, fitted: FittedModel) -> None:
    flipped = example_rows.labels.copy()
    flipped[0] = 1 - flipped[0]
    other = fit(with_labels(example_rows, flipped)).draft.data
    assert other is not None and fitted.draft.data is not None
    assert other.fingerprint != fitted.draft.data.fingerprint


def test_too_few_positives_are_refused_with_what_is_missing(example_rows: ExampleSet) -> None:
    with pytest.raises(TrainingRefused, match=r"at least 500 rows and 5000 positives"):
        fit(example_rows, least_positives=5000)
    with pytest.raises(TrainingRefused, match="negative"):
        fit(with_labels(example_rows, np.ones_like(example_rows.labels)))


def test_a_log_whose_responses_stopped_is_refused(example_rows: ExampleSet) -> None:
    labels = example_rows.labels.copy()
    labels[-600:] = 0
    with pytest.raises(TrainingRefused, match="held-out part"):
        fit(with_labels(example_rows, labels))


def test_rows_out_of_time_order_are_refused(example_rows: ExampleSet) -> None:
    with pytest.raises(TrainingRefused, match="time order"):
        fit(replace(example_rows, decided_ms=example_rows.decided_ms[::-1].copy()))


def test_no_column_tells_what_happened_afterwards(example_rows: ExampleSet) -> None:
    """Permuting the labels within the held-out part must not help: nothing of the label is in the matrix."""
    for column in range(example_rows.matrix.shape[1]):
        values = np.nan_to_num(example_rows.matrix[:, column])
        if values.std() > 0:
            assert abs(np.corrcoef(values, example_rows.labels)[0, 1]) < 0.9
