"""Ratios of what judged decisions cost, with intervals over customers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtests.regret_lives import Judged

REPLICATES = 2_000
Rows = Sequence[tuple[str, float, float]]
"""Customer, amount and count."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval over customers."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def ratio(upper: Rows, lower: Rows) -> Estimate:
    """A ratio of two means. Customers are drawn again, with both their sums."""
    customers = sorted({row[0] for row in (*upper, *lower)})
    places = {customer: place for place, customer in enumerate(customers)}
    sums = np.zeros((4, len(customers)))
    for first, rows in ((0, upper), (2, lower)):
        for customer, amount, count in rows:
            sums[first, places[customer]] += amount
            sums[first + 1, places[customer]] += count
    draws = np.random.default_rng(1)
    weights = draws.multinomial(len(customers), np.full(len(customers), 1 / len(customers)), REPLICATES)
    drawn = weights @ sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = (drawn[:, 0] / drawn[:, 1]) / (drawn[:, 2] / drawn[:, 3])
    totals = sums.sum(axis=1)
    low, high = np.nanpercentile(replicates, (2.5, 97.5))
    return Estimate(float((totals[0] / totals[1]) / (totals[2] / totals[3])), float(low), float(high))


def regrets(judged: Iterable[Judged]) -> list[tuple[str, float, float]]:
    """Regret by customer."""
    return [(one.customer, one.regret, 1.0) for one in judged]


def of_seed(judged: Iterable[Judged], seed: int) -> list[Judged]:
    """The same with customers told apart by seed."""
    return [replace(one, customer=f"{seed}/{one.customer}") for one in judged]
