"""Which columns a model goes by: what splits on them gained in fitting, and how far they move judged margins (SHAP).

The gain favours columns with many values and is of the rows fitted on; the mean |SHAP| is of the judged rows.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import FeatureSchema, Matrix
from models.evaluation.full_report.score_stability import rank_correlation
from models.evaluation.intervals import Estimate

Vector = NDArray[np.float64]
Numbers = NDArray[np.int64]

MOST_ROWS = 5_000
"""Contributions cost thousands of times a score; so many rows tell the means well enough."""
REPLICATES = 100


class Explainable(Protocol):
    """Trees that can say what each column adds to a margin."""

    @property
    def version(self) -> str: ...

    @property
    def schema(self) -> FeatureSchema: ...

    def margins(self, matrix: Matrix) -> Vector: ...

    def contributions(self, matrix: Matrix) -> Matrix:
        """By row what each column adds to the margin, and last the margin it is added to."""
        ...

    def column_gains(self) -> Vector:
        """By column what its splits gained in fitting."""
        ...

    def score(self, matrix: Matrix) -> Vector: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnImportance:
    """One column; `gain_share` of all gain, `mean_shap` the mean size of its contribution in log-odds, and `described`
    what the data dictionary says of it (empty where it says nothing)."""

    column: str
    source: str
    described: str
    gain_share: float
    mean_shap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceTable:
    """The columns by falling mean |SHAP|; those that no tree uses are only counted. `agreement` is how alike the order
    is in resamples of the customers (Spearman: the mean, and the range of 95 in 100 resamples)."""

    rows: int
    seed: int
    columns: tuple[ColumnImportance, ...]
    unused: int
    agreement: Estimate | None


def importance_table(
    scorer: Explainable, matrix: Matrix, customers: Numbers, described: dict[str, str], seed: int
) -> ImportanceTable:
    """The table, from a seeded sample of the rows where there are more than five thousand."""
    draws = np.random.default_rng(seed)
    kept = np.arange(len(matrix))
    if len(matrix) > MOST_ROWS:
        kept = np.sort(draws.choice(len(matrix), MOST_ROWS, replace=False))
    sizes = np.abs(scorer.contributions(matrix[kept])[:, :-1])
    gains = scorer.column_gains()
    shares = gains / gains.sum() if gains.sum() > 0 else gains
    means = sizes.mean(axis=0) if len(kept) else np.zeros_like(gains)
    used = np.flatnonzero((gains > 0) | (means > 0))
    ordered = used[np.argsort(-means[used], kind="stable")]
    columns = scorer.schema.columns
    return ImportanceTable(
        rows=len(kept),
        seed=seed,
        columns=tuple(
            ColumnImportance(
                column=columns[place].name,
                source=columns[place].source.value,
                described=described.get(columns[place].name, ""),
                gain_share=float(shares[place]),
                mean_shap=float(means[place]),
            )
            for place in ordered.tolist()
        ),
        unused=len(columns) - used.size,
        agreement=_agreement(sizes[:, used], customers[kept], draws),
    )


def _agreement(sizes: Matrix, customers: Numbers, draws: np.random.Generator) -> Estimate | None:
    """How alike resamples of the customers rank the columns; None where there is nothing to rank."""
    _, places = np.unique(customers, return_inverse=True)
    count = int(places.max()) + 1 if places.size else 0
    if sizes.shape[1] < 3 or count < 2:
        return None
    whole = sizes.mean(axis=0)
    found = []
    for _ in range(REPLICATES):
        times = np.bincount(draws.integers(0, count, count), minlength=count)[places].astype(np.float64)
        found.append(rank_correlation(whole, times @ sizes))
    low, high = np.quantile(found, [0.025, 0.975])
    return Estimate(value=float(np.mean(found)), low=float(low), high=float(high))
