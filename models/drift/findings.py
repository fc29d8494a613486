"""What has drifted: recent rows and what a version said of them, beside what its training rows looked like.

Six kinds of figures, each with a limit; beyond it is what is also beyond chance:

- `column`: the stability index of a column the model uses. Columns of the calendar move with the calendar, and those of
  the offer with what is decided; both are shown and never count.
- `missing`: by how much the share of missing values of such a column has moved.
- `score`: the stability index of the scores.
- `calibration`: acceptances observed over predicted, followed row by row since the version was made: of all rows, and
  of each offer by itself, as tastes that turn from one offer to another leave the sum as it was.
- `response_rate`: acceptances over those that training's rate would have made, in the same way.
- `label_delay`: the stability index of the time from impression to acceptance.

The alarm, which starts a fit, is calibration alone: wrong probabilities are what a fit puts right. The others are
warnings. Other people being asked moves columns and scores of a model that is right about them all, and
another way of deciding moves the rate of responses; whether a model is wrong about them its calibration tells.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from decision_engine.propensity import ColumnSource
from models.decision_log.design_matrix import ExampleSet
from models.drift.reference import ColumnReference, Distribution, Reference, effective_of
from models.drift.sequential_shift import ALPHA, TOLERANCE, log_capital_needed, sequential_shift
from models.drift.stability import stability
from models.evaluation.intervals import Estimate

Vector = NDArray[np.float64]

_NAMED = 3
"""Columns named in a reason, which is a short text."""
OFFER = "offer"
CALENDAR = frozenset({"hour", "weekday"})


class DriftKind(StrEnum):
    """What a figure is about."""

    COLUMN = "column"
    MISSING = "missing"
    SCORE = "score"
    CALIBRATION = "calibration"
    RESPONSE_RATE = "response_rate"
    LABEL_DELAY = "label_delay"


ALARMING = frozenset({DriftKind.CALIBRATION})
"""What a fit on recent rows answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimits:
    """What counts as drift once it is beyond chance. `recent_rows` are looked at for stability and missing values;
    `calendar` names further columns that move with the calendar."""

    index: float = 0.25
    missing: float = 0.1
    tolerance: float = TOLERANCE
    alpha: float = ALPHA
    least_importance: float = 0.01
    recent_rows: int = 5_000
    calendar: frozenset[str] = CALENDAR


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFigure:
    """One figure, and whether it is beyond its limit (of size, and of what chance makes) in a way that counts, which
    only `watched` ones may be. `interval` is 95 %."""

    kind: DriftKind
    name: str
    value: float
    limit: float
    beyond: bool
    watched: bool = True
    interval: Estimate | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """All figures of one look at one version: `rows` since it was made, of which the newest `recent` were compared."""

    version: str
    rows: int
    recent: int
    positives: int
    figures: tuple[DriftFigure, ...] = field(default=())

    @property
    def alarms(self) -> tuple[DriftFigure, ...]:
        """The figures beyond their limits that a fit answers."""
        return tuple(figure for figure in self.figures if figure.beyond and figure.kind in ALARMING)

    @property
    def warnings(self) -> tuple[DriftFigure, ...]:
        """The figures beyond their limits that people should look at."""
        return tuple(figure for figure in self.figures if figure.beyond and figure.kind not in ALARMING)

    @property
    def reason(self) -> str | None:
        """What a fit that this starts is for; None without an alarm."""
        if not self.alarms:
            return None
        moved = list(dict.fromkeys(f.name for f in self.warnings if f.kind is DriftKind.COLUMN))[:_NAMED]
        kinds = ",".join(dict.fromkeys(figure.kind.value for figure in self.alarms))
        return f"drift:{kinds}" + (f" (moved: {', '.join(moved)})" if moved else "")

    def worst(self, kind: DriftKind) -> DriftFigure | None:
        """The figure of a kind that is furthest beyond its limit, watched ones only; None without any."""
        mine = [figure for figure in self.figures if figure.kind is kind and figure.watched]
        # Of ratios the one over all rows, which comes first, unless another is beyond.
        sized = kind not in {DriftKind.CALIBRATION, DriftKind.RESPONSE_RATE}
        return max(mine, key=lambda figure: (figure.beyond, figure.value if sized else 0.0), default=None)


