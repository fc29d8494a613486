"""Off-policy value: what another policy would have earned, from logged selection probabilities.

Each observation is one choice of the logging policy with the reward that followed; its weight is the probability that
the judged policy makes the same choice, divided by the logged selection probability.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.intervals import Estimate, mean_estimate, normal_estimate

Vector = NDArray[np.float64]

LEAST_EFFECTIVE_SAMPLES = 30.0
"""Below this many effective observations a normal interval says nothing."""
LARGEST_WEIGHT_SHARE = 0.1
"""One observation that carries a tenth of all weight makes the estimate that observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyValue:
    """Estimates of a policy's mean reward. `warning` says why they are not to be relied on, None when they are."""

    observations: int
    inverse_propensity: Estimate
    self_normalised: Estimate
    effective_samples: float
    warning: str | None


def importance_weights(target: Vector, logged: Vector) -> Vector:
    """Target over logged probability. Raises EvaluationRefused where a logged probability is not in (0, 1]."""
    if not bool(np.all((logged > 0) & (logged <= 1))):
        raise EvaluationRefused("logged selection probabilities must lie in (0, 1]")
    if not bool(np.all((target >= 0) & (target <= 1))):
        raise EvaluationRefused("target probabilities must lie in [0, 1]")
    return np.asarray(target / logged, dtype=np.float64)


def policy_value(rewards: Vector, weights: Vector) -> PolicyValue:
    """IPS and SNIPS with 95 % intervals (normal; delta method for SNIPS) and the effective sample size.

    Raises EvaluationRefused without observations or when the judged policy never agrees with the log.
    """
    total = float(weights.sum())
    if not rewards.size or total <= 0:
        raise EvaluationRefused("the judged policy makes none of the logged choices: its value cannot be estimated")
    effective = total**2 / float((weights**2).sum())
    return PolicyValue(
        observations=rewards.size,
        inverse_propensity=mean_estimate(weights * rewards),
        self_normalised=_self_normalised(rewards, weights),
        effective_samples=effective,
        warning=_warning(weights, effective),
    )


def doubly_robust(rewards: Vector, weights: Vector, predicted: Vector, predicted_target: Vector) -> Estimate:
    """The doubly robust estimate: the model's prediction under the judged policy, corrected by weighted residuals.

    `predicted` is the model's reward for the logged choice, `predicted_target` its mean under the judged policy.
    """
    if not rewards.size:
        raise EvaluationRefused("no observations")
    return mean_estimate(predicted_target + weights * (rewards - predicted))


def _self_normalised(rewards: Vector, weights: Vector) -> Estimate:
    value = float((weights * rewards).sum() / weights.sum())
    influence = weights * (rewards - value) / float(weights.mean())
    error = float(np.sqrt((influence**2).sum())) / rewards.size
    return normal_estimate(value, error)


def _warning(weights: Vector, effective: float) -> str | None:
    largest = float(weights.max() / weights.sum())
    if effective < LEAST_EFFECTIVE_SAMPLES:
        return (
            f"only {effective:.1f} effective observations: the policies differ too much, or the log explored too little"
        )
    if largest > LARGEST_WEIGHT_SHARE:
        return f"one observation carries {largest:.0%} of all weight"
    return None
