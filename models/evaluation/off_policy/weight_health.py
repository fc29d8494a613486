"""Whether importance weights carry a conclusion: what is looked at, and the rule by which one is refused.

Refused is a conclusion when any of these holds, because then no interval can be trusted:

    fewer than LEAST_EFFECTIVE effective customers or choices (Kish: the squared sum of weights over their squares');
    one customer or choice carries more than LARGEST_SHARE of all weight;
    more than MOST_UNSUPPORTED of the policy's probability is on options that the log had no chance to show;
    the mean weight is not what it must be (1 less what is idle or known to be unsupported), beyond MEAN_WEIGHT_ERRORS
    standard errors: the logged chances are wrong, or options are missing that are not known to be;
    clipping takes more than MOST_CLIPPED of the weight: what is left is another policy;
    fewer than LEAST_REWARDED choices with a weight earned anything: a resample can hardly vary what is not there.

Short of that, what should make a reader careful is a warning.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.off_policy.bootstrap import cluster_sums
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, RecordedChoices, importance_weights

Vector = NDArray[np.float64]

LEAST_EFFECTIVE = 30.0
LARGEST_SHARE = 0.1
MOST_UNSUPPORTED = 0.05
MOST_CLIPPED = 0.1
LEAST_REWARDED = 10
MEAN_WEIGHT_ERRORS = 4.0
"""Chance alone is beyond four standard errors once in sixteen thousand logs."""
_ROUNDING = 1e-6
FEW_REWARDED = 50
LOW_EFFECTIVE_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightHealth:
    """What the weights look like. `effective` counts choices, `effective_clusters` customers; shares are of all
    weight, after clipping. `mean_weight` is before clipping, `mean_expected` what it should be."""

    choices: int
    clusters: int
    effective: float
    effective_clusters: float
    largest_weight: float
    largest_share: float
    mean_weight: float
    mean_weight_error: float
    mean_expected: float
    unsupported: float
    clipped_choices: int
    clipped_share: float
    rewarded: int

    def refusals(self) -> Iterator[str]:
        """Why nothing can be concluded; none when something can."""
        effective = min(self.effective, self.effective_clusters)
        if effective < LEAST_EFFECTIVE:
            yield f"only {effective:.1f} effective observations, {LEAST_EFFECTIVE:.0f} are needed"
        if self.largest_share > LARGEST_SHARE:
            yield f"one observation carries {self.largest_share:.0%} of all weight, at most {LARGEST_SHARE:.0%} may be"
        if self.unsupported > MOST_UNSUPPORTED:
            yield (
                f"{self.unsupported:.1%} of the policy is on options that the log had no chance to show, "
                f"at most {MOST_UNSUPPORTED:.0%} may be"
            )
        if abs(self.mean_weight - self.mean_expected) > MEAN_WEIGHT_ERRORS * self.mean_weight_error + _ROUNDING:
            yield (
                f"the mean weight is {self.mean_weight:.3f} (standard error {self.mean_weight_error:.3f}) and must be "
                f"{self.mean_expected:.3f}: logged chances are wrong, or the log never shows part of the policy"
            )
        if self.clipped_share > MOST_CLIPPED:
            yield f"clipping takes {self.clipped_share:.1%} of the weight, at most {MOST_CLIPPED:.0%} may be"
        if self.rewarded < LEAST_REWARDED:
            yield f"only {self.rewarded} choices with a weight earned anything, {LEAST_REWARDED} are needed"

    def warnings(self) -> Iterator[str]:
        """What a reader should know before relying on the figures."""
        share = self.effective / self.choices
        if share < LOW_EFFECTIVE_SHARE:
            yield f"the {self.choices:,} choices are worth {self.effective:,.0f} ({share:.0%}): intervals are wide"
        if 0 < self.unsupported <= MOST_UNSUPPORTED:
            yield (
                f"{self.unsupported:.1%} of the policy is on options that the log had no chance to show: IPS counts it "
                "as nothing, SNIPS like the rest, DR as predicted"
            )
        if LEAST_REWARDED <= self.rewarded < FEW_REWARDED:
            yield f"only {self.rewarded} choices with a weight earned anything"
        if self.clipped_choices:
            yield f"{self.clipped_choices:,} weights are clipped, {self.clipped_share:.1%} of all weight"


def weight_health(choices: RecordedChoices, policy: JudgedPolicy, clip: float | None) -> WeightHealth:
    """The diagnosis. A policy that never agrees with the log has no effective observation."""
    raw = importance_weights(policy.chances, choices.logged)
    weights = raw if clip is None else np.minimum(raw, clip)
    by_cluster = weights if choices.clusters is None else cluster_sums(weights[:, None], choices.clusters)[:, 0]
    total, unclipped = float(weights.sum()), float(raw.sum())
    idle = 0.0 if policy.idle is None else float(policy.idle.mean())
    unsupported = 0.0 if policy.unsupported is None else float(policy.unsupported.mean())
    largest = max(float(weights.max()), float(by_cluster.max()))
    return WeightHealth(
        choices=weights.size,
        clusters=by_cluster.size,
        effective=effective_size(weights),
        effective_clusters=effective_size(by_cluster),
        largest_weight=float(weights.max()),
        largest_share=largest / total if total else 1.0,
        mean_weight=float(raw.mean()),
        mean_weight_error=_error_of_mean(choices, policy, raw),
        mean_expected=1.0 - idle - unsupported,
        unsupported=unsupported,
        clipped_choices=int((raw > weights).sum()),
        clipped_share=1.0 - total / unclipped if unclipped else 0.0,
        rewarded=int(((weights > 0) & (choices.rewards != 0)).sum()),
    )


def effective_size(weights: Vector) -> float:
    """Kish: how many equally weighted observations are as informative; 0 without any weight."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _error_of_mean(choices: RecordedChoices, policy: JudgedPolicy, weights: Vector) -> float:
    """The standard error of the mean weight less what it should be, over customers; infinite with one."""
    excess = weights - 1.0
    excess = excess if policy.idle is None else excess + policy.idle
    excess = excess if policy.unsupported is None else excess + policy.unsupported
    centred = excess - excess.mean()
    sums = centred if choices.clusters is None else cluster_sums(centred[:, None], choices.clusters)[:, 0]
    if sums.size < 2:
        return float("inf")
    return float(np.sqrt((sums**2).sum() * sums.size / (sums.size - 1))) / weights.size
