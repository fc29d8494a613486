"""Discrimination: how well scores put the accepted before the unaccepted."""

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.intervals import Z95, Estimate

Vector = NDArray[np.float64]


def auc(labels: Vector, scores: Vector) -> float:
    """The chance that a positive scores above a negative, ties counting half; exact.

    Raises EvaluationRefused unless both kinds are present.
    """
    positive, negative = _sides(labels, scores)
    return float(_placements(positive, negative).mean())


def auc_estimate(labels: Vector, scores: Vector) -> Estimate:
    """The AUC with DeLong's interval, formed on the log-odds scale so that it stays inside 0..1.

    Raises EvaluationRefused unless both kinds are present.
    """
    positive, negative = _sides(labels, scores)
    over_negatives = _placements(positive, negative)
    over_positives = 1.0 - _placements(negative, positive)
    value = float(over_negatives.mean())
    error = float(np.sqrt(_variance_of_mean(over_negatives) + _variance_of_mean(over_positives)))
    if not 0.0 < value < 1.0 or not np.isfinite(error):
        return _perfect_separation(value, positive.size, negative.size)
    reach = Z95 * error / (value * (1.0 - value))
    centre = float(np.log(value / (1.0 - value)))
    return Estimate(value=value, low=_logistic(centre - reach), high=_logistic(centre + reach))


def _sides(labels: Vector, scores: Vector) -> tuple[Vector, Vector]:
    positive, negative = scores[labels > 0], scores[labels <= 0]
    if not positive.size or not negative.size:
        raise EvaluationRefused(f"AUC needs both kinds: {positive.size} positives, {negative.size} negatives")
    return positive, negative


def _placements(of: Vector, among: Vector) -> Vector:
    """For each value the share of the others it lies above, ties half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, of, side="left")
    not_above = np.searchsorted(ordered, of, side="right")
    return np.asarray((below + not_above) / (2.0 * among.size), dtype=np.float64)


def _variance_of_mean(placements: Vector) -> float:
    return float(placements.var(ddof=1) / placements.size) if placements.size > 1 else float("inf")


def _perfect_separation(value: float, positives: int, negatives: int) -> Estimate:
    """DeLong's variance is zero or unknown here; the rule of three on the smaller side bounds what was not seen."""
    unseen = min(1.0, 3.0 / min(positives, negatives))
    return Estimate(value=value, low=max(0.0, value - unseen), high=min(1.0, value + unseen))


def _logistic(log_odds: float) -> float:
    return float(1.0 / (1.0 + np.exp(-log_odds)))
