"""Fitting: trees on the earlier part of the log, calibration on the next, judgement on the last.

The split is by time because the model will serve the future: the last fifth is held out and only judged on, the
fifth of the rest before it stops the boosting and calibrates. Rows of one moment are never parted.
"""

import json
import platform
from dataclasses import dataclass
from hashlib import sha256

import lightgbm
import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import FeatureSchema, Matrix
from models.calibration import Calibration, fit_isotonic, fit_logistic
from models.decision_log.design_matrix import ExampleSet
from models.decision_log.examples import LABEL
from models.decision_log.labelled_rows import Progress
from models.errors import TrainingRefused
from models.evaluation.measures import measure
from models.gbdt_scorer import CALIBRATION_FILE, MODEL_FILE, GbdtScorer
from models.manifest import Manifest, Metric, TrainingData

Vector = NDArray[np.float64]

HELD_OUT_SHARE = 0.2
_ISOTONIC_POSITIVES = 500
"""Fewer positives bend an isotonic curve after noise; two parameters do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to fit. `threads` bounds the processor use; the result depends on the seed, not on the threads."""

    seed: int = 7
    threads: int = 1
    rounds: int = 400
    patience: int = 40
    learning_rate: float = 0.05
    leaves: int = 15
    min_rows_in_leaf: int = 40
    least_rows: int = 500
    least_positives: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A judged model, ready to be registered: the manifest without version and checksums, and the files."""

    draft: Manifest
    files: dict[str, bytes]
    scorer: GbdtScorer


@dataclass(frozen=True, slots=True)
class _Parts:
    """Row positions in time order."""

    fitting: slice
    tuning: slice
    held_out: slice


def fit_model(
    name: str, examples: ExampleSet, attribution_seconds: int, settings: FitSettings, progress: Progress
) -> FittedModel:
    """Fits, calibrates and judges. Deterministic. Raises TrainingRefused naming what is missing."""
    _require_enough(name, examples.labels, settings)
    parts = _split_by_time(examples)
    _require_both_kinds(name, examples.labels, parts)
    progress(f"fitting {examples.matrix.shape[1]} columns on {parts.fitting.stop:,} rows")
    booster = _boost(examples, parts, settings)
    progress(f"{booster.num_trees()} trees; calibrating and judging")
    calibration = _calibrate(booster, examples, parts.tuning)
    text = booster.model_to_string()
    scorer = GbdtScorer(
        version=f"{name}-unregistered",
        schema=examples.schema,
        booster=lightgbm.Booster(model_str=text),
        calibration=calibration,
    )
    draft = Manifest(
        name=name,
        version="",
        kind="gbdt",
        schema=examples.schema,
        files={},
        created_at="",
        data=_data(examples, parts, attribution_seconds),
        metrics=_judged(examples, parts.held_out, scorer),
        seeds=(settings.seed,),
        libraries=_libraries(),
    )
    files = {MODEL_FILE: text.encode(), CALIBRATION_FILE: json.dumps(calibration.as_mapping()).encode()}
    return FittedModel(draft=draft, files=files, scorer=scorer)


def _judged(examples: ExampleSet, rows: slice, scorer: GbdtScorer) -> dict[str, Metric]:
    probabilities = scorer.score(examples.matrix[rows])
    return measure(examples.labels[rows], probabilities, examples.base_rates[rows])


def _require_enough(name: str, labels: Vector, settings: FitSettings) -> None:
    rows, positives = labels.size, int(labels.sum())
    if rows < settings.least_rows or positives < settings.least_positives:
        raise TrainingRefused(
            f"{name}: {rows} labelled rows with {positives} positives; at least {settings.least_rows} rows and "
            f"{settings.least_positives} positives are needed. Gather more responses, or lengthen the period."
        )
    if rows - positives < settings.least_positives:
        raise TrainingRefused(f"{name}: only {rows - positives} of {rows} rows are negative: nothing to tell apart")


def _split_by_time(examples: ExampleSet) -> _Parts:
    times = examples.decided_ms
    if bool(np.any(np.diff(times) < 0)):
        raise TrainingRefused("examples must be in time order")

    def cut(share: float) -> int:
        return int(np.searchsorted(times, times[int(times.size * share)], side="left"))

    held_out = cut(1 - HELD_OUT_SHARE)
    tuning = cut((1 - HELD_OUT_SHARE) ** 2)
    return _Parts(slice(0, tuning), slice(tuning, held_out), slice(held_out, times.size))


def _require_both_kinds(name: str, labels: Vector, parts: _Parts) -> None:
    for title, rows in (("fitting", parts.fitting), ("tuning", parts.tuning), ("held-out", parts.held_out)):
        part = labels[rows]
        if not 0 < part.sum() < part.size:
            raise TrainingRefused(
                f"{name}: the {title} part has {part.size} rows with {int(part.sum())} positives; both kinds are "
                "needed in each. The log covers too short a time, or responses stopped."
            )


def _boost(examples: ExampleSet, parts: _Parts, settings: FitSettings) -> lightgbm.Booster:
    fitting = _dataset(examples, parts.fitting)
    tuning = lightgbm.Dataset(
        examples.matrix[parts.tuning], examples.labels[parts.tuning], reference=fitting, params={"verbose": -1}
    )
    stop = lightgbm.early_stopping(settings.patience, verbose=False)
    booster = lightgbm.train(_parameters(settings), fitting, settings.rounds, valid_sets=[tuning], callbacks=[stop])
    # Kept are the trees up to the best round only, so that every reader of the file predicts alike.
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))


def _dataset(examples: ExampleSet, rows: slice) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        examples.matrix[rows],
        examples.labels[rows],
        categorical_feature=categorical_positions(examples.schema),
        params={"verbose": -1},
        free_raw_data=False,
    )


def categorical_positions(schema: FeatureSchema) -> list[int]:
    """The positions of the columns that hold category codes."""
    return [position for position, column in enumerate(schema.columns) if column.categories is not None]


def _parameters(settings: FitSettings) -> dict[str, object]:
    return {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows_in_leaf,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "cat_smooth": 20.0,
        "seed": settings.seed,
        "num_threads": settings.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _calibrate(booster: lightgbm.Booster, examples: ExampleSet, rows: slice) -> Calibration:
    matrix: Matrix = examples.matrix[rows]
    margins = np.asarray(booster.predict(matrix, raw_score=True, num_threads=1), dtype=np.float64)
    labels = examples.labels[rows]
    return fit_isotonic(margins, labels) if labels.sum() >= _ISOTONIC_POSITIVES else fit_logistic(margins, labels)


def _data(examples: ExampleSet, parts: _Parts, attribution_seconds: int) -> TrainingData:
    digest = sha256(examples.schema.hash.encode())
    for column in (examples.matrix, examples.labels, examples.decided_ms):
        digest.update(np.ascontiguousarray(column).tobytes())
    return TrainingData(
        since_ms=int(examples.decided_ms[0]),
        until_ms=int(examples.decided_ms[-1]) + 1,
        held_out_since_ms=int(examples.decided_ms[parts.held_out][0]),
        rows=int(examples.labels.size),
        positives=int(examples.labels.sum()),
        label=LABEL,
        attribution_seconds=attribution_seconds,
        fingerprint=digest.hexdigest()[:32],
    )


def _libraries() -> dict[str, str]:
    return {"python": platform.python_version(), "lightgbm": lightgbm.__version__, "numpy": np.__version__}
