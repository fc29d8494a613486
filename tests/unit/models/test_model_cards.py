"""The card of a model: what it says, that it is told from the fit alone, and that it cannot be changed unnoticed."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from decision_engine.model_training import Family, ModelTraining, ProtectedGroups
from decision_engine.propensity import ColumnSource
from models.decision_log.design_matrix import ExampleSet
from models.decision_log.examples import Example
from models.decision_log.input_meanings import InputMeaning
from models.decision_log.labelled_rows import LogQuery
from models.errors import ChecksumMismatch
from models.registry import ModelRegistry
from models.training.disclosure import UNKNOWN, disclosure_of, group_of
from models.training.fairness import LEAST_POSITIVES, fairness_table
from models.training.fit import FitSettings, FittedModel, fit_model
from models.training.pipeline import fit_query
from models.training.recorded_groups import recorded_groups
from services.adapters.parquet_archive import ParquetArchive
from services.workers.learner import Learner
from services.workers.learner_tools import LearnerTools
from services.workers.learning_schedule import LearningSchedule

CREATED = datetime(2026, 3, 4, tzinfo=UTC)
TRAINING = ModelTraining(
    name="cross_sell",
    purpose={"zh-CN": "推荐", "en": "Ranks cards"},
    protected=(ProtectedGroups(attribute="gender"), ProtectedGroups(attribute="age", bands=(30.0, 60.0))),
)
MEANINGS = {(ColumnSource.ATTRIBUTE, "spend"): InputMeaning(description="Card spend", definition="sum | 30 days")}


def carded(rows: ExampleSet, **settings: object) -> FittedModel:
    """A model whose rows alternate between women and men and go through three ages."""
    people = [{"gender": ("female", "male")[i % 2], "age": (25, 45, 70)[i % 3]} for i in range(rows.labels.size)]
    people[-1] = {}
    disclosure = disclosure_of(TRAINING, MEANINGS, ["gender", "risk_level"], people)
    wishes = FitSettings(**{"rounds": 60, "calibrate_by": ("group",), "rising": ("spend", "aum"), **settings})  # type: ignore[arg-type]
    return fit_model("cross_sell", rows, 60, wishes, lambda _: None, disclosure)


@pytest.fixture(scope="module")
def card_files(example_rows: ExampleSet) -> dict[str, bytes]:
    return carded(example_rows).files


@pytest.fixture
def card(card_files: dict[str, bytes]) -> dict[str, object]:
    found: dict[str, object] = json.loads(card_files["card.json"])
    return found


def test_a_card_says_what_a_model_is_for_and_made_of(card: dict, example_rows: ExampleSet) -> None:  # type: ignore[type-arg]
    assert (card["name"], card["family"], card["purpose"]) == ("cross_sell", "cross_sell", "Ranks cards")
    assert card["target"] == "accept or convert after an impression"
    assert "refused personalisation" in card["consent"]
    data = card["data"]
    assert (data["rows"], data["positives"]) == (2500, int(example_rows.labels.sum()))
    assert sum(part["rows"] for part in data["parts"].values()) == 2500
    assert (data["since"], data["window_seconds"]) == ("2026-03-02T08:00:00Z", 60)
    assert card["withheld"] == ["gender", "risk_level"]
    assert card["parameters"]["rising"] == ["spend"] and card["parameters"]["not_served"] == ["aum"]


def test_inputs_are_listed_by_what_the_trees_gained_with_their_meaning(card: dict, example_rows: ExampleSet) -> None:  # type: ignore[type-arg]
    inputs = card["inputs"]
    assert len(inputs) == len(example_rows.schema.columns)
    assert inputs[0]["name"] == "spend" and inputs[0]["description"] == "Card spend"
    assert inputs[0]["monotone"] == "rises"
    assert sum(line["gain"] for line in inputs) == pytest.approx(1.0, abs=1e-4)
    assert [line["gain"] for line in inputs] == sorted((line["gain"] for line in inputs), reverse=True)


def test_figures_of_the_card_are_those_of_the_manifest(example_rows: ExampleSet) -> None:
    fitted = carded(example_rows)
    card = json.loads(fitted.files["card.json"])
    for name, metric in fitted.draft.metrics.items():
        assert card["metrics"][name]["value"] == pytest.approx(metric.value, abs=1e-6)
    (group,) = card["segments"]["group"]
    assert group["rows"] == fitted.draft.metrics["rows"].value
    assert group["auc"] == pytest.approx(fitted.draft.metrics["auc"].value, abs=1e-6)


def test_fairness_is_judged_by_declared_groups_on_the_judged_rows(card: dict) -> None:  # type: ignore[type-arg]
    assert set(card["fairness"]) == {"gender", "age"}
    gender = {line["group"]: line for line in card["fairness"]["gender"]}
    assert gender["female"]["rows"] == 250 and gender["male"]["rows"] == 249 and gender[UNKNOWN]["rows"] == 1
    assert gender["female"]["judged"] and not gender[UNKNOWN]["judged"]
    assert {line["group"] for line in card["fairness"]["age"]} == {"below 30", "30 to below 60", "from 60", UNKNOWN}


def test_the_text_has_every_section_and_no_broken_table(card_files: dict[str, bytes]) -> None:
    text = card_files["card.md"].decode()
    for title in ("Consent", "How good it is", "Fairness", "Limits", "How it was made", "Inputs"):
        assert f"## {title}" in text
    assert "May only rise with: spend." in text and "sum \\| 30 days" in text
    widths = set()
    for line in text.splitlines():
        if line.startswith("| input"):
            widths.add(line.replace("\\|", "").count("|"))
        if line.startswith("| attribute.spend"):
            widths.add(line.replace("\\|", "").count("|"))
    assert widths == {8}


def test_the_same_fit_has_the_same_card(example_rows: ExampleSet, card_files: dict[str, bytes]) -> None:
    again = carded(example_rows, threads=2).files
    assert again["card.json"] == card_files["card.json"] and again["card.md"] == card_files["card.md"]


def test_limits_name_what_the_figures_show(example_rows: ExampleSet, card: dict) -> None:  # type: ignore[type-arg]
    limits = "\n".join(card["limits"])
    assert "The log covers 1.7 days" in limits
    assert "not among the inputs: aum" in limits
    silent = json.loads(fit_model("m", example_rows, 60, FitSettings(rounds=20), lambda _: None).files["card.json"])
    assert "not judged" in "\n".join(silent["limits"]) and silent["fairness"] == {}


def test_what_a_model_is_judged_by_is_no_input_of_it(examples: list[Example], log: ModuleType, tmp_path: Path) -> None:
    by_city = ModelTraining(name="cross_sell", protected=(ProtectedGroups(attribute="city"),))
    query = LogQuery(
        model="cross_sell", archive=tmp_path, offers=log.OFFERS, zone=UTC, attribution_seconds=60, training=by_city
    )  # fmt: skip
    fitted = fit_query(query, examples, FitSettings(rounds=20), lambda _: None)
    assert "city" not in {column.name for column in fitted.draft.schema.columns}
    card = json.loads(fitted.files["card.json"])
    assert {line["group"] for line in card["fairness"]["city"]} == set(log.CITIES)
    assert card["withheld"] == ["city"] and card["calibration"]["by"]["group"][0]["segment"] == "cards"


def test_a_miscalibrated_group_and_a_group_seldom_chosen_are_named() -> None:
    draw = np.random.default_rng(4)
    scores = draw.uniform(0, 0.4, 8_000)
    groups = np.where(np.arange(8_000) < 4_000, "left", "right").tolist()
    labels = (draw.random(8_000) < np.where(np.arange(8_000) < 4_000, scores, scores / 3)).astype(float)
    left, right = fairness_table(groups, labels, scores)
    assert left.gap.low < 0 < left.gap.high and right.gap.low > 0
    assert left.chosen_ratio == pytest.approx(1.0, abs=0.1)
    _, seldom = fairness_table(groups, labels, np.where(np.arange(8_000) < 4_000, scores, scores / 4))
    assert seldom.chosen_ratio == 0.0
    assert not fairness_table(["few"] * 30, np.array([1.0] * (LEAST_POSITIVES - 1) + [0.0] * 11), scores[:30])[0].judged


@pytest.mark.parametrize(
    ("value", "group"),
    [(29, "below 30"), (30, "30 to below 60"), (60.0, "from 60"), (None, UNKNOWN), ("old", UNKNOWN)],
)
def test_bands_begin_at_their_bounds(value: float | str | None, group: str) -> None:
    assert group_of(TRAINING.protected[1], value) == group
    assert group_of(TRAINING.protected[0], True) == "true"


def test_a_changed_card_is_refused_like_any_other_file(tmp_path: Path, example_rows: ExampleSet) -> None:
    registry = ModelRegistry(tmp_path)
    fitted = carded(example_rows)
    manifest = registry.save(fitted.draft, fitted.files, CREATED)
    assert {"model.txt", "calibration.json", "card.json", "card.md"} <= set(manifest.files)
    assert registry.file(manifest.version, "card.md") == fitted.files["card.md"]
    assert (
        registry.load(manifest.version).score(example_rows.matrix) == fitted.scorer.score(example_rows.matrix)
    ).all()
    path = tmp_path / manifest.version / "card.md"
    path.write_text(path.read_text().replace("Ranks cards", "Ranks customers"))
    with pytest.raises(ChecksumMismatch, match=r"card\.md"):
        registry.verify(manifest.version)
    with pytest.raises(ChecksumMismatch):
        registry.load(manifest.version)


def test_every_family_has_a_purpose_of_its_own() -> None:
    purposes = {disclosure_of(ModelTraining(name="m", family=f), {}, (), ()).purpose for f in Family}
    assert len(purposes) == len(Family)


def test_a_card_says_which_of_the_groups_asked_for_could_not_be_judged(
    examples: list[Example], log: ModuleType, tmp_path: Path
) -> None:
    asked = ModelTraining(
        name="cross_sell", protected=(ProtectedGroups(attribute="city"), ProtectedGroups(attribute="gender"))
    )
    query = LogQuery(
        model="cross_sell", archive=tmp_path, offers=log.OFFERS, zone=UTC, attribution_seconds=60, training=asked
    )  # fmt: skip
    files = fit_query(query, examples, FitSettings(rounds=20), lambda _: None).files
    card = json.loads(files["card.json"])
    assert list(card["fairness"]) == ["city"] and card["not_judged"] == ["gender"]
    assert (
        "Fairness between groups of gender was not judged, though the strategy asks for it" in files["card.md"].decode()
    )


def test_the_groups_are_what_the_bank_told_last_of_whoever_is_still_its_customer(
    log: ModuleType, tmp_path: Path
) -> None:
    told = [
        ("retail:1", "bank.profile.updated", {"attributes": {"gender": "f", "age": 30}}),
        ("retail:2", "bank.profile.updated", {"attributes": {"gender": "m"}}),
        ("retail:1", "bank.profile.updated", {"attributes": {"age": 31}}),
        ("retail:2", "bank.customer.erased", {}),
    ]
    events = [
        json.dumps({
            "specversion": "1.0", "id": f"e{n}", "source": "t", "type": kind, "subject": who,
            "time": f"2026-03-02T08:00:0{n}Z", "data": data,
        }).encode()
        for n, (who, kind, data) in enumerate(told)
    ]  # fmt: skip
    with ParquetArchive(tmp_path) as archive:
        archive.append(log.deliveries("bank.profile-updates.v1", events))
    query = LogQuery(
        model="cross_sell", archive=tmp_path, offers=log.OFFERS, zone=UTC, attribution_seconds=60, training=TRAINING
    )  # fmt: skip
    assert recorded_groups(query, tmp_path / "none") == {"retail:1": {"gender": "f", "age": 31}}
    assert recorded_groups(replace(query, training=None), tmp_path / "none") == {}


async def test_the_learner_asks_for_the_groups_at_every_fit(examples: list[Example], log: ModuleType) -> None:
    query = LogQuery(
        model="cross_sell", archive=Path("nowhere"), offers=log.OFFERS, zone=UTC, attribution_seconds=60
    )  # fmt: skip
    unused: Any = None
    tools = LearnerTools(
        registry=unused, publisher=unused, new_id=lambda: "e", now=lambda: datetime.now(UTC), put_forward=unused,
        protected=lambda asked: {"retail:1": {"gender": asked.model}},
    )  # fmt: skip
    learner = Learner([query], LearningSchedule(least_rows=1, least_positives=1, step_rows=1, poll_seconds=1), tools)
    assert learner._fits._with_groups(query).protected == {"retail:1": {"gender": "cross_sell"}}
