"""Exact binomial intervals for rates.

Source: C. J. Clopper, E. S. Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from models.evaluation.intervals import Estimate

Vector = NDArray[np.float64]


def binomial_bounds(successes: Vector, trials: Vector) -> tuple[Vector, Vector]:
    """Lower and upper ends of the 95 % intervals, element by element; trials above zero. They cover at least as often
    as they say."""
    failures = trials - successes
    with np.errstate(invalid="ignore"):
        low = np.where(successes > 0, betaincinv(np.maximum(successes, 1), failures + 1, 0.025), 0.0)
        high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1), 0.975), 1.0)
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)


def rate_estimate(successes: float, trials: float) -> Estimate:
    """A rate with its interval; trials above zero."""
    low, high = binomial_bounds(np.array([successes]), np.array([trials]))
    return Estimate(value=successes / trials, low=float(low[0]), high=float(high[0]))
