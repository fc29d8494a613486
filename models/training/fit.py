"""Fitting: trees on the earlier part of the log, calibration on the next, judgement on the last.

The split is by time because the model will serve the future (`time_split`): the last fifth is held out and only judged
on, the fifth of the rest before it stops the boosting, chooses parameters where that was asked for, and calibrates.
"""

import json
import platform
from dataclasses import dataclass, replace
from hashlib import sha256

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration, IdentityCalibration
from models.decision_log.design_matrix import ExampleSet
from models.decision_log.labelled_rows import Progress
from models.drift.reference import REFERENCE_FILE, encode_reference, reference_of
from models.evaluation.measures import measure
from models.gbdt_scorer import CALIBRATION_FILE, MODEL_FILE, GbdtScorer
from models.manifest import Manifest, Metric, TrainingData
from models.segment_calibration import SegmentedCalibration
from models.training.boosting import boost, boost_recent, directions, margins_of, segment_columns
from models.training.calibrating import calibrate
from models.training.card import Fitted, card_of, encode_card
from models.training.card_text import CARD_FILE, CARD_TEXT_FILE, card_text
from models.training.disclosure import Disclosure
from models.training.settings import FitSettings
from models.training.time_split import TimeParts, require_parts, require_rows, split_by_time
from models.training.tuning import tuned

__all__ = ["FitSettings", "FittedModel", "fit_model"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A judged model, ready to be registered: the manifest without version and checksums, and the files."""

    draft: Manifest
    files: dict[str, bytes]
    scorer: GbdtScorer


def fit_model(
    name: str,
    examples: ExampleSet,
    attribution_seconds: int,
    settings: FitSettings,
    progress: Progress,
    disclosure: Disclosure | None = None,
) -> FittedModel:
    """Fits, calibrates, judges and writes the card, which says of the model what `disclosure` knows. Deterministic.
    Raises TrainingRefused naming what is missing."""
    require_rows(name, examples, settings)
    parts = split_by_time(examples)
    require_parts(name, examples, parts, settings)
    directions(examples.schema, settings)  # refused before anything is fitted
    if settings.tune:
        settings = tuned(examples, parts, settings, progress)
    progress(f"fitting {examples.matrix.shape[1]} columns on {parts.fitting.stop:,} rows")
    booster = _grown(examples, parts, settings)
    progress(f"{booster.num_trees()} trees; calibrating and judging")
    calibration = _calibrate(booster, examples, parts, settings)
    scorer = _scorer(name, examples, booster, calibration)
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
    fitted = Fitted(
        draft=draft, booster=booster, scorer=scorer, calibration=calibration, settings=settings, parts=parts
    )
    card = card_of(fitted, examples, disclosure or Disclosure())
    reference = _reference(examples, parts.held_out, scorer, booster)
    if settings.half_life_rows:  # judged as it would have served; what serves has learnt from the judged rows as well
        booster = boost_recent(examples, slice(0, parts.held_out.stop), settings)
        scorer, draft = _scorer(name, examples, booster, calibration), _nothing_held_out(draft)
    files = {
        MODEL_FILE: booster.model_to_string().encode(),
        CALIBRATION_FILE: json.dumps(calibration.as_mapping()).encode(),
        CARD_FILE: encode_card(card),
        CARD_TEXT_FILE: card_text(card).encode(),
        REFERENCE_FILE: reference,
    }
    return FittedModel(draft=draft, files=files, scorer=scorer)


def _grown(examples: ExampleSet, parts: TimeParts, settings: FitSettings) -> lightgbm.Booster:
    if settings.half_life_rows:
        return boost_recent(examples, slice(0, parts.validation.stop), settings)
    return boost(examples, parts, settings)


def _scorer(
    name: str, examples: ExampleSet, booster: lightgbm.Booster, calibration: Calibration | SegmentedCalibration
) -> GbdtScorer:
    return GbdtScorer(
        version=f"{name}-unregistered",
        schema=examples.schema,
        booster=lightgbm.Booster(model_str=booster.model_to_string()),
        calibration=calibration,
    )


def _nothing_held_out(draft: Manifest) -> Manifest:
    data = draft.data
    return draft if data is None else replace(draft, data=replace(data, held_out_since_ms=data.until_ms))


def _reference(examples: ExampleSet, judged: slice, scorer: GbdtScorer, booster: lightgbm.Booster) -> bytes:
    """What later rows are compared with for drift."""
    gains = np.asarray(booster.feature_importance("gain"), dtype=np.float64).tolist()
    return encode_reference(reference_of(examples, scorer.score(examples.matrix[judged]), judged, gains))


def _judged(examples: ExampleSet, rows: slice, scorer: GbdtScorer) -> dict[str, Metric]:
    probabilities = scorer.score(examples.matrix[rows])
    return measure(examples.labels[rows], probabilities, examples.base_rates[rows])


def _calibrate(
    booster: lightgbm.Booster, examples: ExampleSet, parts: TimeParts, settings: FitSettings
) -> Calibration | SegmentedCalibration:
    if settings.half_life_rows:
        return IdentityCalibration()
    rows = parts.validation
    columns = segment_columns(examples.schema, settings.calibrate_by)
    return calibrate(margins_of(booster, examples, rows), examples.matrix[rows], examples.labels[rows], columns)


def _data(examples: ExampleSet, parts: TimeParts, attribution_seconds: int) -> TrainingData:
    digest = sha256(examples.schema.hash.encode())
    for column in (examples.matrix, examples.labels, examples.decided_ms):
        digest.update(np.ascontiguousarray(column).tobytes())
    return TrainingData(
        since_ms=int(examples.decided_ms[0]),
        until_ms=int(examples.decided_ms[-1]) + 1,
        held_out_since_ms=int(examples.decided_ms[parts.held_out][0]),
        rows=int(examples.labels.size),
        positives=int(examples.labels.sum()),
        label=examples.label,
        attribution_seconds=attribution_seconds,
        fingerprint=digest.hexdigest()[:32],
    )


def _libraries() -> dict[str, str]:
    return {"python": platform.python_version(), "lightgbm": lightgbm.__version__, "numpy": np.__version__}
