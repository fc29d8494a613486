"""The calibration curve: in bins of neighbouring probabilities what was predicted, and what came, with an interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.calibration_error import calibration_bins, calibration_error, predicted_to_observed
from models.evaluation.full_report.binomial_interval import rate_estimate
from models.evaluation.full_report.judged_rows import LEAST_ROWS
from models.evaluation.intervals import Estimate

Vector = NDArray[np.float64]

BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPoint:
    """One bin; `outside` when the exact binomial interval of what came does not hold what was predicted."""

    rows: int
    predicted: float
    observed: Estimate
    outside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCurve:
    """The points by rising probability, the expected calibration error, and predicted over observed acceptances (None
    without acceptances)."""

    points: tuple[CalibrationPoint, ...]
    error: float
    predicted_to_observed: float | None


def calibration_curve(labels: Vector, probabilities: Vector) -> CalibrationCurve:
    """Ten bins of equally many rows, fewer where a bin would fall below what may be shown. Raises EvaluationRefused
    without rows."""
    count = max(1, min(BINS, labels.size // LEAST_ROWS))
    ratio = predicted_to_observed(labels, probabilities)
    points = []
    for found in calibration_bins(labels, probabilities, count):
        observed = rate_estimate(round(found.observed * found.rows), found.rows)
        outside = not observed.low <= found.predicted <= observed.high
        points.append(
            CalibrationPoint(rows=found.rows, predicted=found.predicted, observed=observed, outside=outside)
        )  # fmt: skip
    return CalibrationCurve(
        points=tuple(points),
        error=calibration_error(labels, probabilities, count),
        predicted_to_observed=ratio if np.isfinite(ratio) else None,
    )
