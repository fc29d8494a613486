"""Gradient-boosted trees as a scorer: one native LightGBM call a matrix, then calibration."""

import lightgbm
import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import FeatureSchema, Matrix
from models.calibration import Calibration
from models.errors import ArtifactUnreadable, MatrixRefused

MODEL_FILE = "model.txt"
CALIBRATION_FILE = "calibration.json"


class GbdtScorer:
    """Trees over the schema's columns. Safe to share between requests: scoring changes nothing."""

    __slots__ = ("_booster", "_calibration", "_schema", "_version")

    def __init__(
        self, *, version: str, schema: FeatureSchema, booster: lightgbm.Booster, calibration: Calibration
    ) -> None:
        if booster.num_feature() != len(schema.columns):
            raise ArtifactUnreadable(
                f"{version}: trees over {booster.num_feature()} columns, schema with {len(schema.columns)}"
            )
        self._version = version
        self._schema = schema
        self._booster = booster
        self._calibration = calibration

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
        return self._calibration.apply(self.margins(matrix))

    def margins(self, matrix: Matrix) -> NDArray[np.float64]:
        """Raw log-odds of the trees, before calibration."""
        # One thread: the library's default doubles the CPU of a small call and gives multi-millisecond tails.
        margins = self._booster.predict(np.ascontiguousarray(matrix), raw_score=True, num_threads=1)
        return np.asarray(margins, dtype=np.float64)


def booster_from_text(text: str) -> lightgbm.Booster:
    """The trees of a LightGBM text file. Raises ArtifactUnreadable."""
    try:
        return lightgbm.Booster(model_str=text)
    except (lightgbm.basic.LightGBMError, ValueError, KeyError) as error:
        raise ArtifactUnreadable(f"model file is not a LightGBM text model: {error}") from error
