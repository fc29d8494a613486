"""Lift: how many of the acceptances are reached by taking the options with the highest scores first.

Rows of equal score cannot be told apart, so between the first and the last of them the curve is a straight line.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.full_report.curve_area import area_under

Vector = NDArray[np.float64]

SHARES = tuple(percent / 100 for percent in (1, 2, 5, *range(10, 101, 5)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftPoint:
    """With the best `share` of the rows taken: the share of all acceptances reached, and how many times more that is
    than without any ranking."""

    share: float
    reached: float
    lift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftCurve:
    """The points by rising share. `area` is the area under acceptances reached (ALIFT): 0.5 for no ranking at all,
    1 less half the acceptance rate for a perfect one, given as `best_area`."""

    points: tuple[LiftPoint, ...]
    area: float
    best_area: float


def lift_curve(labels: Vector, scores: Vector) -> LiftCurve:
    """The curve of these scores. Raises EvaluationRefused without acceptances."""
    shares, reached = gains(labels, scores)
    found = np.interp(SHARES, shares, reached)
    points = (
        LiftPoint(share=share, reached=gained, lift=gained / share)
        for share, gained in zip(SHARES, found.tolist(), strict=True)
    )
    return LiftCurve(
        points=tuple(points),
        area=area_under(shares, reached),
        best_area=1.0 - float(labels.mean()) / 2,
    )


def gains(labels: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Corners of the gains curve: share of the rows taken, share of the acceptances reached."""
    accepted = float(labels.sum())
    if not accepted:
        raise EvaluationRefused("lift needs acceptances")
    order = np.argsort(-scores, kind="stable")
    ends = last_of_ties(scores[order])
    taken = np.cumsum(labels[order])[ends]
    shares = np.concatenate([[0.0], (ends + 1) / scores.size])
    return shares, np.concatenate([[0.0], taken / accepted])


def last_of_ties(ordered: Vector) -> NDArray[np.intp]:
    """The positions of the last of each run of equal values."""
    return np.append(np.flatnonzero(np.diff(ordered)), ordered.size - 1)
