"""The model card: what a version is for, what it sees, how well it does, where its limits are.

Made of the fit alone, so the same rows and seed give the same bytes. `card.json` is for programs, `card.md` for people;
both are among the files a manifest vouches for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import lightgbm
import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Column
from models.calibration import Calibration
from models.decision_log.design_matrix import ExampleSet
from models.decision_log.input_meanings import InputMeaning
from models.evaluation.full_report.score_stability import auc_or_none
from models.evaluation.intervals import mean_estimate
from models.gbdt_scorer import GbdtScorer
from models.manifest import Manifest, Metric
from models.segment_calibration import SegmentedCalibration, category_codes
from models.training.boosting import directions, positive_weight
from models.training.card_limits import limits
from models.training.disclosure import CONSENT, Disclosure
from models.training.fairness import fairness_table
from models.training.settings import FitSettings
from models.training.time_split import TimeParts

FORMAT = 1
_DIGITS = 6
_DIRECTIONS = {1: "rises", -1: "falls", 0: None}

Card = dict[str, object]
"""A card as JSON holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fit, before it is registered."""

    draft: Manifest
    booster: lightgbm.Booster
    scorer: GbdtScorer
    calibration: Calibration | SegmentedCalibration
    settings: FitSettings
    parts: TimeParts


def card_of(fitted: Fitted, examples: ExampleSet, disclosure: Disclosure) -> Card:
    """Everything there is to say."""
    held_out = fitted.parts.held_out
    labels, probabilities = examples.labels[held_out], fitted.scorer.score(examples.matrix[held_out])
    card: Card = {
        "format": FORMAT,
        "name": fitted.draft.name,
        "family": disclosure.family.value,
        "purpose": disclosure.purpose,
        "target": examples.label,
        "consent": CONSENT,
        "data": _data(fitted, examples),
        "inputs": _inputs(fitted, examples, disclosure),
        "withheld": list(disclosure.withheld),
        "parameters": _parameters(fitted, examples),
        "calibration": _calibration(fitted),
        "metrics": {name: _metric(metric) for name, metric in sorted(fitted.draft.metrics.items())},
        "segments": _segments(fitted, examples, labels, probabilities),
        "fairness": {
            attribute: [asdict(line) for line in fairness_table(groups[held_out], labels, probabilities)]
            for attribute, groups in sorted(disclosure.protected.items())
        },
        "not_judged": sorted(disclosure.not_judged),
        "seeds": list(fitted.draft.seeds),
        "libraries": dict(sorted(fitted.draft.libraries.items())),
    }
    rounded = _rounded({**card, "limits": limits(card, labels, examples.overlap_ms)})
    return rounded if isinstance(rounded, dict) else card


def encode_card(card: Card) -> bytes:
    """As `card.json` holds it."""
    return json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _data(fitted: Fitted, examples: ExampleSet) -> Card:
    data, parts = fitted.draft.data, fitted.parts
    if data is None:
        return {}
    return {
        "since": _moment(data.since_ms),
        "until": _moment(data.until_ms),
        "held_out_since": _moment(data.held_out_since_ms),
        "days": (data.until_ms - data.since_ms) / 86_400_000,
        "window_seconds": data.attribution_seconds,
        "rows": data.rows,
        "positives": data.positives,
        "parts": {
            title: {"rows": int(examples.labels[rows].size), "positives": int(examples.labels[rows].sum())}
            for title, rows in (
                ("fitting", parts.fitting),
                ("validation", parts.validation),
                ("held_out", parts.held_out),
            )
        },
        "fingerprint": data.fingerprint,
    }


def _inputs(fitted: Fitted, examples: ExampleSet, disclosure: Disclosure) -> list[Card]:
    """Every input, the one the trees gained most by first."""
    gains = np.asarray(fitted.booster.feature_importance("gain"), dtype=np.float64)
    shares = gains / max(float(gains.sum()), 1e-12)
    ways = directions(examples.schema, fitted.settings)
    missing = np.isnan(examples.matrix[fitted.parts.fitting]).mean(axis=0)
    lines: list[Card] = []
    for place, column in enumerate(examples.schema.columns):
        meaning = disclosure.meanings.get((column.source, column.name), InputMeaning(description=column.name))
        lines.append(
            {
                "name": column.name,
                "source": column.source.value,
                "kind": "number" if column.categories is None else f"one of {len(column.categories)} texts",
                "description": meaning.description,
                "definition": meaning.definition,
                "gain": float(shares[place]),
                "missing": float(missing[place]),
                "monotone": _DIRECTIONS[ways[place]],
            }
        )
    return sorted(lines, key=lambda line: (-float(str(line["gain"])), str(line["source"]), str(line["name"])))


def _parameters(fitted: Fitted, examples: ExampleSet) -> Card:
    settings = fitted.settings
    columns = {column.name for column in examples.schema.columns}
    return {
        "trees": fitted.booster.num_trees(),
        "most_trees": settings.rounds,
        "patience": settings.patience,
        "learning_rate": settings.learning_rate,
        "leaves": settings.leaves,
        "min_rows_in_leaf": settings.min_rows_in_leaf,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "lambda_l2": settings.lambda_l2,
        "trials": settings.tune,
        "half_life_rows": settings.half_life_rows,
        "grown_again_on_all_rows": settings.regrow or settings.half_life_rows > 0,
        "balance": settings.balance.value,
        "positive_weight": positive_weight(examples.labels[fitted.parts.fitting], settings.balance),
        "rising": sorted(columns.intersection(settings.rising)),
        "falling": sorted(columns.intersection(settings.falling)),
        "not_served": sorted({*settings.rising, *settings.falling} - columns),
    }


def _calibration(fitted: Fitted) -> Card:
    found = fitted.calibration
    overall = found.overall if isinstance(found, SegmentedCalibration) else found
    corrections = found.corrections if isinstance(found, SegmentedCalibration) else ()
    return {
        "kind": overall.as_mapping()["kind"],
        "by": {
            correction.name: [
                {"segment": name, "rows": rows, "positives": positives, "slope": slope, "shift": shift}
                for name, rows, positives, slope, shift in zip(
                    fitted.draft.schema.columns[correction.position].categories or (),
                    *(correction.rows, correction.positives, correction.slopes, correction.intercepts),
                    strict=True,
                )
            ]
            for correction in corrections
        },
    }


def _segments(
    fitted: Fitted, examples: ExampleSet, labels: NDArray[np.float64], probabilities: NDArray[np.float64]
) -> Card:
    """The held-out rows by every column that was calibrated by, and by offer group where there is one."""
    wanted = {*fitted.settings.calibrate_by, "group"}
    matrix = examples.matrix[fitted.parts.held_out]
    return {
        column.name: _by_category(
            column, category_codes(matrix[:, place], len(column.categories)), labels, probabilities
        )
        for place, column in enumerate(examples.schema.columns)
        if column.name in wanted and column.categories is not None
    }


def _by_category(
    column: Column, codes: NDArray[np.intp], labels: NDArray[np.float64], probabilities: NDArray[np.float64]
) -> list[Card]:
    lines: list[Card] = []
    for code, name in enumerate((*(column.categories or ()), "other")):
        mine = codes == code
        if not mine.any():
            continue
        gap = mean_estimate(probabilities[mine] - labels[mine])
        ranking = auc_or_none(labels[mine], probabilities[mine])
        lines.append(
            {
                "segment": name,
                "rows": int(mine.sum()),
                "positives": int(labels[mine].sum()),
                "observed": float(labels[mine].mean()),
                "predicted": float(probabilities[mine].mean()),
                "gap": asdict(gap),
                "auc": None if ranking is None else ranking.value,
            }
        )
    return lines


def _metric(metric: Metric) -> Card:
    return {"value": metric.value, "low": metric.low, "high": metric.high}


def _rounded(value: object) -> object:
    """Figures to six digits after the point, as nobody reads more; what is not finite is None."""
    if isinstance(value, float):
        return round(value, _DIGITS) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _rounded(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(entry) for entry in value]
    return value


def _moment(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
