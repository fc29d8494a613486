"""A plain reward model for DM and DR: mean rewards by option and segment, never from a customer's own rewards.

The customers are dealt into folds; the means used for a fold are those of the others (cross-fitting), so that doubly
robust estimates stay unbiased. A mean is drawn towards the mean of all by PRIOR_CHOICES observations, as rare options
would otherwise be predicted by a handful of rewards.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.off_policy.recorded_choices import Predictions

Vector = NDArray[np.float64]
Grid = NDArray[np.float64]
Numbers = NDArray[np.intp]

PRIOR_CHOICES = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedOptions:
    """Per choice the number of its option, of its segment (for example its place), and of its customer."""

    options: Numbers
    segments: Numbers
    clusters: Numbers
    option_count: int


def cross_fitted_rewards(rewards: Vector, observed: ObservedOptions, folds: int = 5, seed: int = 1) -> Grid:
    """The expected reward of every option (columns) for every choice (rows), learnt from other customers only.

    Raises EvaluationRefused with fewer customers than folds.
    """
    customers, numbers = np.unique(observed.clusters, return_inverse=True)
    if len(customers) < folds:
        raise EvaluationRefused(f"{len(customers)} customers cannot be dealt into {folds} folds")
    fold_of = np.random.default_rng(seed).permutation(np.arange(len(customers)) % folds)[numbers]
    segments = int(observed.segments.max()) + 1
    cells = observed.segments * observed.option_count + observed.options
    predicted = np.empty((rewards.size, observed.option_count))
    for fold in range(folds):
        others, mine = fold_of != fold, fold_of == fold
        means = _means(rewards[others], cells[others], segments * observed.option_count)
        predicted[mine] = means.reshape(segments, observed.option_count)[observed.segments[mine]]
    return predicted


def predictions(rewards: Grid, options: Numbers, policy: Grid) -> Predictions:
    """A policy's predictions, from expected rewards and its chances: both a row a choice, a column an option."""
    rows = np.arange(len(rewards))
    return Predictions(chosen=rewards[rows, options], expected=np.asarray((rewards * policy).sum(axis=1), np.float64))


def _means(rewards: Vector, cells: Numbers, count: int) -> Vector:
    overall = float(rewards.mean())
    sums = np.bincount(cells, rewards, count)
    seen = np.bincount(cells, minlength=count)
    return np.asarray((sums + PRIOR_CHOICES * overall) / (seen + PRIOR_CHOICES), dtype=np.float64)
