"""Calibration: monotone maps from a model's raw margin (log-odds scale) to a probability.

Four forms, all plain arrays so that they are stored as JSON and applied with numpy alone: the identity (the
logistic function of the margin itself), a logistic line through the margin, the beta family, and an isotonic curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ManifestInvalid, TrainingRefused

Vector = NDArray[np.float64]

_NEWTON_STEPS = 50
_HALVINGS = 30
_MARGIN_BOUND = 40.0
"""exp(40) is where 1/(1+exp(-x)) is 1 in double precision; beyond it exp only overflows."""


class Calibration(Protocol):
    """A non-decreasing map from margins to probabilities in [0, 1]."""

    def apply(self, margins: Vector) -> Vector: ...

    def as_mapping(self) -> dict[str, object]:
        """The JSON form, which `calibration_from` reads."""
        ...


@dataclass(frozen=True, slots=True)
class IdentityCalibration:
    """The margin is taken as the log-odds it claims to be."""

    def apply(self, margins: Vector) -> Vector:
        return sigmoid(margins)

    def as_mapping(self) -> dict[str, object]:
        return {"kind": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticCalibration:
    """Platt scaling: log-odds are `slope * margin + intercept`, with a slope that is never negative."""

    slope: float
    intercept: float

    def apply(self, margins: Vector) -> Vector:
        return sigmoid(self.slope * margins + self.intercept)

    def as_mapping(self) -> dict[str, object]:
        return {"kind": "logistic", "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaCalibration:
    """Beta calibration (Kull, Silva Filho and Flach 2017): with s the logistic function of the margin, log-odds are
    `rising * ln s - falling * ln(1 - s) + intercept`. Neither factor is negative, so the map never falls."""

    rising: float
    falling: float
    intercept: float

    def apply(self, margins: Vector) -> Vector:
        above, below = _beta_terms(margins)
        return sigmoid(self.rising * above + self.falling * below + self.intercept)

    def as_mapping(self) -> dict[str, object]:
        return {"kind": "beta", "rising": self.rising, "falling": self.falling, "intercept": self.intercept}


@dataclass(frozen=True, slots=True, kw_only=True)
class IsotonicCalibration:
    """Straight lines between the knots `(margins[i], probabilities[i])`, flat outside them."""

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]
    _knots: tuple[Vector, Vector] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Thousands of knots are turned into arrays once, not at every decision.
        object.__setattr__(self, "_knots", (np.array(self.margins), np.array(self.probabilities)))

    def apply(self, margins: Vector) -> Vector:
        return np.asarray(np.interp(margins, *self._knots), dtype=np.float64)

    def as_mapping(self) -> dict[str, object]:
        return {"kind": "isotonic", "margins": list(self.margins), "probabilities": list(self.probabilities)}


def sigmoid(margins: Vector) -> Vector:
    """The logistic function, without overflow."""
    bounded = np.minimum(np.maximum(margins, -_MARGIN_BOUND), _MARGIN_BOUND)  # np.clip, at a fifth of its cost
    return np.asarray(1.0 / (1.0 + np.exp(-bounded)), dtype=np.float64)


def calibration_from(mapping: Mapping[str, object]) -> Calibration:
    """The calibration its `as_mapping` described. Raises ManifestInvalid."""
    match mapping:
        case {"kind": "identity"}:
            return IdentityCalibration()
        case {"kind": "logistic", "slope": float() | int() as slope, "intercept": float() | int() as intercept}:
            return LogisticCalibration(slope=float(slope), intercept=float(intercept))
        case {
            "kind": "beta",
            "rising": float() | int() as rising,
            "falling": float() | int() as falling,
            "intercept": float() | int() as intercept,
        } if rising >= 0 and falling >= 0:
            return BetaCalibration(rising=float(rising), falling=float(falling), intercept=float(intercept))
        case {"kind": "isotonic", "margins": list() as margins, "probabilities": list() as probabilities}:
            return _checked_isotonic([float(m) for m in margins], [float(p) for p in probabilities])
    raise ManifestInvalid(f"calibration is not one of identity, logistic, beta, isotonic: {sorted(mapping)}")


def fit_logistic(margins: Vector, labels: Vector) -> LogisticCalibration:
    """Platt scaling by Newton's method on smoothed targets, so that separable data keep finite lines.

    A negative slope (the margin ranks backwards) is replaced by zero: the base rate for everyone.
    """
    slope, intercept = _fit_line([margins], labels)
    if slope < 0:
        return LogisticCalibration(slope=0.0, intercept=_rate_log_odds(labels))
    return LogisticCalibration(slope=slope, intercept=intercept)


def fit_beta(margins: Vector, labels: Vector) -> BetaCalibration:
    """Beta calibration by logistic regression on ln s and -ln(1 - s), as its authors fit it: a factor that comes out
    negative is left out and the other fitted alone; where both do, the base rate is for everyone."""
    above, below = _beta_terms(margins)
    rising, falling, intercept = _fit_line([above, below], labels)
    if rising < 0:
        rising, (falling, intercept) = 0.0, _fit_line([below], labels)
    elif falling < 0:
        falling, (rising, intercept) = 0.0, _fit_line([above], labels)
    if rising < 0 or falling < 0:
        return BetaCalibration(rising=0.0, falling=0.0, intercept=_rate_log_odds(labels))
    return BetaCalibration(rising=rising, falling=falling, intercept=intercept)


def fit_isotonic(margins: Vector, labels: Vector) -> IsotonicCalibration:
    """The best non-decreasing fit (pool adjacent violators); each pool becomes its first and last margin.

    Every pool's rate is drawn one half observation towards the base rate, so no probability is exactly 0 or 1.
    """
    if margins.size == 0:
        raise TrainingRefused("calibration needs examples")
    order = np.argsort(margins, kind="stable")
    base_rate = (float(labels.sum()) + 0.5) / (labels.size + 1)
    points, starts = np.unique(margins[order], return_index=True)
    sums = np.add.reduceat(labels[order], starts)
    counts = np.diff(np.append(starts, labels.size)).astype(np.float64)
    pools = _pool_violators(sums, counts)
    knots: list[tuple[float, float]] = []
    for first, last, total, count in pools:
        rate = (total + 0.5 * base_rate) / (count + 0.5)
        knots.append((float(points[first]), rate))
        if last > first:
            knots.append((float(points[last]), rate))
    heights = np.maximum.accumulate([height for _, height in knots])
    return IsotonicCalibration(margins=tuple(x for x, _ in knots), probabilities=tuple(float(h) for h in heights))


def _beta_terms(margins: Vector) -> tuple[Vector, Vector]:
    """ln s and -ln(1 - s) of the logistic function s of the margins, without loss at the ends; both rise with them."""
    return -np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)


def _fit_line(terms: Sequence[Vector], labels: Vector) -> tuple[float, ...]:
    """Factors of the terms and the intercept, by Newton's method on smoothed targets."""
    positives, total = float(labels.sum()), float(labels.size)
    if not 0 < positives < total:
        raise TrainingRefused("calibration needs accepted and unaccepted examples")
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (total - positives + 2))
    line = np.array([*np.zeros(len(terms)), _rate_log_odds(labels)])
    design = np.column_stack([*terms, np.ones_like(labels)])
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(design, targets, line)
        line = line + step
        if float(np.abs(step).max()) < 1e-10:
            break
    return tuple(line.tolist())


