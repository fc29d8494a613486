"""Estimates with 95 % intervals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and the interval that covers the truth in 95 of 100 samples."""

    value: float
    low: float
    high: float


def normal_estimate(value: float, standard_error: float) -> Estimate:
    """The symmetric normal interval around a value."""
    reach = Z95 * standard_error
    return Estimate(value=value, low=value - reach, high=value + reach)


def mean_estimate(observations: Vector) -> Estimate:
    """The mean of independent observations; a single observation has an unbounded interval."""
    value = float(observations.mean())
    if observations.size < 2:
        return Estimate(value=value, low=-np.inf, high=np.inf)
    return normal_estimate(value, float(observations.std(ddof=1)) / float(np.sqrt(observations.size)))
