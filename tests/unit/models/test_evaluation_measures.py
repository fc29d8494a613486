"""The measures agree with brute force, with independent implementations, and with what they claim to cover."""

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from models.errors import EvaluationRefused
from models.evaluation.calibration_error import calibration_bins, calibration_error, predicted_to_observed
from models.evaluation.discrimination import auc, auc_estimate
from models.evaluation.log_loss import log_loss, log_loss_gain


def sample(rows: int, seed: int, levels: int = 20) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    probabilities = draw.integers(1, levels, rows) / levels
    return (draw.random(rows) < probabilities).astype(float), probabilities


@pytest.mark.parametrize("seed", range(5))
def test_auc_with_ties_is_that_of_an_independent_implementation(seed: int) -> None:
    labels, scores = sample(300, seed)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_is_the_share_of_ordered_pairs() -> None:
    labels, scores = np.array([1.0, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.1, 0.95])
    assert auc(labels, scores) == pytest.approx((1 + 1 + 0 + 0.5 + 1 + 0) / 6)


def test_the_interval_of_delong_covers_the_truth_in_about_95_of_100_samples() -> None:
    draw = np.random.default_rng(5)
    truth, covered, repeats = 0.7602, 0, 400  # two normals one standard deviation apart: Phi(1 / sqrt 2)
    for _ in range(repeats):
        labels = (np.arange(150) < 50).astype(float)
        estimate = auc_estimate(labels, draw.normal(labels, 1.0))
        covered += estimate.low <= truth <= estimate.high
    assert 0.91 <= covered / repeats <= 0.985


def test_perfect_separation_is_still_uncertain() -> None:
    estimate = auc_estimate(np.array([0.0, 0, 0, 1, 1, 1]), np.arange(6.0))
    assert estimate.value == 1.0 and estimate.low < 0.5 and estimate.high == 1.0


@pytest.mark.parametrize("labels", [np.zeros(5), np.ones(5), np.empty(0)])
def test_auc_of_one_kind_alone_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(EvaluationRefused, match="both kinds"):
        auc_estimate(labels, np.zeros_like(labels))


def test_log_loss_is_that_of_an_independent_implementation() -> None:
    labels, probabilities = sample(400, 2)
    estimate = log_loss(labels, probabilities)
    assert estimate.value == pytest.approx(sklearn_log_loss(labels, probabilities), abs=1e-12)
    assert estimate.low < estimate.value < estimate.high


def test_certainty_about_the_wrong_thing_costs_much_but_not_infinitely() -> None:
    assert np.isfinite(log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0])).value)


def test_the_gain_over_itself_is_nothing() -> None:
    labels, probabilities = sample(100, 3)
    assert log_loss_gain(labels, probabilities, probabilities).value == 0.0


def test_true_probabilities_are_calibrated_and_halved_ones_are_not() -> None:
    labels, probabilities = sample(20_000, 4)
    assert calibration_error(labels, probabilities) < 0.02
    assert calibration_error(labels, probabilities / 2) > 0.2
    assert predicted_to_observed(labels, probabilities / 2) == pytest.approx(0.5, abs=0.02)


def test_equal_probabilities_are_never_parted_into_two_bins() -> None:
    labels, probabilities = sample(1000, 6, levels=4)
    bins = calibration_bins(labels, probabilities)
    assert [b.predicted for b in bins] == sorted({0.25, 0.5, 0.75})
    assert sum(b.rows for b in bins) == 1000