def drift_report(
    version: str, reference: Reference, examples: ExampleSet, probabilities: Vector, limits: DriftLimits | None = None
) -> DriftReport:
    """Compares rows the version never learnt from, in time order, with its reference. Columns must be its own."""
    chosen = limits or DriftLimits()
    rows = int(examples.labels.size)
    if not rows:
        return DriftReport(version=version, rows=0, recent=0, positives=0)
    recent = slice(max(0, rows - chosen.recent_rows), rows)
    figures = (
        *_column_figures(reference, examples, recent, chosen),
        _score(reference.scores, examples, probabilities, recent, chosen),
        *_calibrations(examples, probabilities, chosen),
        _shift(DriftKind.RESPONSE_RATE, examples.labels, np.full(rows, reference.response_rate), chosen),
        *_delay(reference.delays, examples, recent, chosen),
    )
    return DriftReport(
        version=version,
        rows=rows,
        recent=recent.stop - recent.start,
        positives=int(examples.labels.sum()),
        figures=figures,
    )


def _column_figures(
    reference: Reference, examples: ExampleSet, recent: slice, limits: DriftLimits
) -> Iterator[DriftFigure]:
    matrix = examples.matrix[recent]
    worth = _worth(examples, recent)
    # One false alarm in so many looks over all columns together.
    alpha = limits.alpha / max(1, 2 * len(reference.columns))
    for column, values in zip(reference.columns, matrix.T, strict=True):
        watched = _watched(column, limits)
        before = column.distribution
        found = stability(np.array(before.counts), before.bins.counts(values), (before.effective, worth), alpha)
        yield DriftFigure(
            kind=DriftKind.COLUMN,
            name=column.name,
            value=found.excess,
            limit=max(limits.index, found.limit - found.expected),
            beyond=watched and found.shifted(limits.index),
            watched=watched,
            detail=f"index {found.index:.3f}, {found.expected:.3f} by chance",
        )
        yield _missing(column, values, worth, limits, alpha if watched else 0.0)


def _watched(column: ColumnReference, limits: DriftLimits) -> bool:
    used = column.importance is None or column.importance >= limits.least_importance
    return used and column.source != ColumnSource.OFFER.value and column.name not in limits.calendar


def _missing(column: ColumnReference, values: Vector, worth: float, limits: DriftLimits, alpha: float) -> DriftFigure:
    """By the normal approximation, at a share in the middle of both, half a row added to each side."""
    before, after = column.distribution.missing, float(np.isnan(values).mean())
    effective = column.distribution.effective
    middle = (before * effective + after * worth + 0.5) / (effective + worth + 1.0)
    error = float(np.sqrt(middle * (1 - middle) * (1 / max(effective, 1.0) + 1 / max(worth, 1.0))))
    chance = float("inf") if alpha <= 0 else error * float(-ndtri(alpha / 2))
    moved = abs(after - before)
    return DriftFigure(
        kind=DriftKind.MISSING,
        name=column.name,
        value=moved,
        limit=max(limits.missing, chance) if alpha > 0 else limits.missing,
        beyond=moved >= limits.missing and moved > chance,
        watched=alpha > 0,
        detail=f"missing {before:.1%} in training, {after:.1%} now",
    )


