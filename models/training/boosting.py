"""The trees: LightGBM on the fitting part, stopped by the validation part.

Missing values are a branch of their own in every split. Positives may be weighted up where they are rare; the log-odds
are then too high by the logarithm of the weight, which is taken off before the validation loss is looked at, and the
calibration on unweighted rows puts the probabilities right.
"""

from collections.abc import Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from decision_engine.model_training import Balance
from decision_engine.propensity import Column, FeatureSchema
from models.calibration import sigmoid
from models.decision_log.design_matrix import ExampleSet
from models.errors import TrainingRefused
from models.evaluation.log_loss import losses
from models.segment_calibration import log_odds_of
from models.training.settings import FitSettings
from models.training.time_split import Growing

Vector = NDArray[np.float64]
_LOSS = "validation_loss"


def boost(examples: ExampleSet, parts: Growing, settings: FitSettings) -> lightgbm.Booster:
    """The trees up to the best round only, so that every reader of the file predicts alike. Raises TrainingRefused."""
    weight = positive_weight(examples.labels[parts.fitting], settings.balance)
    fitting = _dataset(examples, parts.fitting, weight)
    validation = lightgbm.Dataset(
        examples.matrix[parts.validation], examples.labels[parts.validation], reference=fitting, params={"verbose": -1}
    )
    booster = lightgbm.train(
        {**_parameters(settings), **_constraints(examples.schema, settings), **_metric(weight)},
        fitting,
        settings.rounds,
        valid_sets=[validation],
        feval=None if weight == 1.0 else _unweighted_loss(weight),
        callbacks=[lightgbm.early_stopping(settings.patience, verbose=False)],
    )
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))


def boost_recent(examples: ExampleSet, rows: slice, settings: FitSettings) -> lightgbm.Booster:
    """All of `rounds` trees on these rows, newer ones counting more. Raises TrainingRefused."""
    if settings.balance is not Balance.NONE:
        raise TrainingRefused("half_life_rows leaves out the calibration that balance needs: leave one of them out")
    age = np.arange(examples.labels[rows].size, dtype=np.float64)[::-1]
    data = _dataset(examples, rows, 1.0).set_weight(np.exp2(-age / settings.half_life_rows))
    return lightgbm.train({**_parameters(settings), **_constraints(examples.schema, settings)}, data, settings.rounds)


def boost_again(examples: ExampleSet, rows: int, parts: Growing, settings: FitSettings, trees: int) -> lightgbm.Booster:
    """So many trees on the first so many rows. Positives weigh what they weighed in `boost` on these parts, as the
    calibration goes by that."""
    data = _dataset(examples, slice(0, rows), positive_weight(examples.labels[parts.fitting], settings.balance))
    return lightgbm.train({**_parameters(settings), **_constraints(examples.schema, settings)}, data, trees)


def margins_of(booster: lightgbm.Booster, examples: ExampleSet, rows: slice) -> Vector:
    """The raw log-odds of these rows."""
    margins = booster.predict(examples.matrix[rows], raw_score=True, num_threads=1)
    return np.asarray(margins, dtype=np.float64)


def positive_weight(labels: Vector, balance: Balance) -> float:
    """What a positive row weighs: 1, the negatives a positive, or the root of that."""
    negatives_each = float(labels.size - labels.sum()) / max(1.0, float(labels.sum()))
    match balance:
        case Balance.NONE:
            return 1.0
        case Balance.SQRT:
            return max(1.0, float(np.sqrt(negatives_each)))
        case Balance.FULL:
            return max(1.0, negatives_each)


def directions(schema: FeatureSchema, settings: FitSettings) -> list[int]:
    """For every column 1 where the score may only rise with it, -1 where it may only fall, else 0. Raises
    TrainingRefused for a column of categories, which have no order."""
    wanted = dict.fromkeys(settings.rising, 1) | dict.fromkeys(settings.falling, -1)
    for column in schema.columns:
        if column.name in wanted and column.categories is not None:
            raise TrainingRefused(f"{column.name} holds categories: nothing can rise or fall with it")
    return [wanted.get(column.name, 0) for column in schema.columns]


def categorical_positions(schema: FeatureSchema) -> list[int]:
    """The positions of the columns that hold category codes."""
    return [position for position, column in enumerate(schema.columns) if column.categories is not None]


def segment_columns(schema: FeatureSchema, names: Sequence[str]) -> list[tuple[int, Column]]:
    """The text columns of these names and their positions, in the order of the names; those not there are left out."""
    found = {column.name: (place, column) for place, column in enumerate(schema.columns) if column.categories}
    return [found[name] for name in names if name in found]


def _dataset(examples: ExampleSet, rows: slice, weight: float) -> lightgbm.Dataset:
    labels = examples.labels[rows]
    return lightgbm.Dataset(
        examples.matrix[rows],
        labels,
        weight=None if weight == 1.0 else np.where(labels > 0, weight, 1.0),
        categorical_feature=categorical_positions(examples.schema),
        params={"verbose": -1},
        free_raw_data=False,
    )


def _constraints(schema: FeatureSchema, settings: FitSettings) -> dict[str, object]:
    found = directions(schema, settings)
    return {"monotone_constraints": found} if any(found) else {}


def _metric(weight: float) -> dict[str, object]:
    return {"metric": "binary_logloss" if weight == 1.0 else "None"}


def _unweighted_loss(weight: float) -> Any:
    """The log loss of what the weighted trees say once the weight is taken off again."""
    shift = float(np.log(weight))

    def loss(probabilities: Vector, data: lightgbm.Dataset) -> tuple[str, float, bool]:
        labels = np.asarray(data.get_label(), dtype=np.float64)
        return _LOSS, float(losses(labels, sigmoid(log_odds_of(np.asarray(probabilities)) - shift)).mean()), False

    return loss


def _parameters(settings: FitSettings) -> dict[str, object]:
    return {
        "objective": "binary",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows_in_leaf,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "lambda_l2": settings.lambda_l2,
        "cat_smooth": 20.0,
        "seed": settings.seed,
        "num_threads": settings.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