def _rate_log_odds(labels: Vector) -> float:
    positives, total = float(labels.sum()), float(labels.size)
    return float(np.log(positives / (total - positives)))


def _newton_step(design: Vector, targets: Vector, line: Vector) -> Vector:
    """Newton's step, halved until it does not raise the loss: far from the optimum a full one may overshoot."""
    probabilities = sigmoid(design @ line)
    weights = probabilities * (1 - probabilities)
    curvature = (design * weights[:, None]).T @ design + 1e-9 * np.eye(len(line))
    step = np.asarray(np.linalg.solve(curvature, design.T @ (targets - probabilities)), dtype=np.float64)
    loss = _cross_entropy(design @ line, targets)
    for _ in range(_HALVINGS):
        if _cross_entropy(design @ (line + step), targets) <= loss:
            return step
        step = step / 2
    return np.zeros_like(step)


def _cross_entropy(log_odds: Vector, targets: Vector) -> float:
    return float((np.logaddexp(0.0, log_odds) - targets * log_odds).sum())


def _pool_violators(sums: Vector, counts: Vector) -> list[tuple[int, int, float, float]]:
    pools: list[tuple[int, int, float, float]] = []
    for index, (total, count) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
        first = index
        while pools and pools[-1][2] * count >= total * pools[-1][3]:
            first, _, previous_total, previous_count = pools.pop()
            total += previous_total  # noqa: PLW2901 (the pool grows backwards)
            count += previous_count  # noqa: PLW2901
        pools.append((first, index, total, count))
    return pools


def _checked_isotonic(margins: Sequence[float], probabilities: Sequence[float]) -> IsotonicCalibration:
    rising = all(np.diff(margins) > 0) and all(np.diff(probabilities) >= 0)
    bounded = all(0 <= p <= 1 for p in probabilities) and bool(np.isfinite(margins).all())
    if not margins or len(margins) != len(probabilities) or not rising or not bounded:
        raise ManifestInvalid("isotonic calibration must be equally long, rising knots with probabilities in 0..1")
    return IsotonicCalibration(margins=tuple(margins), probabilities=tuple(probabilities))