def _score(
    before: Distribution, examples: ExampleSet, probabilities: Vector, recent: slice, limits: DriftLimits
) -> DriftFigure:
    scores = probabilities[recent]
    found = stability(
        np.array(before.counts), before.bins.counts(scores), (before.effective, _worth(examples, recent)), limits.alpha
    )
    return DriftFigure(
        kind=DriftKind.SCORE,
        name="score",
        value=found.excess,
        limit=max(limits.index, found.limit - found.expected),
        beyond=found.shifted(limits.index),
        detail=f"index {found.index:.3f}, {found.expected:.3f} by chance",
    )


def _calibrations(examples: ExampleSet, probabilities: Vector, limits: DriftLimits) -> Iterator[DriftFigure]:
    """Half of the false alarms that are allowed go to all rows together, half to the offers in equal parts."""
    offers = _offer_column(examples)
    if offers is None:
        yield _shift(DriftKind.CALIBRATION, examples.labels, probabilities, limits)
        return
    codes, names = offers
    half = limits.alpha / 2
    yield _shift(DriftKind.CALIBRATION, examples.labels, probabilities, replace(limits, alpha=half))
    each = replace(limits, alpha=half / len(names))
    for code, name in enumerate(names):
        mine = codes == code
        if mine.any():
            found = _shift(DriftKind.CALIBRATION, examples.labels[mine], probabilities[mine], each)
            yield replace(found, name=f"{OFFER} {name}")


def _offer_column(examples: ExampleSet) -> tuple[Vector, tuple[str, ...]] | None:
    for column, values in zip(examples.schema.columns, examples.matrix.T, strict=True):
        if column.name == OFFER and column.source is ColumnSource.OFFER and column.categories:
            return values, column.categories
    return None


def _shift(kind: DriftKind, labels: Vector, said: Vector, limits: DriftLimits) -> DriftFigure:
    """`value` is observed over said; the limit is the tolerance, and the alarm that of the sequential test."""
    found = sequential_shift(labels, said, limits.tolerance, limits.alpha)
    observed, expected = float(labels.sum()), float(said.sum())
    needed = log_capital_needed(limits.alpha)
    capital = max(found.log_more, found.log_less)
    text = f"{observed:.0f} came where {expected:.1f} were said; evidence {capital:.1f} of {needed:.1f} needed"
    if found.alarmed_at is not None:
        text += f", {found.direction} since row {found.alarmed_at + 1:,} at the latest"
    return DriftFigure(
        kind=kind,
        name=kind.value,
        value=observed / expected if expected else float("inf"),
        limit=float(np.exp(limits.tolerance)),
        beyond=found.alarmed_at is not None,
        interval=_count_interval(observed, expected),
        detail=text,
    )


def _count_interval(observed: float, expected: float) -> Estimate:
    """Exact 95 % interval of a Poisson count over what was said (F. Garwood, Biometrika 28, 1936)."""
    scale = expected or float("nan")
    low = float(chdtri(2 * observed, 0.975)) / 2 if observed else 0.0
    high = float(chdtri(2 * (observed + 1), 0.025)) / 2
    return Estimate(value=observed / scale, low=low / scale, high=high / scale)


def _delay(
    before: Distribution | None, examples: ExampleSet, recent: slice, limits: DriftLimits
) -> Iterator[DriftFigure]:
    if before is None or examples.delays_ms is None:
        return
    delays = examples.delays_ms[recent]
    known = delays[~np.isnan(delays)]
    found = stability(
        np.array(before.counts), before.bins.counts(known), (before.effective, float(known.size)), limits.alpha
    )
    median = float(np.median(known)) / 1000 if known.size else float("nan")
    yield DriftFigure(
        kind=DriftKind.LABEL_DELAY,
        name="label_delay",
        value=found.excess,
        limit=max(limits.index, found.limit - found.expected),
        beyond=found.shifted(limits.index),
        detail=f"median {median:,.0f} s now; index {found.index:.3f}, {found.expected:.3f} by chance",
    )


def _worth(examples: ExampleSet, rows: slice) -> float:
    customers = None if examples.customers is None else examples.customers[rows]
    return effective_of(customers, rows.stop - rows.start)
