"""Churn: labels from later snapshots, who is left out, what is no input, and what becomes of the scores."""

import json
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_engine.features.definitions import AttributeInfo, AttributeType, Value
from decision_engine.model_training import Family, ModelTraining, ProtectedGroups
from models.churn_scores import churn_scores
from models.decision_log.protected_attributes import protected_attributes
from models.decision_log.state_snapshots import SnapshotRow, end_of_day, read_states, snapshot_days, write_states
from models.errors import TrainingRefused
from models.training.churn import ChurnQuery, fit_churn, own_attributes
from models.training.fit import FitSettings, FittedModel

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2026, 1, 10)
DAYS = 9
PEOPLE = 700
TRAINING = ModelTraining(
    name="churn",
    family=Family.CHURN,
    horizon_days=10,
    leaves='runoff >= 0.8 && !has_product("loan")',
    score="churn_score",
    falling=("logins",),
    protected=(ProtectedGroups(attribute="gender"),),
)


def info(name: str, kind: AttributeType, source: str = "profile", definition: str = "", **more: bool) -> AttributeInfo:
    return AttributeInfo(
        name=name, type=kind, theme="t", description={"en": name}, source=source, default=None, definition=definition,
        **more,
    )  # fmt: skip


DICTIONARY = {
    i.name: i
    for i in (
        info("logins", AttributeType.INT),
        info("runoff", AttributeType.DOUBLE),
        info("city", AttributeType.STRING),
        info("household", AttributeType.STRING),
        info("gender", AttributeType.STRING, sensitive=True),
        info("seen_at", AttributeType.TIMESTAMP),
        info("churn_score", AttributeType.INT),
        info("segment_leaving", AttributeType.BOOL, "derived", "churn_score >= 70"),
        info("worth_a_call", AttributeType.BOOL, "derived", "segment_leaving && logins > 3"),
    )
}


