"""Customers of a snapshot as a matrix over a model's columns."""

from collections.abc import Mapping, Sequence

import numpy as np

from decision_engine.features.definitions import Value
from decision_engine.propensity import FeatureSchema, Matrix
from models.decision_log.state_snapshots import StateSnapshot


def snapshot_matrix(snapshot: StateSnapshot, schema: FeatureSchema, rows: Sequence[int]) -> Matrix:
    """Those customers' attributes as a matrix over the columns; what is missing or an unseen category is NaN."""
    matrix = np.full((len(rows), len(schema.columns)), np.nan)
    for position, column in enumerate(schema.columns):
        values = snapshot.columns.get(column.name)
        if values is None:
            continue
        codes = None if column.categories is None else {text: float(i) for i, text in enumerate(column.categories)}
        matrix[:, position] = [_number(values[row], codes) for row in rows]
    return matrix


def _number(value: Value | None, codes: Mapping[str, float] | None) -> float:
    if value is None:
        return float("nan")
    if codes is not None:
        return codes.get(value, float("nan")) if isinstance(value, str) else float("nan")
    return float("nan") if isinstance(value, str) else float(value)
