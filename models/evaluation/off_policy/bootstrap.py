"""Intervals by bootstrap over customers: bias-corrected and accelerated, from a stated seed.

Customers (clusters) are drawn with replacement, all their choices with them. Weighted rewards are skewed, so plain
percentiles sit too low: the correction for bias comes from where the estimate lies among the replicates, that for skew
from leaving out one customer at a time.

Source: B. Efron, Better bootstrap confidence intervals, JASA 82 (1987).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from models.evaluation.intervals import Z95, Estimate

Table = NDArray[np.float64]
Vector = NDArray[np.float64]
Numbers = NDArray[np.intp]
Statistic = Callable[[Table], Vector]
"""From sums of columns (the last axis) to a figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """Column sums: of everything (`whole`), of each customer, and of each resample of the customers."""

    whole: Vector
    clusters: Table
    replicates: Table


def resample(table: Table, clusters: Numbers | None, replicates: int, seed: int) -> Resamples:
    """Draws the replicates. The same seed, customers and count draw the same customers, so policies judged on the same
    log are compared on the same resamples."""
    sums = table if clusters is None else cluster_sums(table, clusters)
    draws = np.random.default_rng(seed)
    size = len(sums)
    resampled = np.empty((replicates, table.shape[1]))
    for number in range(replicates):
        times = np.bincount(draws.integers(0, size, size), minlength=size).astype(np.float64)
        resampled[number] = times @ sums
    return Resamples(whole=sums.sum(axis=0), clusters=sums, replicates=resampled)


def cluster_sums(table: Table, clusters: Numbers) -> Table:
    """The table's rows added up by cluster, clusters without rows left out."""
    _, places = np.unique(clusters, return_inverse=True)
    count = int(places.max()) + 1 if places.size else 0
    summed = [np.bincount(places, table[:, column], count) for column in range(table.shape[1])]
    return np.asarray(np.stack(summed, axis=1), dtype=np.float64)


def interval(statistic: Statistic, samples: Resamples) -> Estimate:
    """The statistic with its 95 % interval; unbounded with a single customer or where a replicate has no value."""
    value = float(statistic(samples.whole))
    found = statistic(samples.replicates)
    if len(samples.clusters) < 2 or not np.isfinite(value) or not bool(np.all(np.isfinite(found))):
        return Estimate(value=value, low=-np.inf, high=np.inf)
    if float(np.ptp(found)) == 0.0:
        return Estimate(value=value, low=value, high=value)
    below = float(np.mean(found < value) + np.mean(found == value) / 2)
    shift = float(ndtri(np.clip(below, 1 / (len(found) + 1), len(found) / (len(found) + 1))))
    skew = _acceleration(statistic(samples.whole - samples.clusters))
    low, high = np.quantile(found, [_level(shift, skew, -Z95), _level(shift, skew, Z95)])
    return Estimate(value=value, low=float(low), high=float(high))


def _level(shift: float, skew: float, point: float) -> float:
    """The percentile that stands for a normal point once bias and skew are taken out."""
    moved = shift + point
    return float(ndtr(shift + moved / max(1.0 - skew * moved, 1e-3)))


def _acceleration(left_out: Vector) -> float:
    """A sixth of the skewness of the customers' influence, by the jackknife."""
    influence = left_out.mean() - left_out
    spread = float((influence**2).sum())
    if not np.isfinite(spread) or spread <= 0.0:
        return 0.0
    return float((influence**3).sum() / (6.0 * spread**1.5))
