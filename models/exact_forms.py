"""Faster forms of a tree model that give the very same margins, and the proof that they do.

A form serves only after it has given, bit for bit, what LightGBM gives on a probe: every threshold of every column with
the doubles next to it, zeros and what LightGBM takes for zero, infinities, missing values, all categories and some that
no tree has seen, random values, and batches as decisions make them, in which most columns are the same in all rows.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Matrix
from models.errors import ModelsError
from models.tree_text import TreeModel

Vector = NDArray[np.float64]

ZERO_BOUND = float(np.float32(1e-35))
"""LightGBM's `kZeroThreshold`: values up to this far from zero are taken for zero."""
_RANDOM_ROWS = 256
_LEAST_ROWS = 512
_BATCH_ROWS = 50
_BATCHES = 8
_MISSING_SHARE = 0.1
_EXTREMES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -1e-40, 1e300, -1e300, 1.0, -1.0)
_ODD_CODES = (np.nan, np.inf, -np.inf, -0.0, -0.5, 0.5, -1.0, -7.0, 1e-40, 2.0**31 - 1, -(2.0**31))


class FormRefused(ModelsError):
    """A form cannot take this model, or gives other margins than LightGBM."""


class MarginForm(Protocol):
    """A way to the margins (log-odds) of a tree model. Safe to share between threads."""

    @property
    def name(self) -> str: ...

    def margins(self, matrix: Matrix) -> Vector:
        """One margin a row of a contiguous matrix of doubles with at least one row."""
        ...


def require_exact(form: MarginForm, reference: MarginForm, probes: Sequence[Matrix]) -> None:
    """Raises FormRefused when any margin of any probe differs in any bit, or the form fails."""
    for probe in probes:
        expected = reference.margins(probe)
        try:
            found = np.asarray(form.margins(probe), np.float64)
        except Exception as error:  # whatever foreign code raises, the form is of no use
            raise FormRefused(f"{form.name}: {type(error).__name__}: {error}") from error
        if found.shape != expected.shape:
            raise FormRefused(f"{form.name}: {found.shape} margins for {len(probe)} rows")
        different = found.view(np.int64) != expected.view(np.int64)
        if different.any():
            row = int(np.argmax(different))
            raise FormRefused(
                f"{form.name}: {int(different.sum())} of {len(probe)} margins differ, the first {found[row]!r} for "
                f"{expected[row]!r}"
            )


def probes_of(model: TreeModel, seed: int = 1) -> list[Matrix]:
    """The matrices to compare on, the same for the same model and seed."""
    draw = np.random.default_rng(seed)
    pools = _pools(model)
    rows = max(_LEAST_ROWS, *(len(pool) for pool in pools))
    # Every value of every pool occurs, each next to values of other columns that chance put there.
    edges = np.column_stack([draw.permutation(np.resize(pool, rows)) for pool in pools])
    random = np.column_stack([_random_column(pool, draw) for pool in pools])
    whole = np.ascontiguousarray(np.concatenate([edges, random]))
    batches = [_batch(whole, draw, varying) for varying in np.linspace(0, model.columns, _BATCHES)]
    return [whole, whole[:1], whole[-2:], *batches]


def _pools(model: TreeModel) -> list[Vector]:
    """For every column the values at which anything could change."""
    thresholds: list[set[float]] = [set() for _ in range(model.columns)]
    codes: list[set[int]] = [set() for _ in range(model.columns)]
    for tree in model.trees:
        for node in tree.nodes:
            if node.categories is None:
                thresholds[node.column].add(node.threshold)
            else:
                codes[node.column] |= node.categories
    return [_pool(points, seen) for points, seen in zip(thresholds, codes, strict=True)]


def _pool(thresholds: set[float], codes: set[int]) -> Vector:
    if codes:
        known = np.arange(max(codes) + 4, dtype=np.float64)
        return np.concatenate([known, known + 0.75, _ODD_CODES])
    points = np.array([*thresholds, ZERO_BOUND, -ZERO_BOUND])
    return np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf), _EXTREMES])


def _random_column(pool: Vector, draw: np.random.Generator) -> Vector:
    known = pool[np.isfinite(pool) & (np.abs(pool) < 1e30)]
    low, high = float(known.min()), float(known.max())
    column = draw.uniform(low - 1, high + 1, _RANDOM_ROWS)
    column[draw.random(_RANDOM_ROWS) < _MISSING_SHARE] = np.nan
    return column


def _batch(whole: Matrix, draw: np.random.Generator, varying: float) -> Matrix:
    """Rows of which only so many columns differ, as candidates for one person."""
    rows = whole[draw.integers(0, len(whole), _BATCH_ROWS)]
    shared = draw.permutation(whole.shape[1])[round(varying) :]
    rows[:, shared] = rows[0, shared]
    return np.ascontiguousarray(rows)
