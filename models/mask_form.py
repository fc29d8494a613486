"""A tree model as bit masks: exact margins with numpy alone, fast where rows share most of their columns.

Every tree is a word with a bit a leaf, leaves counted from the left. A question answered with "right" rules out the
leaves to its left; when all answers are in, the lowest bit left is the leaf (Lucchese et al., "QuickScorer", 2015).
For every column the line of values is cut where any tree asks; for every piece one row of masks, a word a tree, is laid
out beforehand. So a column costs one search and one AND over all trees. The candidates of one decision differ only in
what the offers contribute: what they share is searched and combined once for all of them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Matrix
from models.exact_forms import ZERO_BOUND, FormRefused, MarginForm, Vector
from models.tree_text import Missing, Node, TreeModel

Masks = NDArray[np.uint32 | np.uint64]
Cells = NDArray[np.int64]

MOST_LEAVES = 64
MOST_BYTES = 128 * 1024 * 1024
_CHUNK_ROWS = 256
_BELOW_ZERO = float(np.nextafter(-ZERO_BOUND, -np.inf))
_LEAST_ROWS = 8
_MOST_VARYING = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One column cut into cells: cell `first + i` holds the values up to `cuts[i]`, or category i."""

    column: int
    first: int
    cuts: tuple[float, ...]
    sorted_cuts: Vector
    categorical: bool
    other: int
    """The cell of missing values, and of categories that no tree knows."""

    def cell(self, value: float) -> int:
        """Where one value lies."""
        if value != value:  # noqa: PLR0124 - NaN
            return self.other
        if self.categorical:
            return self.first + int(value) if -1 < value < len(self.cuts) else self.other
        return self.first + bisect_left(self.cuts, value)

    def cells(self, values: Vector) -> Cells:
        """Where each value lies."""
        if self.categorical:
            known = (values > -1) & (values < len(self.cuts))
            return np.where(known, self.first + np.where(known, values, 0).astype(np.int64), self.other)
        found = self.first + np.searchsorted(self.sorted_cuts, values)
        return np.where(np.isnan(values), self.other, found)


class MaskForm:
    """The margins by masks. Raises FormRefused for trees of more than 64 leaves or masks beyond 128 MiB."""

    name = "masks"
    __slots__ = ("_axes", "_leaves", "_places", "_table", "_trees", "_wide")

    def __init__(self, model: TreeModel) -> None:
        most = max((len(tree.leaves) for tree in model.trees), default=0)
        if not 0 < most <= MOST_LEAVES:
            raise FormRefused(f"{self.name}: trees of {most} leaves")
        self._wide = most > 32
        width, trees = (64 if self._wide else 32), len(model.trees)
        self._trees = trees
        leaves = np.zeros((trees, width))
        for place, tree in enumerate(model.trees):
            leaves[place, : len(tree.leaves)] = tree.leaves
        self._leaves = leaves.ravel()
        # The exponent of the lowest bit as a float is the leaf's place plus the format's bias.
        self._places = np.arange(trees, dtype=np.int64)[:, None] * width - (1023 if self._wide else 127)
        self._axes, self._table = _lay_out(model, np.uint64 if self._wide else np.uint32)

    def margins(self, matrix: Matrix) -> Vector:
        """One margin a row, summed tree by tree in the model's order as LightGBM does."""
        if len(matrix) <= _CHUNK_ROWS:
            return self._margins(matrix)
        parts = [self._margins(matrix[at : at + _CHUNK_ROWS]) for at in range(0, len(matrix), _CHUNK_ROWS)]
        return np.concatenate(parts)

    def _margins(self, matrix: Matrix) -> Vector:
        shared = shared_columns(matrix)
        first = matrix[0].tolist()
        common = [axis.cell(first[axis.column]) for axis in self._axes if shared[axis.column]]
        standing = np.bitwise_and.reduce(self._table[common], axis=0)[None, :]
        for axis in self._axes:
            if not shared[axis.column]:
                masks = self._table.take(axis.cells(matrix[:, axis.column]), axis=0)
                standing = np.bitwise_and(masks, standing, out=masks)
        values = self._leaves.take(self._leaf_places(standing))
        if values.shape[1] == 1:  # numpy would add a single column up in pairs
            return np.full(len(matrix), 0.0 + np.add.accumulate(values[:, 0])[-1])
        return np.asarray(0.0 + np.add.reduce(values, axis=0), np.float64)

    def _leaf_places(self, standing: Masks) -> Cells:
        lowest = standing & (~standing + standing.dtype.type(1))
        if self._wide:
            exponents = lowest.astype(np.float64).view(np.int64) >> 52
        else:
            exponents = lowest.astype(np.float32).view(np.int32) >> 23
        return np.asarray(exponents.T + self._places, np.int64)


