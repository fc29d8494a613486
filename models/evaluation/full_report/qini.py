"""The Qini curve: how many acceptances more there are for having treated those with the highest scores.

Customers are ordered by score, the highest first. Among the first so many, the gain is the treated ones' outcomes less
the control ones', these brought to as many customers as were treated; divided by all treated customers it is the gain
a treated customer. The Qini coefficient is the area between this curve and the straight line to its end, which is what
treating at random gives: above zero the scores find those on whom treatment works. Who accepts without it is no gain.

Source: N. J. Radcliffe, Using control groups to target on predicted lift, Direct Marketing Analytics Journal (2007).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import EvaluationRefused
from models.evaluation.full_report.curve_area import area_under
from models.evaluation.full_report.lift_curve import last_of_ties
from models.evaluation.intervals import Estimate, normal_estimate

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.intp]

POINTS = 50
FIFTHS = 5
REPLICATES = 500
LEAST_CUSTOMERS = 30
"""In each arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Customers, one element each: the score they had before anything was done, whether they were treated, and what
    came (accepted or not, or a value)."""

    scores: Vector
    treated: Mask
    outcomes: Vector

    def where(self, kept: Mask | Numbers) -> "Trial":
        """The customers of that mask, or at those places in their order."""
        return Trial(scores=self.scores[kept], treated=self.treated[kept], outcomes=self.outcomes[kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class QiniPoint:
    """With the best `share` of the customers treated: the gain a treated customer, its interval at this point, and
    what treating as many at random gains."""

    share: float
    gain: Estimate
    at_random: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftBand:
    """A fifth of the customers by score, the highest first: what came in either arm, and the difference."""

    band: int
    treated: int
    control: int
    treated_mean: float
    control_mean: float
    uplift: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class QiniCurve:
    """The curve with its coefficient, the mean effect of treatment, and the effect by fifth of score."""

    customers: int
    treated: int
    control: int
    uplift: Estimate
    coefficient: Estimate
    points: tuple[QiniPoint, ...]
    bands: tuple[UpliftBand, ...]
    replicates: int
    seed: int


def qini_curve(trial: Trial, seed: int, replicates: int = REPLICATES) -> QiniCurve:
    """The curve, with percentile intervals by bootstrap over customers. Raises EvaluationRefused below thirty customers
    in an arm."""
    treated, control = int(trial.treated.sum()), int((~trial.treated).sum())
    if min(treated, control) < LEAST_CUSTOMERS:
        raise EvaluationRefused(
            f"uplift needs {LEAST_CUSTOMERS} customers in each arm: {treated} treated, {control} in the control arm"
        )
    order = np.argsort(-trial.scores, kind="stable")
    ordered = trial.where(order)
    ends = last_of_ties(ordered.scores)
    grid = np.linspace(0.0, 1.0, POINTS + 1)
    shares, gains = qini_gains(ordered, ends, np.ones(order.size))
    found = np.empty((replicates, grid.size))
    coefficients = np.empty(replicates)
    draws = np.random.default_rng(seed)
    for number in range(replicates):
        times = np.bincount(draws.integers(0, order.size, order.size), minlength=order.size).astype(np.float64)
        drawn_shares, drawn = qini_gains(ordered, ends, times)
        coefficients[number] = coefficient(drawn_shares, drawn)
        found[number] = np.interp(grid, drawn_shares, drawn)
    lows, highs = np.quantile(found, [0.025, 0.975], axis=0)
    low, high = np.quantile(coefficients, [0.025, 0.975])
    values = np.interp(grid, shares, gains)
    return QiniCurve(
        customers=order.size,
        treated=treated,
        control=control,
        uplift=uplift(trial),
        coefficient=Estimate(value=coefficient(shares, gains), low=float(low), high=float(high)),
        points=_points(grid, values, lows, highs),
        bands=_bands(ordered),
        replicates=replicates,
        seed=seed,
    )


def qini_gains(ordered: Trial, ends: Numbers, times: Vector) -> tuple[Vector, Vector]:
    """Corners of the curve for customers in order of score, each counted so many times: share of the customers, and the
    gain a treated customer. Without a control customer yet there is nothing to take off."""
    treated = np.where(ordered.treated, times, 0.0)
    control = times - treated
    counts = [np.cumsum(column)[ends] for column in (treated, control)]
    totals = [np.cumsum(column * ordered.outcomes)[ends] for column in (treated, control)]
    taken_off = np.divide(totals[1] * counts[0], counts[1], out=np.zeros_like(totals[1]), where=counts[1] > 0)
    gains = (totals[0] - taken_off) / max(float(counts[0][-1]), 1.0)
    shares = (counts[0] + counts[1]) / max(float(times.sum()), 1.0)
    return np.concatenate([[0.0], shares]), np.concatenate([[0.0], gains])


def coefficient(shares: Vector, gains: Vector) -> float:
    """The area between the curve and the straight line to its end."""
    return area_under(shares, gains) - float(gains[-1]) / 2


def uplift(trial: Trial) -> Estimate:
    """The mean outcome of the treated less that of the control customers."""
    treated, control = trial.outcomes[trial.treated], trial.outcomes[~trial.treated]
    if min(treated.size, control.size) < 2:
        return Estimate(value=float("nan"), low=-np.inf, high=np.inf)
    variance = treated.var(ddof=1) / treated.size + control.var(ddof=1) / control.size
    return normal_estimate(float(treated.mean() - control.mean()), float(np.sqrt(variance)))


def _points(grid: Vector, values: Vector, lows: Vector, highs: Vector) -> tuple[QiniPoint, ...]:
    end = float(values[-1])
    return tuple(
        QiniPoint(share=share, gain=Estimate(value=value, low=low, high=high), at_random=share * end)
        for share, value, low, high in zip(grid.tolist(), values.tolist(), lows.tolist(), highs.tolist(), strict=True)
    )


def _bands(ordered: Trial) -> tuple[UpliftBand, ...]:
    bands = []
    for number, places in enumerate(np.array_split(np.arange(ordered.scores.size), FIFTHS)):
        part = ordered.where(places)
        treated, control = part.outcomes[part.treated], part.outcomes[~part.treated]
        if min(treated.size, control.size) >= LEAST_CUSTOMERS:
            bands.append(
                UpliftBand(
                    band=number + 1,
                    treated=treated.size,
                    control=control.size,
                    treated_mean=float(treated.mean()),
                    control_mean=float(control.mean()),
                    uplift=uplift(part),
                )
            )
    return tuple(bands)


def distinguishable(found: Estimate) -> bool:
    """Whether the interval leaves out zero."""
    return found.low > 0.0 or found.high < 0.0
