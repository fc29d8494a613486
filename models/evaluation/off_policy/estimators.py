"""The estimators, each a function of sums over choices, so that a resample of customers costs one addition each.

With w the judged policy's chance of the recorded option over its logged chance, r the reward, q a model's prediction
for that option, Q its mean under the judged policy, and e the mean chance that the policy offers something:

    IPS         mean(w r)                                    unbiased, noisy
    SNIPS       e sum(w r) / sum(w)                          slightly biased, never outside the rewards' range
    DM          mean(Q)                                      as good as the model, whatever the weights
    DR          mean(Q + w (r - q))                          unbiased whatever the model, less noisy where it is good
    SN-DR       mean(Q) + e sum(w (r - q)) / sum(w)          the same with normalised weights
    switch-DR   mean(Q + [w <= m] w (r - q))                 the model alone where a weight is above m

Clipping replaces w by min(w, m) in all but the last: less noise, and the estimate no longer sees part of the policy.

Sources: A. Strehl et al., Learning from logged implicit exploration data, NIPS 2010; A. Swaminathan, T. Joachims, The
self-normalized estimator for counterfactual learning, NIPS 2015; M. Dudík, J. Langford, L. Li, Doubly robust policy
evaluation and learning, ICML 2011; Y.-X. Wang, A. Agarwal, M. Dudík, Optimal and adaptive off-policy evaluation in
contextual bandits, ICML 2017.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.evaluation.off_policy.recorded_choices import JudgedPolicy, RecordedChoices, importance_weights

Vector = NDArray[np.float64]
Totals = NDArray[np.float64]
"""Sums of the columns below, over choices; any axes before the last are replicates."""


class Estimator(StrEnum):
    """An estimator by the name people know."""

    IPS = "IPS"
    SNIPS = "SNIPS"
    DM = "DM"
    DR = "DR"
    SNDR = "SN-DR"
    SWITCH_DR = "switch-DR"


MODEL_FREE = (Estimator.IPS, Estimator.SNIPS)
WITH_MODEL = (Estimator.DM, Estimator.DR, Estimator.SNDR)

_ONE, _W, _WR, _MODEL, _RESIDUAL, _SWITCHED, _IDLE, _REWARD = range(8)
COLUMNS = 8


def applicable(policy: JudgedPolicy, clip: float | None) -> Sequence[Estimator]:
    """The estimators that can be had: those with a model need predictions, switching needs a limit too."""
    if policy.predictions is None:
        return MODEL_FREE
    return (*MODEL_FREE, *WITH_MODEL) if clip is None else (*MODEL_FREE, *WITH_MODEL, Estimator.SWITCH_DR)


def columns(choices: RecordedChoices, policy: JudgedPolicy, clip: float | None) -> Totals:
    """What the estimators need of each choice: a row a choice, a column a sum."""
    weights = importance_weights(policy.chances, choices.logged)
    clipped = weights if clip is None else np.minimum(weights, clip)
    table = np.zeros((choices.rewards.size, COLUMNS))
    table[:, _ONE] = 1.0
    table[:, _W] = clipped
    table[:, _WR] = clipped * choices.rewards
    table[:, _REWARD] = choices.rewards
    if policy.idle is not None:
        table[:, _IDLE] = policy.idle
    if policy.predictions is not None:
        residuals = choices.rewards - policy.predictions.chosen
        table[:, _MODEL] = policy.predictions.expected
        table[:, _RESIDUAL] = clipped * residuals
        kept = weights if clip is None else np.where(weights <= clip, weights, 0.0)
        table[:, _SWITCHED] = kept * residuals
    return table


def estimate(estimator: Estimator, totals: Totals) -> Vector:
    """The estimator's value from the columns' sums; not a number where no weight is left to normalise by."""
    rows, weight = totals[..., _ONE], totals[..., _W]
    model = totals[..., _MODEL] / rows
    with np.errstate(divide="ignore", invalid="ignore"):
        normaliser = (1.0 - totals[..., _IDLE] / rows) / weight
        values = {
            Estimator.IPS: lambda: totals[..., _WR] / rows,
            Estimator.SNIPS: lambda: totals[..., _WR] * normaliser,
            Estimator.DM: lambda: model,
            Estimator.DR: lambda: model + totals[..., _RESIDUAL] / rows,
            Estimator.SNDR: lambda: model + totals[..., _RESIDUAL] * normaliser,
            Estimator.SWITCH_DR: lambda: model + totals[..., _SWITCHED] / rows,
        }[estimator]()
    return np.asarray(values, dtype=np.float64)


def mean_reward(totals: Totals) -> Vector:
    """What the log itself earned a choice."""
    return np.asarray(totals[..., _REWARD] / totals[..., _ONE], dtype=np.float64)
