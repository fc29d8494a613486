"""The mean reward of a decision when customers, not decisions, were assigned to arms.

A customer's decisions resemble each other, so they are not independent observations: the customers are. The mean
reward R of a decision is the ratio of two totals over customers, rewards r and decisions n, and by the delta method its
variance is that of the residuals r - R n over the customers.

Source: A. Deng, U. Knoblich, J. Lu, Applying the delta method in
metric analytics, KDD 2018.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import Estimate, normal_estimate

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredRatio:
    """The mean reward of a decision in an arm, and the variance of that mean. Infinite below two customers."""

    customers: int
    decisions: int
    rewards: float
    mean: float
    variance: float

    @property
    def estimate(self) -> Estimate:
        """With its 95 % interval over customers."""
        return normal_estimate(self.mean, float(np.sqrt(self.variance)))


def clustered_ratio(rewards: Vector, decisions: Vector) -> ClusteredRatio:
    """Both are per customer, and only of customers with decisions."""
    total = float(decisions.sum())
    mean = float(rewards.sum()) / total if total else 0.0
    variance = np.inf
    if decisions.size > 1:
        residuals = rewards - mean * decisions
        variance = float(residuals.var(ddof=1)) * decisions.size / total**2
    return ClusteredRatio(
        customers=decisions.size, decisions=int(total), rewards=float(rewards.sum()), mean=mean, variance=variance
    )


def difference(arm: ClusteredRatio, other: ClusteredRatio) -> Estimate:
    """The arm's mean less the other's; independent as no customer is in both."""
    return normal_estimate(arm.mean - other.mean, float(np.sqrt(arm.variance + other.variance)))


def relative_lift(arm: ClusteredRatio, other: ClusteredRatio) -> Estimate | None:
    """How much larger the arm's mean is, as a part of the other's, by the delta method; None where the other's interval
    holds 0, as a ratio to it means nothing."""
    if other.estimate.low <= 0.0:
        return None
    ratio = arm.mean / other.mean
    variance = (arm.variance + ratio**2 * other.variance) / other.mean**2
    return normal_estimate(ratio - 1.0, float(np.sqrt(variance)))
