"""Policies judged on one log: estimates with intervals, what clipping does to them, whether to conclude anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.intervals import Estimate
from models.evaluation.off_policy.bootstrap import Resamples, Statistic, interval, resample
from models.evaluation.off_policy.estimators import (
    COLUMNS,
    WITH_MODEL,
    Estimator,
    Totals,
    applicable,
    columns,
    estimate,
    mean_reward,
)
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, RecordedChoices, require_sound
from models.evaluation.off_policy.weight_health import WeightHealth, weight_health

Vector = NDArray[np.float64]

REPLICATES = 2_000
"""The ends of a 95 % interval then rest on fifty replicates each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingRule:
    """How policies are judged: the limit weights are clipped at (None: not clipped), and the bootstrap."""

    clip: float | None = None
    replicates: int = REPLICATES
    seed: int = 1

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise EvaluationRefused(f"weights cannot be clipped at {self.clip}: give a limit above 0")
        if self.replicates < 100:
            raise EvaluationRefused(f"{self.replicates} replicates give no interval: at least 100 are needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClippingBias:
    """What clipping does to IPS: `observed` is clipped less unclipped on this log (an unbiased figure of the bias),
    `bound` the most it can be, as the weight taken away times the largest reward seen."""

    observed: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyJudgement:
    """One policy. `refusals` say why nothing is to be concluded from the figures; empty when something is."""

    name: str
    estimates: Mapping[Estimator, Estimate]
    over_log: Estimate
    """The headline less what the log itself earned, on the same resamples."""
    health: WeightHealth
    clipping: ClippingBias | None
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def headline(self) -> Estimator:
        """The estimator to go by: DR where there are predictions, otherwise SNIPS."""
        return headline(self.estimates)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDifference:
    """How much more a choice `policy` earns than `other`, by the headline estimators on the same resamples."""

    policy: str
    other: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPolicyReport:
    """All policies judged on the same log, and what the log itself earned."""

    choices: int
    clusters: int
    logged: Estimate
    policies: tuple[PolicyJudgement, ...]
    differences: tuple[PolicyDifference, ...]
    rule: JudgingRule

    @property
    def conclusive(self) -> bool:
        """Whether the weights of every policy carry a conclusion."""
        return not any(policy.refusals for policy in self.policies)

    def policy(self, name: str) -> PolicyJudgement:
        """The judgement of that name."""
        return next(policy for policy in self.policies if policy.name == name)

    def difference(self, policy: str, other: str) -> Estimate:
        """How much more one earns than the other."""
        return next(row.estimate for row in self.differences if (row.policy, row.other) == (policy, other))


def headline(estimators: Mapping[Estimator, object] | Sequence[Estimator]) -> Estimator:
    """DR where it can be had, SNIPS elsewhere."""
    return Estimator.DR if Estimator.DR in estimators else Estimator.SNIPS


def judge_policies(
    choices: RecordedChoices, policies: Mapping[str, JudgedPolicy], rule: JudgingRule | None = None
) -> OffPolicyReport:
    """Judges them on the same resamples, so that differences between them are paired.

    Raises EvaluationRefused where an array cannot be what it should be. Weights that carry no conclusion are no error:
    the figures are there, and `refusals` say why not to rely on them.
    """
    if not policies:
        raise EvaluationRefused("no policy to judge")
    for policy in policies.values():
        require_sound(choices, policy)
    rule = rule or JudgingRule()
    tables = [columns(choices, policy, rule.clip) for policy in policies.values()]
    samples = resample(np.concatenate(tables, axis=1), choices.clusters, rule.replicates, rule.seed)
    judged = tuple(
        _judged(name, choices, policy, _part(samples, number), rule)
        for number, (name, policy) in enumerate(policies.items())
    )
    return OffPolicyReport(
        choices=choices.rewards.size,
        clusters=len(samples.clusters),
        logged=interval(mean_reward, _part(samples, 0)),
        policies=judged,
        differences=_differences(judged, samples),
        rule=rule,
    )


def _judged(
    name: str, choices: RecordedChoices, policy: JudgedPolicy, samples: Resamples, rule: JudgingRule
) -> PolicyJudgement:
    health = weight_health(choices, policy, rule.clip)
    estimators = applicable(policy, rule.clip)
    best = headline(estimators)
    return PolicyJudgement(
        name=name,
        estimates={kind: interval(partial(estimate, kind), samples) for kind in estimators},
        over_log=interval(lambda totals: estimate(best, totals) - mean_reward(totals), samples),
        health=health,
        clipping=None if rule.clip is None else clipping_bias(choices, policy, rule.clip),
        refusals=tuple(health.refusals()),
        warnings=tuple(health.warnings()),
    )


def clipping_bias(choices: RecordedChoices, policy: JudgedPolicy, clip: float) -> ClippingBias:
    """The bias of the clipped IPS estimate, as seen and at most."""
    raw = policy.chances / choices.logged
    taken = raw - np.minimum(raw, clip)
    return ClippingBias(
        observed=-float((taken * choices.rewards).mean()),
        bound=float(taken.mean()) * float(np.abs(choices.rewards).max()),
    )


def _part(samples: Resamples, number: int) -> Resamples:
    """The columns of one policy."""
    mine = slice(number * COLUMNS, (number + 1) * COLUMNS)
    return Resamples(
        whole=samples.whole[mine], clusters=samples.clusters[:, mine], replicates=samples.replicates[:, mine]
    )


def _differences(judged: Sequence[PolicyJudgement], samples: Resamples) -> tuple[PolicyDifference, ...]:
    rows = []
    for (first, policy), (second, other) in combinations(enumerate(judged), 2):
        # Like is compared with like: with a model only where both have one.
        both = policy.headline in WITH_MODEL and other.headline in WITH_MODEL
        kind = Estimator.DR if both else Estimator.SNIPS
        found = interval(_less(kind, first, second), samples)
        rows.append(PolicyDifference(policy=policy.name, other=other.name, estimate=found))
        back = Estimate(value=-found.value, low=-found.high, high=-found.low)
        rows.append(PolicyDifference(policy=other.name, other=policy.name, estimate=back))
    return tuple(rows)


def _less(kind: Estimator, first: int, second: int) -> Statistic:
    def statistic(totals: Totals) -> Vector:
        mine, others = (totals[..., place * COLUMNS : (place + 1) * COLUMNS] for place in (first, second))
        return estimate(kind, mine) - estimate(kind, others)

    return statistic
