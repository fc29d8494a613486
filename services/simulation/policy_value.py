"""What policies are truly worth: expected value per decision under the known response model.

All policies are compared on the same decisions, each with the set of offers that were eligible at that moment and
the customer's exposures so far: a one-step comparison, paired decision by decision. Intervals are 95 % percentile
bootstrap over customers, because decisions of one customer are alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.ports import ShellError

Floats = NDArray[np.float64]

WORTHLESS = 1e-9
"""Minor units: a baseline that is worth no more than this in some replicate gives no meaningful ratio."""
REPLICATES = 1_000
RANDOM, BEST_SINGLE, ORACLE = "random eligible", "best single offer", "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedDecision:
    """One decision with the truth about it: expected value (minor units) of each eligible offer, and what each
    named policy chose among them (None: nothing)."""

    customer_id: str
    expected: Mapping[str, float]
    chosen: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyValue:
    """A policy's mean true expected value per decision with its interval, and the share of the oracle's value."""

    policy: str
    mean: float
    low: float
    high: float
    share_of_oracle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplift:
    """How much more `policy` is worth than `baseline` (0.2 is 20 %), with its paired interval."""

    policy: str
    baseline: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyComparison:
    """The whole table: values by policy, the paired uplifts, and what it rests on."""

    decisions: int
    customers: int
    best_offer: str
    values: tuple[PolicyValue, ...]
    uplifts: tuple[Uplift, ...]

    def value(self, policy: str) -> PolicyValue:
        """The row of a policy."""
        return next(row for row in self.values if row.policy == policy)

    def uplift(self, policy: str, baseline: str) -> Uplift:
        """The paired uplift of one over the other."""
        return next(row for row in self.uplifts if (row.policy, row.baseline) == (policy, baseline))


class NothingToCompare(ShellError):
    """No decision had an eligible offer."""


def compare_policies(decisions: Sequence[JudgedDecision], seed: int) -> PolicyComparison:
    """Values and uplifts of every policy named in the decisions and of the three yardsticks.

    Raises NothingToCompare when no decision has an eligible offer.
    """
    judged = [decision for decision in decisions if decision.expected]
    if not judged:
        raise NothingToCompare("no decision had an eligible offer, so there is nothing to compare")
    best_offer = _best_single(judged)
    columns = _policy_columns(judged, best_offer)
    customers = sorted({decision.customer_id for decision in judged})
    sums, counts = _by_customer(judged, customers, columns)
    replicates = _bootstrap(sums, counts, seed)
    means = sums.sum(axis=0) / counts.sum()
    names = tuple(columns)
    return PolicyComparison(
        decisions=len(judged),
        customers=len(customers),
        best_offer=best_offer,
        values=tuple(_value(names, means, replicates, name) for name in names),
        uplifts=_uplifts(names, means, replicates),
    )


def _best_single(judged: Sequence[JudgedDecision]) -> str:
    """In hindsight and with the truth: the hardest fixed offer to beat. Ties by name."""
    totals: dict[str, float] = {}
    for decision in judged:
        for offer, expected in decision.expected.items():
            totals[offer] = totals.get(offer, 0.0) + expected
    return min(totals, key=lambda offer: (-totals[offer], offer))


def _policy_columns(judged: Sequence[JudgedDecision], best_offer: str) -> dict[str, Floats]:
    named = sorted({policy for decision in judged for policy in decision.chosen})
    columns = {
        policy: np.array([_earned(decision, decision.chosen.get(policy)) for decision in judged]) for policy in named
    }
    columns[RANDOM] = np.array([float(np.mean(list(decision.expected.values()))) for decision in judged])
    columns[BEST_SINGLE] = np.array([decision.expected.get(best_offer, 0.0) for decision in judged])
    columns[ORACLE] = np.array([max(decision.expected.values()) for decision in judged])
    return columns


def _earned(decision: JudgedDecision, offer: str | None) -> float:
    return 0.0 if offer is None else decision.expected.get(offer, 0.0)


def _by_customer(
    judged: Sequence[JudgedDecision], customers: Sequence[str], columns: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    position = {customer: index for index, customer in enumerate(customers)}
    rows = np.array([position[decision.customer_id] for decision in judged])
    sums: Floats = np.stack(
        [np.bincount(rows, column, len(customers)).astype(np.float64) for column in columns.values()], axis=1
    )
    return sums, np.bincount(rows, minlength=len(customers)).astype(np.float64)


def _bootstrap(sums: Floats, counts: Floats, seed: int) -> Floats:
    """Mean per decision of every policy (columns) in every resample of the customers (rows)."""
    draws = np.random.default_rng(seed)
    customers = len(counts)
    means = np.empty((REPLICATES, sums.shape[1]))
    for replicate in range(REPLICATES):
        weights = np.bincount(draws.integers(0, customers, customers), minlength=customers).astype(np.float64)
        means[replicate] = weights @ sums / (weights @ counts)
    return means


def _value(names: Sequence[str], means: Floats, replicates: Floats, name: str) -> PolicyValue:
    column = names.index(name)
    low, high = np.percentile(replicates[:, column], (2.5, 97.5))
    best = float(means[names.index(ORACLE)])
    share = float(means[column]) / best if best > 0 else 0.0
    return PolicyValue(policy=name, mean=float(means[column]), low=float(low), high=float(high), share_of_oracle=share)


def _uplifts(names: Sequence[str], means: Floats, replicates: Floats) -> tuple[Uplift, ...]:
    rows: list[Uplift] = []
    for policy in names:
        for baseline in names:
            base = names.index(baseline)
            if policy == baseline or not np.all(replicates[:, base] > WORTHLESS):
                continue
            ratios = replicates[:, names.index(policy)] / replicates[:, base] - 1
            low, high = np.percentile(ratios, (2.5, 97.5))
            mean = float(means[names.index(policy)] / means[base] - 1)
            rows.append(Uplift(policy=policy, baseline=baseline, mean=mean, low=float(low), high=float(high)))
    return tuple(rows)
