"""Log loss: the mean surprise at what happened, in nats; less is better."""

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import Estimate, mean_estimate

Vector = NDArray[np.float64]

_CERTAIN = 1e-12
"""Keeps a probability of exactly 0 or 1 from an infinite loss."""


def losses(labels: Vector, probabilities: Vector) -> Vector:
    """The loss of every row."""
    bounded = np.clip(probabilities, _CERTAIN, 1.0 - _CERTAIN)
    return np.asarray(-(labels * np.log(bounded) + (1.0 - labels) * np.log1p(-bounded)), dtype=np.float64)


def log_loss(labels: Vector, probabilities: Vector) -> Estimate:
    """The mean loss with its interval."""
    return mean_estimate(losses(labels, probabilities))


def log_loss_gain(labels: Vector, probabilities: Vector, reference: Vector) -> Estimate:
    """How much smaller the loss is than under the reference probabilities, row by row; above zero is better."""
    return mean_estimate(losses(labels, reference) - losses(labels, probabilities))
