"""Calibration that differs between segments: an overall map, then a line through its log-odds for each segment.

A segment is a category of one of the model's own columns (the offer's group, the customer's tier), so that what serves
reads it from the matrix it scores. What is not in any known category keeps the overall map. Plain arrays again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from models.calibration import Calibration, calibration_from, sigmoid
from models.errors import ManifestInvalid

Vector = NDArray[np.float64]

SLOPE_DEVIATION = 0.2
"""Prior standard deviation of a segment's slope around 1: without hundreds of rows it stays there."""
_CERTAIN = 1e-12
_NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentCorrection:
    """The lines of one column's categories in code order: log-odds become `slope * log-odds + intercept`. `rows` and
    `positives` are what each was fitted on."""

    source: ColumnSource
    name: str
    position: int
    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    rows: tuple[int, ...] = ()
    positives: tuple[int, ...] = ()
    _lines: tuple[Vector, Vector] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # One more line at the end, which changes nothing, for what has no category.
        object.__setattr__(self, "_lines", (np.array([*self.slopes, 1.0]), np.array([*self.intercepts, 0.0])))

    def apply(self, log_odds: Vector, matrix: Matrix) -> Vector:
        """The corrected log-odds of the matrix's rows."""
        slopes, intercepts = self._lines
        codes = category_codes(matrix[:, self.position], len(self.slopes))
        return slopes[codes] * log_odds + intercepts[codes]

    def as_mapping(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "source": self.source.value,
            "name": self.name,
            "position": self.position,
            "slopes": list(self.slopes),
            "intercepts": list(self.intercepts),
            "rows": list(self.rows),
            "positives": list(self.positives),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentedCalibration:
    """An overall calibration and the corrections made after it, one column after the other."""

    overall: Calibration
    corrections: tuple[SegmentCorrection, ...]

    def apply(self, margins: Vector) -> Vector:
        """The overall map alone: what a row without any known segment gets."""
        return self.overall.apply(margins)

    def apply_rows(self, margins: Vector, matrix: Matrix) -> Vector:
        """The probabilities of the rows whose margins these are."""
        log_odds = log_odds_of(self.overall.apply(margins))
        for correction in self.corrections:
            log_odds = correction.apply(log_odds, matrix)
        return sigmoid(log_odds)

    def as_mapping(self) -> dict[str, object]:
        """The JSON form, which `scorer_calibration_from` reads."""
        return {
            "kind": "segmented",
            "overall": self.overall.as_mapping(),
            "corrections": [correction.as_mapping() for correction in self.corrections],
        }


def decode_calibration(text: bytes, schema: FeatureSchema) -> Calibration | SegmentedCalibration:
    """The calibration of that JSON. Raises ManifestInvalid."""
    try:
        body = json.loads(text)
        if not isinstance(body, dict):
            raise TypeError("an object is expected")
        return scorer_calibration_from(body, schema)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ManifestInvalid(f"the calibration cannot be read: {type(error).__name__}: {error}") from error


def scorer_calibration_from(mapping: Mapping[str, object], schema: FeatureSchema) -> Calibration | SegmentedCalibration:
    """The calibration of a model over these columns. Raises ManifestInvalid."""
    match mapping:
        case {"kind": "segmented", "overall": dict() as overall, "corrections": list() as corrections}:
            return SegmentedCalibration(
                overall=calibration_from(overall),
                corrections=tuple(_correction(entry, schema) for entry in corrections),
            )
    return calibration_from(mapping)


def fit_segments(
    overall: Calibration, margins: Vector, matrix: Matrix, labels: Vector, columns: Sequence[tuple[int, Column]]
) -> Calibration | SegmentedCalibration:
    """The overall calibration corrected by the categories of these columns, each after those before it."""
    log_odds = log_odds_of(overall.apply(margins))
    corrections = []
    for position, column in columns:
        codes = category_codes(matrix[:, position], len(column.categories or ()))
        corrections.append(_fit_correction(position, column, codes, log_odds, labels))
        log_odds = corrections[-1].apply(log_odds, matrix)
    return SegmentedCalibration(overall=overall, corrections=tuple(corrections)) if corrections else overall


def category_codes(values: Vector, count: int) -> NDArray[np.intp]:
    """The codes as places in a table of `count` categories; anything else has the place after the last."""
    known = (values >= 0) & (values < count)
    return np.where(known, values, count).astype(np.intp)


def log_odds_of(probabilities: Vector) -> Vector:
    """ln(p / (1 - p)), finite at 0 and 1."""
    bounded = np.clip(probabilities, _CERTAIN, 1.0 - _CERTAIN)
    return np.asarray(np.log(bounded) - np.log1p(-bounded), dtype=np.float64)


def _fit_correction(
    position: int, column: Column, codes: NDArray[np.intp], log_odds: Vector, labels: Vector
) -> SegmentCorrection:
    """Lines drawn towards the overall map: by how much is learnt from how far apart the segments lie (empirical
    Bayes), so that small ones hardly leave it, and none does where they do not differ beyond chance."""
    count = len(column.categories or ())
    spread = _intercept_variance(codes, count, log_odds, labels)
    lines, rows, positives = [], [], []
    for code in range(count):
        mine = codes == code
        lines.append(_fit_line(log_odds[mine], labels[mine], spread))
        rows.append(int(mine.sum()))
        positives.append(int(labels[mine].sum()))
    return SegmentCorrection(
        source=column.source,
        name=column.name,
        position=position,
        slopes=tuple(slope for slope, _ in lines),
        intercepts=tuple(intercept for _, intercept in lines),
        rows=tuple(rows),
        positives=tuple(positives),
    )


def _intercept_variance(codes: NDArray[np.intp], count: int, log_odds: Vector, labels: Vector) -> float:
    """The variance between the segments' true shifts, by the moments of DerSimonian and Laird (1986) on one Newton step
    from the overall map; zero where the shifts differ no more than chance makes them."""
    probabilities = sigmoid(log_odds)
    information = np.bincount(codes, probabilities * (1.0 - probabilities), count + 1)[:count]
    score = np.bincount(codes, labels - probabilities, count + 1)[:count]
    seen = information > 0
    weights, shifts = information[seen], score[seen] / information[seen]
    if len(weights) < 2:
        return 0.0
    mean = float((weights * shifts).sum() / weights.sum())
    excess = float((weights * (shifts - mean) ** 2).sum()) - (len(weights) - 1)
    return max(0.0, excess / float(weights.sum() - (weights**2).sum() / weights.sum()))


def _fit_line(log_odds: Vector, labels: Vector, variance: float) -> tuple[float, float]:
    """Slope and intercept with the largest posterior density; the prior is the overall map: slope 1, intercept 0."""
    if variance <= 0.0 or not labels.size:
        return 1.0, 0.0
    prior, precision = np.array([1.0, 0.0]), np.diag([SLOPE_DEVIATION**-2, 1.0 / variance])
    centre = float(log_odds.mean())  # slope and intercept would otherwise stand in for each other
    design = np.column_stack([log_odds - centre, np.ones_like(log_odds)])
    line, offset = prior.copy(), np.full_like(log_odds, centre)
    for _ in range(_NEWTON_STEPS):
        probabilities = sigmoid(design @ line + offset)
        gradient = design.T @ (labels - probabilities) - precision @ (line - prior)
        curvature = (design * (probabilities * (1 - probabilities))[:, None]).T @ design + precision
        step = np.linalg.solve(curvature, gradient)
        line = line + np.clip(step, -1.0, 1.0)
        if float(np.abs(step).max()) < 1e-10:
            break
    slope = max(0.0, float(line[0]))
    return slope, float(line[1]) + centre * (1.0 - slope)


def _correction(entry: object, schema: FeatureSchema) -> SegmentCorrection:
    try:
        if not isinstance(entry, dict):
            raise TypeError("an object is expected")
        correction = SegmentCorrection(
            source=ColumnSource(entry["source"]),
            name=str(entry["name"]),
            position=int(entry["position"]),
            slopes=tuple(float(value) for value in entry["slopes"]),
            intercepts=tuple(float(value) for value in entry["intercepts"]),
            rows=tuple(int(value) for value in entry["rows"]),
            positives=tuple(int(value) for value in entry["positives"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestInvalid(f"a segment correction cannot be read: {type(error).__name__}: {error}") from error
    column = schema.columns[correction.position] if 0 <= correction.position < len(schema.columns) else None
    count = -1 if column is None or column.categories is None else len(column.categories)
    sound = all(np.isfinite([*correction.slopes, *correction.intercepts])) and min(correction.slopes, default=0.0) >= 0
    fits = column is not None and (column.source, column.name) == (correction.source, correction.name)
    if not fits or {len(correction.slopes), len(correction.intercepts)} != {count} or not sound:
        raise ManifestInvalid(
            f"the segments of {correction.name} are not the categories of column {correction.position}"
        )
    return correction
