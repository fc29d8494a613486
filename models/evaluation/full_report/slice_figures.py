"""The same measures for every part of the judged rows: by customer segment, offer group, channel, arm and week."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.errors import EvaluationRefused
from models.evaluation.full_report.binomial_interval import rate_estimate
from models.evaluation.full_report.calibration_curve import CalibrationCurve, calibration_curve
from models.evaluation.full_report.judged_rows import LEAST_ROWS, JudgedRows
from models.evaluation.full_report.lift_curve import LiftCurve, lift_curve
from models.evaluation.full_report.score_stability import auc_or_none
from models.evaluation.intervals import Estimate
from models.evaluation.log_loss import log_loss, log_loss_gain


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFigures:
    """One part. `gain` is how much smaller the log loss is than that of the base rates; None where a figure needs both
    kinds of label and there is one."""

    title: str
    part: str
    rows: int
    customers: int
    acceptance: Estimate
    predicted: float
    auc: Estimate | None
    log_loss: Estimate
    log_loss_base_rates: Estimate
    gain: Estimate
    calibration: CalibrationCurve
    lift: LiftCurve | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTable:
    """All parts of one kind that are large enough to be shown, and how many are not."""

    title: str
    slices: tuple[SliceFigures, ...]
    suppressed: int


def slice_tables(rows: JudgedRows) -> tuple[SliceTable, ...]:
    """A table for each kind of part."""
    return tuple(_table(rows, title) for title in rows.parts)


def slice_figures(rows: JudgedRows, title: str, part: str) -> SliceFigures:
    """The measures of these rows; there must be some."""
    return SliceFigures(
        title=title,
        part=part,
        rows=rows.size,
        customers=int(np.unique(rows.customers).size),
        acceptance=rate_estimate(float(rows.labels.sum()), rows.size),
        predicted=float(rows.probabilities.mean()),
        auc=auc_or_none(rows.labels, rows.probabilities),
        log_loss=log_loss(rows.labels, rows.probabilities),
        log_loss_base_rates=log_loss(rows.labels, rows.base_rates),
        gain=log_loss_gain(rows.labels, rows.probabilities, rows.base_rates),
        calibration=calibration_curve(rows.labels, rows.probabilities),
        lift=_lift(rows),
    )


def _table(rows: JudgedRows, title: str) -> SliceTable:
    found = list(_parts(rows, title))
    shown = tuple(slice_figures(part_rows, title, part) for part, part_rows in found if part_rows.size >= LEAST_ROWS)
    return SliceTable(title=title, slices=shown, suppressed=len(found) - len(shown))


def _parts(rows: JudgedRows, title: str) -> Iterator[tuple[str, JudgedRows]]:
    parts = rows.parts[title]
    for part in np.unique(parts[parts != ""]).tolist():
        yield part, rows.where(parts == part)


def _lift(rows: JudgedRows) -> LiftCurve | None:
    try:
        return lift_curve(rows.labels, rows.probabilities)
    except EvaluationRefused:
        return None
