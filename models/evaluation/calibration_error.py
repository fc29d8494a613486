"""Calibration: whether of the options scored 6 % six in a hundred are accepted."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Rows of neighbouring probabilities: how many, what was predicted on average, and what came."""

    rows: int
    predicted: float
    observed: float


def calibration_bins(labels: Vector, probabilities: Vector, count: int = 10) -> tuple[CalibrationBin, ...]:
    """Bins of equally many rows in order of probability; equal probabilities stay in one bin."""
    if not labels.size:
        raise EvaluationRefused("calibration needs observations")
    order = np.argsort(probabilities, kind="stable")
    ordered, outcomes = probabilities[order], labels[order]
    cuts = ordered[[ordered.size * k // count for k in range(1, count)]]
    edges = np.unique(np.concatenate([[0], np.searchsorted(ordered, cuts, side="left"), [ordered.size]]))
    return tuple(
        CalibrationBin(
            rows=end - start,
            predicted=float(ordered[start:end].mean()),
            observed=float(outcomes[start:end].mean()),
        )
        for start, end in pairwise(edges.tolist())
    )


def calibration_error(labels: Vector, probabilities: Vector, count: int = 10) -> float:
    """The expected calibration error: the mean gap between predicted and observed over the bins, by rows."""
    bins = calibration_bins(labels, probabilities, count)
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / labels.size


def predicted_to_observed(labels: Vector, probabilities: Vector) -> float:
    """The sum of the probabilities over the number of positives: 1 is unbiased. Infinite without positives."""
    positives = float(labels.sum())
    return float(probabilities.sum()) / positives if positives else float("inf")
