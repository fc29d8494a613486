"""Fairness between groups of customers on rows that were only judged on: rates, calibration, and who comes first.

The groups are never inputs. A difference in rates is no proof of unfairness (people differ in what they take up); a
probability that is wrong for one group is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.full_report.score_stability import auc_or_none
from models.evaluation.intervals import Estimate, mean_estimate

Vector = NDArray[np.float64]

TOP_SHARE = 0.2
"""Whoever is among this share of the highest scores counts as chosen."""
LEAST_POSITIVES = 20
"""With fewer, nothing is said of a group beyond its numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFairness:
    """One group: how often it said yes, how often it was foretold to, the gap (predicted less observed, with its
    interval), how well its members are ordered (None: not to be told), and which share of it is chosen, over the same
    of the group chosen most (the four-fifths rule looks below 0.8). Groups with few positives are not `judged`."""

    group: str
    rows: int
    positives: int
    observed: float
    predicted: float
    gap: Estimate
    auc: float | None
    chosen: float
    chosen_ratio: float
    judged: bool


def fairness_table(groups: Sequence[str], labels: Vector, probabilities: Vector) -> tuple[GroupFairness, ...]:
    """One line a group, in the order of names."""
    names = np.array(groups)
    order = np.argsort(-probabilities, kind="stable")[: max(1, round(TOP_SHARE * labels.size))]
    chosen = np.zeros(labels.size)
    chosen[order] = 1.0
    shares = {name: float(chosen[names == name].mean()) for name in np.unique(names).tolist()}
    most = max(shares.values())
    return tuple(
        _line(name, labels[names == name], probabilities[names == name], (share, share / most if most else 1.0))
        for name, share in shares.items()
    )


def _line(name: str, labels: Vector, probabilities: Vector, chosen: tuple[float, float]) -> GroupFairness:
    positives = int(labels.sum())
    ranking = auc_or_none(labels, probabilities)
    return GroupFairness(
        group=name,
        rows=labels.size,
        positives=positives,
        observed=float(labels.mean()),
        predicted=float(probabilities.mean()),
        gap=mean_estimate(probabilities - labels),
        auc=None if ranking is None else ranking.value,
        chosen=chosen[0],
        chosen_ratio=chosen[1],
        judged=min(positives, labels.size - positives) >= LEAST_POSITIVES,
    )