class CandidateForm:
    """Masks for batches that share most columns, LightGBM's own call for all others."""

    name = "masks"
    __slots__ = ("_masks", "_plain")

    def __init__(self, masks: MarginForm, plain: MarginForm) -> None:
        self._masks = masks
        self._plain = plain

    def margins(self, matrix: Matrix) -> Vector:
        """The same margins either way."""
        if len(matrix) < _LEAST_ROWS or matrix.shape[1] - sum(shared_columns(matrix)) > _MOST_VARYING:
            return self._plain.margins(matrix)
        return self._masks.margins(matrix)


def shared_columns(matrix: Matrix) -> list[bool]:
    """Which columns hold one value, bit for bit, in all rows."""
    bits = matrix.view(np.int64)
    shared: list[bool] = (bits == bits[0]).all(axis=0).tolist()
    return shared


def _lay_out(model: TreeModel, word: type[np.uint32] | type[np.uint64]) -> tuple[tuple[_Axis, ...], Masks]:
    asked: dict[int, list[tuple[int, Node]]] = defaultdict(list)
    for place, tree in enumerate(model.trees):
        for node in tree.nodes:
            asked[node.column].append((place, node))
    axes, first = [], 0
    for column in sorted(asked):
        axes.append(_axis(column, first, [node for _, node in asked[column]]))
        first = axes[-1].other + 1
    if first * len(model.trees) * np.dtype(word).itemsize > MOST_BYTES:
        raise FormRefused(f"masks: {first} cells of {len(model.trees)} trees are too many")
    full = word(np.iinfo(word).max)
    # A row more than there are cells, with nothing ruled out: trees may ask nothing.
    table: Masks = np.full((first + 1, len(model.trees)), full, word)
    for axis in axes:
        representatives = _representatives(axis)
        for place, node in asked[axis.column]:
            ruled_out = word(((1 << node.middle) - 1) ^ ((1 << node.first) - 1))
            right = ~_goes_left(node, representatives)
            table[axis.first : axis.other + 1, place][right] &= ~ruled_out
    return tuple(axes), table


def _axis(column: int, first: int, nodes: Sequence[Node]) -> _Axis:
    categorical = nodes[0].categories is not None
    if any((node.categories is not None) is not categorical for node in nodes):
        raise FormRefused(f"masks: column {column} is asked both for categories and for numbers")
    if categorical:
        highest = max(max(node.categories or (0,)) for node in nodes)
        cuts = [float(code) for code in range(highest + 1)]
    else:
        # LightGBM takes everything around zero for zero, so nothing is cut in there.
        points = {node.threshold for node in nodes if abs(node.threshold) > ZERO_BOUND}
        cuts = sorted(points | {_BELOW_ZERO, ZERO_BOUND})
    beyond = 0 if categorical else 1
    return _Axis(
        column=column,
        first=first,
        cuts=tuple(cuts),
        sorted_cuts=np.array(cuts),
        categorical=categorical,
        other=first + len(cuts) + beyond,
    )


def _representatives(axis: _Axis) -> Vector:
    """A value of every cell, the cell of missing values last."""
    if axis.categorical:
        return np.array([*axis.cuts, np.nan])
    return np.array([*(0.0 if cut == ZERO_BOUND else cut for cut in axis.cuts), np.inf, np.nan])


def _goes_left(node: Node, values: Vector) -> NDArray[np.bool_]:
    """LightGBM's `NumericalDecision` and `CategoricalDecision`."""
    if node.categories is not None:
        return np.isin(values, list(node.categories))
    missing = np.isnan(values)
    if node.missing is not Missing.NAN:
        values = np.where(missing, 0.0, values)
        missing = np.abs(values) <= ZERO_BOUND if node.missing is Missing.ZERO else np.zeros(len(values), np.bool_)
    return np.where(missing, node.default_left, values <= node.threshold)
