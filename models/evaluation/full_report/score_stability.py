"""Stability: whether scores still lie where they lay, rank as well week by week, and as other fits of the model rank.

The population stability index between two sets of scores (`drift.stability` has it) is by convention no shift below
0.1, and a large one above 0.25.

Source: N. Siddiqi, Credit Risk Scorecards (2006).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.drift.stability import numeric_bins, stability
from models.errors import EvaluationRefused
from models.evaluation.discrimination import auc_estimate
from models.evaluation.full_report.judged_rows import LEAST_ROWS, JudgedRows
from models.evaluation.intervals import Estimate

Vector = NDArray[np.float64]

SMALL_SHIFT, LARGE_SHIFT = 0.1, 0.25
_ALPHA = 0.05
"""Of a limit that is not asked for here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far a part's scores lie from those learnt from."""

    part: str
    rows: int
    mean_score: float
    index: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyRanking:
    """The AUC of one week; None where one kind of label is missing."""

    week: str
    rows: int
    accepted: int
    auc: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Another fit of the same model: Spearman's rank correlation of the two on the judged rows, and its own AUC."""

    version: str
    rank_correlation: float
    auc: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Shifts against the rows fitted on, AUC by week, agreement with earlier fits of the registry, and how steady the
    order of the columns is: the mean rank correlation of their mean |SHAP| with that of resampled customers."""

    reference_rows: int
    shifts: tuple[Shift, ...]
    weeks: tuple[WeeklyRanking, ...]
    agreements: tuple[Agreement, ...]
    importance_agreement: Estimate | None


def stability_index(reference: Vector, scores: Vector) -> float:
    """The index of these scores against the reference's tenths. Raises EvaluationRefused where a side has none."""
    if not reference.size or not scores.size:
        raise EvaluationRefused("a stability index needs scores on both sides")
    bins, rows = numeric_bins(reference), (float(reference.size), float(scores.size))
    return stability(bins.counts(reference), bins.counts(scores), rows, _ALPHA).index


def shifts(reference: Vector, parts: dict[str, Vector]) -> tuple[Shift, ...]:
    """The index of every part that is large enough to be shown."""
    return tuple(
        Shift(
            part=part, rows=scores.size, mean_score=float(scores.mean()), index=stability_index(reference, scores)
        )
        for part, scores in parts.items()
        if scores.size >= LEAST_ROWS and reference.size >= LEAST_ROWS
    )  # fmt: skip


def weekly_rankings(rows: JudgedRows) -> tuple[WeeklyRanking, ...]:
    """The AUC of each week that is large enough to be shown."""
    found = []
    for week in np.unique(rows.parts["week"]).tolist():
        part = rows.where(rows.parts["week"] == week)
        if part.size >= LEAST_ROWS:
            ranking = auc_or_none(part.labels, part.probabilities)
            found.append(WeeklyRanking(week=week, rows=part.size, accepted=int(part.labels.sum()), auc=ranking))
    return tuple(found)


def auc_or_none(labels: Vector, scores: Vector) -> Estimate | None:
    """The AUC, None where one kind of label is missing."""
    try:
        return auc_estimate(labels, scores)
    except EvaluationRefused:
        return None


def rank_correlation(first: Vector, second: Vector) -> float:
    """Spearman's coefficient, ties at their mean rank; 0 where one side does not rank at all."""
    ranks = [rankdata(side) for side in (first, second)]
    spread = float(ranks[0].std() * ranks[1].std())
    if spread == 0.0:
        return 0.0
    centred = [side - side.mean() for side in ranks]
    return float((centred[0] * centred[1]).mean() / spread)