def person(number: int, day: int, draw: np.random.Generator, leaves_on: int) -> SnapshotRow:
    """Logins fall ten days before somebody leaves; the score of the day before knows it too well."""
    warned, left = day >= leaves_on - 1, day >= leaves_on
    attributes: dict[str, Value] = {
        "logins": int(draw.poisson(1 if warned else 8)),
        "runoff": 0.9 if left else float(draw.uniform(0, 0.5)),
        "city": ("beijing", "shanghai")[number % 2],
        "household": f"h{number}",
        "gender": ("female", "male")[number % 2],
        "seen_at": 1_700_000_000_000 + number,
        "churn_score": 90 if warned else 1,
        "segment_leaving": warned,
        "worth_a_call": warned,
    }
    if number % 7 == 0:
        del attributes["runoff"]  # of these nobody can tell whether they have left
    return SnapshotRow(
        customer_id=f"retail:{number}",
        holdings=frozenset({"loan"} if number % 11 == 0 else {"current_account"}),
        personalised=number % 13 != 0,
        attributes=attributes,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots every ten days; about a seventh of the people leaves in each."""
    draw = np.random.default_rng(3)
    leaves_on = draw.integers(2, 3 * DAYS, PEOPLE)
    root = tmp_path_factory.mktemp("snapshots")
    for day in range(DAYS):
        rows = [person(n, day, draw, int(leaves_on[n])) for n in range(PEOPLE) if not (n % 17 == 0 and day >= 6)]
        write_states(root, FIRST + timedelta(days=10 * day), rows)
    return root


def query(folder: Path, training: ModelTraining = TRAINING) -> ChurnQuery:
    return ChurnQuery(
        training=training, snapshots=folder, dictionary=DICTIONARY, zone=ZONE,
        excluded=frozenset({"gender", "seen_at"}), meanings={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def churn(folder: Path) -> FittedModel:
    return fit_churn(query(folder), FitSettings(rounds=60), lambda _: None)


def test_a_snapshot_is_read_back_as_it_was_written(folder: Path) -> None:
    assert snapshot_days(folder) == [FIRST + timedelta(days=10 * day) for day in range(DAYS)]
    found = read_states(folder, FIRST, ZONE)
    assert found.at_ms == end_of_day(FIRST, ZONE)
    assert (found.at_ms + 1) % 86_400_000 == 16 * 3_600_000  # midnight in Shanghai
    row = found.customers.index("retail:11")
    assert found.holdings[row] == {"loan"} and found.personalised[row]
    assert not found.personalised[found.customers.index("retail:13")]
    assert "runoff" not in found.attributes(found.customers.index("retail:7"), DICTIONARY)


def test_leaving_is_foretold_from_what_was_known_before(churn: FittedModel) -> None:
    metrics = churn.draft.metrics
    assert metrics["auc"].low is not None and metrics["auc"].low > 0.7
    assert metrics["log_loss_gain"].low is not None and metrics["log_loss_gain"].low > 0
    data = churn.draft.data
    assert data is not None
    assert data.label.startswith("has left within 10 days: runoff >= 0.8")
    assert data.attribution_seconds == 10 * 86_400


def test_who_left_before_may_not_be_profiled_or_cannot_be_told_of_is_no_row(churn: FittedModel, folder: Path) -> None:
    expected = positives = 0
    for day in range(DAYS - 1):
        now, later = (read_states(folder, FIRST + timedelta(days=10 * d), ZONE) for d in (day, day + 1))
        after = {customer: row for row, customer in enumerate(later.customers)}
        for row, customer in enumerate(now.customers):
            number = int(customer.removeprefix("retail:"))
            has_loan, told = number % 11 == 0, number % 7 != 0
            here = now.attributes(row, DICTIONARY).get("runoff", 0.0) >= 0.8 and not has_loan
            if number % 13 == 0 or customer not in after or here or not (told or has_loan):
                continue
            expected += 1
            positives += later.attributes(after[customer], DICTIONARY).get("runoff", 0.0) >= 0.8 and not has_loan
    data = churn.draft.data
    assert data is not None
    assert (data.rows, data.positives) == (expected, positives)


def test_the_score_and_what_is_made_of_it_identifiers_and_sensitive_values_are_no_inputs(churn: FittedModel) -> None:
    assert own_attributes(TRAINING, DICTIONARY) == {"churn_score", "segment_leaving", "worth_a_call"}
    assert {column.name for column in churn.draft.schema.columns} == {"logins", "runoff", "city"}


def test_outcomes_of_what_is_learnt_are_known_before_what_is_judged(folder: Path) -> None:
    """With a horizon of two snapshots, one day is left out before each part."""
    longer = ModelTraining(name="churn", family=Family.CHURN, horizon_days=20, leaves=TRAINING.leaves)

    card = json.loads(fit_churn(query(folder, longer), FitSettings(rounds=10), lambda _: None).files["card.json"])
    parts = card["data"]["parts"]
    assert sum(part["rows"] for part in parts.values()) < card["data"]["rows"]
    assert any("20 days before" in limit for limit in card["limits"])


def test_the_same_snapshots_give_the_same_files(churn: FittedModel, folder: Path) -> None:
    assert fit_churn(query(folder), FitSettings(rounds=60), lambda _: None).files == churn.files


def test_scores_are_for_those_who_may_be_profiled(churn: FittedModel, folder: Path) -> None:
    snapshot = read_states(folder, FIRST + timedelta(days=80), ZONE)
    scores = {score.customer_id: score for score in churn_scores(churn.scorer, snapshot)}
    assert set(scores) == set(snapshot.customers)
    assert scores["retail:13"].chance is None and scores["retail:13"].percent == 0
    known = [score for score in scores.values() if score.chance is not None]
    assert all(0 <= score.percent <= 100 for score in known) and len({score.percent for score in known}) > 2


def test_groups_to_be_fair_between_come_from_the_newest_snapshot(folder: Path, tmp_path: Path) -> None:
    found = protected_attributes(TRAINING, folder, ZONE)
    assert found["retail:1"] == {"gender": "male"} and "retail:13" not in found
    assert protected_attributes(TRAINING, tmp_path, ZONE) == {}
    assert protected_attributes(ModelTraining(name="m"), folder, ZONE) == {}


def test_too_few_days_and_snapshots_without_consents_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="three at least"):
        fit_churn(query(tmp_path / "nowhere"), FitSettings(), lambda _: None)

    pq.write_table(pa.table({"customer_id": ["retail:1"], "logins": [1]}), tmp_path / "2026-01-10.parquet")
    with pytest.raises(TrainingRefused, match="consent"):
        read_states(tmp_path, FIRST, ZONE)
