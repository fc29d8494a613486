"""The measures every manifest carries: how probabilities did on labelled rows, beside the base rates."""

import numpy as np
from numpy.typing import NDArray

from models.evaluation.calibration_error import calibration_error, predicted_to_observed
from models.evaluation.discrimination import auc_estimate
from models.evaluation.intervals import Estimate
from models.evaluation.log_loss import log_loss, log_loss_gain
from models.manifest import Metric

Vector = NDArray[np.float64]


def measure(labels: Vector, probabilities: Vector, base_rates: Vector) -> dict[str, Metric]:
    """AUC, log loss, its gain on the base rates, calibration, counts. Raises EvaluationRefused for one kind only."""
    return {
        "auc": _metric(auc_estimate(labels, probabilities)),
        "log_loss": _metric(log_loss(labels, probabilities)),
        "log_loss_base_rates": _metric(log_loss(labels, base_rates)),
        "log_loss_gain": _metric(log_loss_gain(labels, probabilities, base_rates)),
        "calibration_error": Metric(value=calibration_error(labels, probabilities)),
        "predicted_to_observed": Metric(value=predicted_to_observed(labels, probabilities)),
        "rows": Metric(value=float(labels.size)),
        "positives": Metric(value=float(labels.sum())),
    }


def _metric(estimate: Estimate) -> Metric:
    finite = bool(np.isfinite([estimate.low, estimate.high]).all())
    return Metric(value=estimate.value, low=estimate.low if finite else None, high=estimate.high if finite else None)
