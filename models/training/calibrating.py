"""Which calibration the validation part can carry: more positives, more freedom."""

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column, Matrix
from models.calibration import Calibration, fit_beta, fit_isotonic, fit_logistic
from models.segment_calibration import SegmentedCalibration, fit_segments

Vector = NDArray[np.float64]

BETA_POSITIVES = 100
"""Fewer positives do not tell a third parameter from noise."""
ISOTONIC_POSITIVES = 500
"""Fewer positives bend an isotonic curve after noise; a few parameters do not."""


def calibrate(
    margins: Vector, matrix: Matrix, labels: Vector, columns: list[tuple[int, Column]]
) -> Calibration | SegmentedCalibration:
    """An overall map (logistic, beta from 100 positives, isotonic from 500; the rarer kind counts), corrected for the
    categories of these columns. Raises TrainingRefused where only one kind is there."""
    return fit_segments(_overall(margins, labels), margins, matrix, labels, columns)


def _overall(margins: Vector, labels: Vector) -> Calibration:
    rarer = min(float(labels.sum()), float(labels.size - labels.sum()))
    if rarer >= ISOTONIC_POSITIVES:
        return fit_isotonic(margins, labels)
    return fit_beta(margins, labels) if rarer >= BETA_POSITIVES else fit_logistic(margins, labels)
