"""The base-rate fallback: every offer's declared acceptance rate, for as long as no model has learnt."""

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from models.errors import MatrixRefused

BASE_RATE_SCHEMA = FeatureSchema((Column(name="base_rate", source=ColumnSource.OFFER),))


class PriorScorer:
    """Answers the `base_rate` column of the offer, held inside [0, 1]; 0 where the rate is missing."""

    __slots__ = ("_version",)

    def __init__(self, version: str = "prior") -> None:
        self._version = version

    @property
    def version(self) -> str:
        return self._version

    @property
    def schema(self) -> FeatureSchema:
        return BASE_RATE_SCHEMA

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        """The base rates. Raises MatrixRefused for a matrix that is not one column wide."""
        if matrix.ndim != 2 or matrix.shape[1] != 1:
            raise MatrixRefused(f"{self._version}: one column expected, got a matrix of shape {matrix.shape}")
        return np.clip(np.nan_to_num(matrix[:, 0], nan=0.0), 0.0, 1.0)
