"""Fitting: trees on the earlier part of the log, calibration on the next, judgement on the last.

The split is by time because the model will serve the future (`time_split`): the last fifth is held out and only judged
on, the fifth of the rest before it stops the boosting, chooses parameters where that was asked for, and calibrates.

With `regrow` nothing is spared in what serves: the newest third tells most of how things are now. Once the newest fifth
of the rows that may be learnt from has stopped the boosting and calibrated, as many trees are grown on all of them.
What is said of the model was found in a rehearsal: the same done with the rows before those it is judged on.
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
from models.errors import TrainingRefused
from models.evaluation.measures import measure
from models.gbdt_scorer import CALIBRATION_FILE, MODEL_FILE, GbdtScorer
from models.manifest import Manifest, Metric, TrainingData
from models.segment_calibration import SegmentedCalibration
from models.training.boosting import boost, boost_again, boost_recent, directions, margins_of, segment_columns
from models.training.calibrating import calibrate
from models.training.card import Fitted, card_of, encode_card
from models.training.card_text import CARD_FILE, CARD_TEXT_FILE, card_text
from models.training.disclosure import Disclosure
from models.training.settings import FitSettings
from models.training.time_split import (
    Growing,
    TimeParts,
    growing_until,
    require_parts,
    require_rows,
    split_by_time,
)
from models.training.tuning import tuned

__all__ = ["FitSettings", "FittedModel", "fit_model"]

Vector = NDArray[np.float64]
Grown = tuple[lightgbm.Booster, GbdtScorer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The model as it was judged: its manifest says which rows it had not learnt from."""

    draft: Manifest
    scorer: GbdtScorer


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A judged model, ready to be registered: the manifest without version and checksums, and the files. `rehearsal` is
    the same model unless what serves has learnt from the judged rows since: whoever judges it must take that."""

    draft: Manifest
    files: dict[str, bytes]
    scorer: GbdtScorer
    rehearsal: Rehearsal


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
    if settings.regrow and examples.overlap_ms:
        raise TrainingRefused(f"{name}: regrow is not for outcomes that stay open into later rows")
    if settings.tune:
        settings = tuned(examples, parts, settings, progress)
    progress(f"fitting {examples.matrix.shape[1]} columns on {parts.fitting.stop:,} rows")
    grower = _Grower(name=name, examples=examples, parts=parts, settings=settings)
    booster, scorer = grower.judged()
    progress(f"{booster.num_trees()} trees; judging")
    draft = _draft(name, examples, parts, settings, _judged(examples, parts.held_out, scorer), attribution_seconds)
    fitted = Fitted(
        draft=draft,
        booster=booster,
        scorer=scorer,
        calibration=scorer.calibration,
        settings=settings,
        parts=parts,
    )
    card = card_of(fitted, examples, disclosure or Disclosure())
    reference = _reference(examples, parts.held_out, scorer, booster)
    rehearsal = grower.rehearsal(Rehearsal(draft=draft, scorer=scorer))
    if settings.half_life_rows or settings.regrow:  # judged as it would have served; then the judged rows teach it too
        booster, scorer = grower.served()
        draft = _nothing_held_out(draft)
    files = {
        MODEL_FILE: booster.model_to_string().encode(),
        CALIBRATION_FILE: json.dumps(scorer.calibration.as_mapping()).encode(),
        CARD_FILE: encode_card(card),
        CARD_TEXT_FILE: card_text(card).encode(),
        REFERENCE_FILE: reference,
    }
    return FittedModel(draft=draft, files=files, scorer=scorer, rehearsal=rehearsal)


def _draft(
    name: str,
    examples: ExampleSet,
    parts: TimeParts,
    settings: FitSettings,
    metrics: dict[str, Metric],
    attribution_seconds: int,
) -> Manifest:
    """The manifest, without version and checksums."""
    return Manifest(
        name=name,
        version="",
        kind="gbdt",
        schema=examples.schema,
        files={},
        created_at="",
        data=_data(examples, parts, attribution_seconds),
        metrics=metrics,
        seeds=(settings.seed,),
        libraries=_libraries(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grower:
    """Grows the model that is judged, the one that is rehearsed where that is another, and the one that serves."""

    name: str
    examples: ExampleSet
    parts: TimeParts
    settings: FitSettings

    def judged(self) -> Grown:
        """Has not learnt from the held-out part."""
        if self.settings.half_life_rows:
            rows = slice(0, self.parts.validation.stop)
            return self._scoring(boost_recent(self.examples, rows, self.settings), IdentityCalibration())
        if self.settings.regrow:
            return self._from_all(self.parts.validation.stop)
        booster = boost(self.examples, self.parts.growing, self.settings)
        return self._scoring(booster, self._calibration(booster, self.parts.growing))

    def rehearsal(self, judged: Rehearsal) -> Rehearsal:
        """The judged model, or where the held-out part begins earlier than what is to be rehearsed, one that has learnt
        from all rows until then."""
        data, since_ms = judged.draft.data, self.settings.rehearse_from_ms
        if data is None or not self.settings.regrow or since_ms <= data.held_out_since_ms:
            return judged
        _, scorer = self._from_all(int(np.searchsorted(self.examples.decided_ms, since_ms)))
        return Rehearsal(draft=replace(judged.draft, data=replace(data, held_out_since_ms=since_ms)), scorer=scorer)

    def served(self) -> Grown:
        """Has learnt from all rows."""
        rows = self.parts.held_out.stop
        if self.settings.half_life_rows:
            return self._scoring(boost_recent(self.examples, slice(0, rows), self.settings), IdentityCalibration())
        return self._from_all(rows)

    def _from_all(self, rows: int) -> Grown:
        growing = growing_until(self.examples, rows)
        first = boost(self.examples, growing, self.settings)
        booster = boost_again(self.examples, rows, growing, self.settings, first.num_trees())
        return self._scoring(booster, self._calibration(first, growing))

    def _calibration(self, booster: lightgbm.Booster, growing: Growing) -> Calibration | SegmentedCalibration:
        rows, examples = growing.validation, self.examples
        columns = segment_columns(examples.schema, self.settings.calibrate_by)
        return calibrate(margins_of(booster, examples, rows), examples.matrix[rows], examples.labels[rows], columns)

    def _scoring(self, booster: lightgbm.Booster, calibration: Calibration | SegmentedCalibration) -> Grown:
        scorer = GbdtScorer(
            version=f"{self.name}-unregistered",
            schema=self.examples.schema,
            booster=lightgbm.Booster(model_str=booster.model_to_string()),
            calibration=calibration,
        )
        return booster, scorer


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
