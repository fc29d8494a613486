"""A version in the shadow beside the one that served, on the same options that customers saw and answered."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from event_schemas.codec import DecodeError, decode
from event_schemas.shadow_scores import ModelShadowScored, ShadowScores
from event_schemas.topics import SHADOW_SCORES
from models.decision_log.archive_files import EVERYTHING, TimeRange, archive_files, read_rows
from models.decision_log.examples import Example
from models.decision_log.labelled_rows import LogQuery, Progress, labelled_examples
from models.errors import EvaluationRefused
from models.evaluation.discrimination import auc_estimate
from models.evaluation.intervals import Estimate
from models.evaluation.log_loss import log_loss, log_loss_gain


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowComparison:
    """Both on the same rows. `gain` is what the shadow's log loss is below the serving version's, row by row."""

    version: str
    rows: int
    positives: int
    served_auc: Estimate
    shadow_auc: Estimate
    served_log_loss: Estimate
    shadow_log_loss: Estimate
    gain: Estimate


def read_shadow_scores(root: Path, model: str, version: str, wanted: TimeRange = EVERYTHING) -> Iterator[ShadowScores]:
    """What that version said, as archived; repeats included."""
    for file in archive_files(root, SHADOW_SCORES, wanted):
        for row in read_rows(file, ("time", "value")):
            moment, value = row["time"], row["value"]
            if not isinstance(value, str) or not wanted.includes(moment if isinstance(moment, datetime) else None):
                continue
            try:
                event = decode(value.encode())
            except DecodeError:
                continue
            if isinstance(event, ModelShadowScored) and (event.data.model, event.data.version) == (model, version):
                yield event.data


def compare_shadow(query: LogQuery, version: str, progress: Progress) -> ShadowComparison:
    """Joins the shadow's scores with what was served and how it was answered, by decision and offer. Raises
    EvaluationRefused when there is nothing to compare, TrainingRefused when no offer is scored by the model."""
    said = {
        (scores.decision_id, offer): score
        for scores in read_shadow_scores(query.archive, query.model, version, query.period)
        for offer, score in zip(scores.offers, scores.scores, strict=True)
    }
    progress(f"{len(said):,} scores of {version}")
    pairs = [
        (example.accepted, before, instead)
        for example in labelled_examples(query, progress)
        if (instead := said.get((example.decision.decision_id, example.offer.offer))) is not None
        and (before := _served(example)) is not None
    ]
    if not pairs:
        raise EvaluationRefused(f"{version}: none of its scores belongs to an option that was seen and is closed")
    labels, served, shadow = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    return ShadowComparison(
        version=version,
        rows=len(pairs),
        positives=int(labels.sum()),
        served_auc=auc_estimate(labels, served),
        shadow_auc=auc_estimate(labels, shadow),
        served_log_loss=log_loss(labels, served),
        shadow_log_loss=log_loss(labels, shadow),
        gain=log_loss_gain(labels, shadow, served),
    )


def comparison_rows(comparison: ShadowComparison) -> list[tuple[str, str, str]]:
    """Measure, serving version, shadow."""
    return [
        ("measure", "served", "shadow"),
        ("AUC", _shown(comparison.served_auc), _shown(comparison.shadow_auc)),
        ("log loss", _shown(comparison.served_log_loss), _shown(comparison.shadow_log_loss)),
        ("log loss gained", "", _shown(comparison.gain)),
        ("rows", f"{comparison.rows:,}", f"{comparison.rows:,}"),
        ("positives", f"{comparison.positives:,}", f"{comparison.positives:,}"),
    ]


def _served(example: Example) -> float | None:
    """The propensity the option was served with."""
    found: Mapping[str, float | None] = {option.offer: option.propensity for option in example.decision.options}
    return found.get(example.offer.offer)


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.5f} [{estimate.low:.5f}, {estimate.high:.5f}]"
