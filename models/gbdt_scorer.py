"""Gradient-boosted trees as a scorer: one native LightGBM call a matrix, then calibration."""

import lightgbm
import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import FeatureSchema, Matrix
from models.calibration import Calibration
from models.errors import ArtifactUnreadable, MatrixRefused
from models.exact_forms import MarginForm
from models.segment_calibration import SegmentedCalibration

MODEL_FILE = "model.txt"
CALIBRATION_FILE = "calibration.json"


class BoosterForm:
    """LightGBM's own call: what every other form of the trees is measured by."""

    name = "booster"
    __slots__ = ("_booster",)

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    def margins(self, matrix: Matrix) -> NDArray[np.float64]:
        """One margin a row."""
        # One thread: the library's default doubles the CPU of a small call and gives multi-millisecond tails.
        margins = self._booster.predict(matrix, raw_score=True, num_threads=1)
        return np.asarray(margins, dtype=np.float64)


class GbdtScorer:
    """Trees over the schema's columns. Safe to share between requests: scoring changes nothing."""

    __slots__ = ("_booster", "_calibration", "_form", "_schema", "_version")

    def __init__(
        self,
        *,
        version: str,
        schema: FeatureSchema,
        booster: lightgbm.Booster,
        calibration: Calibration | SegmentedCalibration,
    ) -> None:
        if booster.num_feature() != len(schema.columns):
            raise ArtifactUnreadable(
                f"{version}: trees over {booster.num_feature()} columns, schema with {len(schema.columns)}"
            )
        self._version = version
        self._schema = schema
        self._booster = booster
        self._calibration = calibration
        self._form: MarginForm = BoosterForm(booster)

    @property
    def calibration(self) -> Calibration | SegmentedCalibration:
        """What turns its margins into probabilities."""
        return self._calibration

    @property
    def version(self) -> str:
        return self._version

    @property
    def schema(self) -> FeatureSchema:
        return self._schema

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        """Calibrated probabilities. Raises MatrixRefused for another width than the schema's."""
        if matrix.ndim != 2 or matrix.shape[1] != len(self._schema.columns):
            raise MatrixRefused(
                f"{self._version}: {len(self._schema.columns)} columns expected, got a matrix of shape {matrix.shape}"
            )
        if not matrix.shape[0]:
            return np.empty(0)
        return self.calibrated(self.margins(matrix), matrix)

    def calibrated(self, margins: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
        """The probabilities that these margins stand for in these rows, which may tell the segment."""
        if isinstance(self._calibration, SegmentedCalibration):
            return self._calibration.apply_rows(margins, matrix)
        return self._calibration.apply(margins)

    def margins(self, matrix: Matrix) -> NDArray[np.float64]:
        """Raw log-odds of the trees, before calibration."""
        return self._form.margins(np.ascontiguousarray(matrix, dtype=np.float64))

    def contributions(self, matrix: Matrix) -> Matrix:
        """By row what each column adds to the margin (exact tree SHAP), and last the margin it is added to; a row's sum
        is its margin. Thousands of times as slow as scoring: for explanations and reports."""
        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        found = self._booster.predict(rows, pred_contrib=True, num_threads=1)
        return np.asarray(found, dtype=np.float64).reshape(len(rows), len(self._schema.columns) + 1)

    def column_gains(self) -> NDArray[np.float64]:
        """By column what its splits gained in fitting, in units of the loss."""
        return np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)

    @property
    def form(self) -> str:
        """By what the trees are walked: `booster`, or the name of a faster form."""
        return self._form.name

    @property
    def reference(self) -> MarginForm:
        """LightGBM's own call, whatever the trees are walked by."""
        return BoosterForm(self._booster)

    def text(self) -> str:
        """The trees as LightGBM writes them."""
        return str(self._booster.model_to_string())

    def walked_by(self, form: MarginForm) -> "GbdtScorer":
        """The same scorer over a form that was found exact."""
        other = GbdtScorer(
            version=self._version, schema=self._schema, booster=self._booster, calibration=self._calibration
        )
        other._form = form
        return other


def booster_from_text(text: str) -> lightgbm.Booster:
    """The trees of a LightGBM text file. Raises ArtifactUnreadable."""
    try:
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError, KeyError) as error:
        raise ArtifactUnreadable(f"model file is not a LightGBM text model: {error}") from error
