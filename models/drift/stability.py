"""The population stability index, and how much of it chance alone makes.

With the shares p of the bins in training and q now: PSI = sum of (q - p) ln(q / p). From equal distributions m rows of
training and n rows now make it about (1/n + 1/m) times a chi-squared variable with one degree of freedom less than
there are bins, so a small sample shows a large index where nothing has changed (B. Yurdakul, Statistical Properties of
Population Stability Index, Western Michigan University, 2018). Here what chance makes on average is taken off, and
nothing is said below what chance makes once in `1 / alpha` times. Rows of one customer repeat the customer: what counts
is the effective number (Kish), which is given with the counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

Vector = NDArray[np.float64]

BIN_COUNT = 10
LEAST_ROWS_A_BIN = 10
"""Effective rows a bin, below which the approximation by chi-squared says nothing."""
_LEAST_SHARE = 0.01
"""Rarer categories are one bin together."""
_PSEUDO_ROWS = 0.5
"""Added to every bin, so that an empty one has a finite logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """How the values of a column are binned; the last bin is always the missing ones. A numeric column has upper
    `edges`, each inclusive; one of categories the codes that have a bin of their own, the others share one."""

    edges: tuple[float, ...] = ()
    codes: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """How many bins there are."""
        return (len(self.edges) if self.codes is None else len(self.codes)) + 2

    def counts(self, values: Vector) -> Vector:
        """How many values are in each bin."""
        known = ~np.isnan(values)
        if self.codes is None:
            places = np.searchsorted(np.array(self.edges), values[known], side="left")
        else:
            table = {code: place for place, code in enumerate(self.codes)}
            places = np.array([table.get(int(code), len(self.codes)) for code in values[known]], dtype=np.intp)
        counted = np.bincount(places, minlength=self.size).astype(np.float64)
        counted[-1] = float(values.size - known.sum())
        return counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """An index, what chance makes of it on average, and what it makes once in `1 / alpha` times (infinite where there
    are too few rows to say)."""

    index: float
    expected: float
    limit: float

    @property
    def excess(self) -> float:
        """The index without what chance makes on average, never below 0."""
        return max(0.0, self.index - self.expected)

    def shifted(self, least: float) -> bool:
        """Whether it is beyond chance and at least so large without it."""
        return self.index > self.limit and self.excess >= least


def numeric_bins(values: Vector) -> Bins:
    """Tenths of the known values; a value that more than a tenth have is a bin. What is below all values seen has a
    bin of its own where the lowest is such a value, else a column that was constant could not be seen to fall."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Bins(edges=())
    tenths = np.quantile(known, np.arange(1, BIN_COUNT) / BIN_COUNT, method="inverted_cdf")
    edges = np.unique(tenths)
    lowest = float(known.min())
    if edges[0] == lowest:
        edges = np.concatenate([[np.nextafter(lowest, -np.inf)], edges])
    return Bins(edges=tuple(float(edge) for edge in edges))


def category_bins(values: Vector) -> Bins:
    """A bin for every category that at least one value in a hundred has."""
    codes, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    kept = codes[counts >= _LEAST_SHARE * max(1, values.size)]
    return Bins(codes=tuple(int(code) for code in kept))


def stability(reference: Vector, now: Vector, effective: tuple[float, float], alpha: float) -> Stability:
    """The index of these bin counts. `effective` are the numbers of rows that count, in training and now."""
    used = (reference + now) > 0
    before, after = _shares(reference[used]), _shares(now[used])
    degrees = max(1, int(used.sum()) - 1)
    noise = sum(1.0 / max(rows, 1.0) for rows in effective)
    enough = min(effective) >= LEAST_ROWS_A_BIN * (degrees + 1)
    return Stability(
        index=float(((after - before) * np.log(after / before)).sum()),
        expected=degrees * noise,
        limit=float(chdtri(degrees, alpha)) * noise if enough else float("inf"),
    )


def effective_rows(counts: NDArray[np.intp] | Vector) -> float:
    """Kish's effective number of rows, when these many come from each customer."""
    squares = float((np.asarray(counts, dtype=np.float64) ** 2).sum())
    return float(np.sum(counts)) ** 2 / squares if squares else 0.0


def _shares(counts: Vector) -> Vector:
    raised = counts + _PSEUDO_ROWS
    return np.asarray(raised / raised.sum(), dtype=np.float64)
