"""Take-up of a first loan: trees on what the service held, judged on a later day, with and without transactions.

Some hundred positives at most: so small trees, strong regularisation, few columns a tree, and the mean of several
seeds, all fixed beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import lightgbm
import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import AttributeInfo
from decision_engine.propensity import FeatureSchema
from models.errors import EvaluationRefused
from models.evaluation.discrimination import auc_estimate
from models.evaluation.intervals import Estimate
from models.evaluation.take_up_data import (
    Observations,
    attribute_schema,
    learnable,
    observe,
    read_first_loans,
    read_snapshot,
    without_transactions,
)
from models.training.boosting import categorical_positions

FIT_DAYS = (date(1993, 6, 30), date(1993, 7, 31), date(1993, 8, 31), date(1993, 9, 30))
TEST_DAY = date(1994, 3, 30)
HORIZON_MONTHS = 6
SEEDS = (1, 2, 3, 4, 5, 6, 7)
ROUNDS = 200

_PARAMETERS: Mapping[str, object] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeUpResult:
    """One set of attributes: how many columns, how well they rank on the test day, and what the trees gained by each
    source of attributes (shares of 1)."""

    title: str
    columns: int
    auc: Estimate
    gain_by_source: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeUpReport:
    """The comparison, with the rows and positives behind it."""

    fit_rows: int
    fit_positives: int
    test_rows: int
    test_positives: int
    results: tuple[TakeUpResult, ...]


def judge_take_up(snapshots: Path, data: Path, dictionary: Mapping[str, AttributeInfo]) -> TakeUpReport:
    """Fits on the earlier snapshots and judges on the last. Raises EvaluationRefused."""
    first_loans = read_first_loans(data)
    fitting = [read_snapshot(snapshots, day) for day in FIT_DAYS]
    test = read_snapshot(snapshots, TEST_DAY)
    sets = (
        ("all attributes", learnable(dictionary)),
        ("without transaction features", without_transactions(dictionary)),
    )
    results = []
    for title, wanted in sets:
        schema = attribute_schema(fitting, wanted)
        fit = _together([observe(snapshot, first_loans, schema, HORIZON_MONTHS) for snapshot in fitting])
        held_out = observe(test, first_loans, schema, HORIZON_MONTHS)
        results.append(_result(title, schema, fit, held_out, dictionary))
    return TakeUpReport(
        fit_rows=fit.labels.size,
        fit_positives=int(fit.labels.sum()),
        test_rows=held_out.labels.size,
        test_positives=int(held_out.labels.sum()),
        results=tuple(results),
    )


def _together(parts: Sequence[Observations]) -> Observations:
    return Observations(
        matrix=np.concatenate([part.matrix for part in parts]), labels=np.concatenate([part.labels for part in parts])
    )


def _result(
    title: str,
    schema: FeatureSchema,
    fit: Observations,
    held_out: Observations,
    dictionary: Mapping[str, AttributeInfo],
) -> TakeUpResult:
    if not schema.columns:
        raise EvaluationRefused(f"{title}: the snapshots hold no such attribute")
    if not 0 < fit.labels.sum() < fit.labels.size:
        raise EvaluationRefused(f"{title}: {int(fit.labels.sum())} of {fit.labels.size} customers took a loan")
    margins = np.zeros(held_out.labels.size)
    gains: NDArray[np.float64] = np.zeros(len(schema.columns))
    for seed in SEEDS:
        rows = lightgbm.Dataset(fit.matrix, fit.labels, categorical_feature=categorical_positions(schema))
        booster = lightgbm.train({**_PARAMETERS, "seed": seed}, rows, ROUNDS)
        margins += booster.predict(held_out.matrix, raw_score=True, num_threads=1)
        gains += booster.feature_importance("gain")
    return TakeUpResult(
        title=title,
        columns=len(schema.columns),
        auc=auc_estimate(held_out.labels, margins),
        gain_by_source=_shares(schema, gains, dictionary),
    )


def _shares(
    schema: FeatureSchema, gains: NDArray[np.float64], dictionary: Mapping[str, AttributeInfo]
) -> dict[str, float]:
    total = max(float(gains.sum()), 1e-12)
    shares: dict[str, float] = {}
    for column, gain in zip(schema.columns, gains.tolist(), strict=True):
        source = f"{dictionary[column.name].theme} / {dictionary[column.name].source}"
        shares[source] = shares.get(source, 0.0) + gain / total
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
