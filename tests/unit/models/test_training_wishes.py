"""What a strategy wishes of a model: monotone scores, rare positives, segments, tuning, missing values."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decision_engine.model_training import Balance, Family, ModelTraining
from models.decision_log.design_matrix import ExampleSet
from models.errors import TrainingRefused
from models.training.boosting import positive_weight
from models.training.fit import FitSettings, FittedModel, fit_model
from models.training.settings_of import declared
from models.training.time_split import split_by_time


def fit(rows: ExampleSet, **settings: Any) -> FittedModel:
    return fit_model("cross_sell", rows, 60, FitSettings(**{"rounds": 60, **settings}), lambda _: None)


def scores_along(fitted: FittedModel, rows: ExampleSet, name: str) -> np.ndarray:
    """Scores of a hundred rows (across) while one column goes from its least to its largest value (down)."""
    place = [column.name for column in rows.schema.columns].index(name)
    steps = np.linspace(np.nanmin(rows.matrix[:, place]), np.nanmax(rows.matrix[:, place]), 40)
    found = []
    for step in steps:
        matrix = rows.matrix[:100].copy()
        matrix[:, place] = step
        found.append(fitted.scorer.score(matrix))
    return np.array(found)


def test_the_score_never_falls_with_what_it_may_only_rise_with(example_rows: ExampleSet) -> None:
    """The labels are turned round, so that the log itself says the opposite."""
    against = replace(example_rows, labels=1 - example_rows.labels)
    free, bound = fit(against), fit(against, rising=("spend",))
    assert (np.diff(scores_along(free, against, "spend"), axis=0) < 0).any()
    assert (np.diff(scores_along(bound, against, "spend"), axis=0) >= 0).all()
    assert (np.diff(scores_along(fit(example_rows, falling=("spend",)), example_rows, "spend"), axis=0) <= 0).all()


def test_a_wish_about_a_column_that_is_not_served_changes_nothing(example_rows: ExampleSet) -> None:
    assert fit(example_rows, rising=("aum",)).files["model.txt"] == fit(example_rows).files["model.txt"]


def test_categories_cannot_rise(example_rows: ExampleSet) -> None:
    with pytest.raises(TrainingRefused, match="city"):
        fit(example_rows, rising=("city",))


def rare(rows: ExampleSet) -> ExampleSet:
    """The same log with one acceptance in six kept."""
    kept = (rows.labels == 0) | (np.arange(rows.labels.size) % 6 == 0)
    return replace(
        rows, matrix=rows.matrix[kept], labels=rows.labels[kept], base_rates=rows.base_rates[kept],
        decided_ms=rows.decided_ms[kept],
    )  # fmt: skip


@pytest.mark.parametrize("balance", [Balance.SQRT, Balance.FULL])
def test_weighted_positives_are_calibrated_back(example_rows: ExampleSet, balance: Balance) -> None:
    rows = rare(example_rows)
    weighted = fit(rows, balance=balance)
    assert weighted.files["model.txt"] != fit(rows).files["model.txt"]
    raw = 1 / (1 + np.exp(-weighted.scorer.margins(rows.matrix)))
    assert raw.mean() > 1.4 * rows.labels.mean()  # the trees themselves overstate
    assert weighted.scorer.score(rows.matrix).mean() == pytest.approx(rows.labels.mean(), rel=0.25)
    assert weighted.draft.metrics["auc"].value > 0.65


def test_the_weight_of_a_positive() -> None:
    labels = np.array([1.0] + [0.0] * 9)
    found = [positive_weight(labels, balance) for balance in Balance]
    assert found == [1.0, 3.0, 9.0]
    assert positive_weight(1 - labels, Balance.FULL) == 1.0  # what is frequent is never weighed down


def test_missing_values_are_learnt_from(example_rows: ExampleSet) -> None:
    matrix = example_rows.matrix.copy()
    place = [column.name for column in example_rows.schema.columns].index("spend")
    matrix[(example_rows.labels == 1) & (np.arange(len(matrix)) % 2 == 0), place] = np.nan
    fitted = fit(replace(example_rows, matrix=matrix))
    known, unknown = matrix[:1].copy(), matrix[:1].copy()
    known[0, place], unknown[0, place] = 60.0, np.nan
    assert fitted.scorer.score(unknown)[0] > fitted.scorer.score(known)[0] + 0.2


def test_what_is_open_for_long_keeps_the_parts_apart(example_rows: ExampleSet) -> None:
    hour = 3_600_000
    near, far = split_by_time(example_rows), split_by_time(replace(example_rows, overlap_ms=hour))
    times = example_rows.decided_ms
    assert near.fitting.stop == near.validation.start and near.validation.stop == near.held_out.start
    assert far.held_out == near.held_out
    assert times[far.fitting][-1] + hour <= times[far.validation.start]
    assert times[far.validation][-1] + hour <= times[far.held_out.start]
    assert times[far.fitting.stop] + hour > times[far.validation.start]  # and no further


def test_declarations_become_settings() -> None:
    training = ModelTraining(name="m", rising=("aum",), balance=Balance.SQRT)
    found = declared(FitSettings(seed=3), training)
    assert (found.seed, found.rising, found.balance, found.calibrate_by) == (3, ("aum",), Balance.SQRT, ("group",))
    assert declared(FitSettings(), replace(training, family=Family.CHURN)).calibrate_by == ()


def test_tuning_without_its_package_says_what_to_install(
    example_rows: ExampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TrainingRefused, match=r"kairos-nbo\[tune\]"):
        fit(example_rows, tune=2)


def test_tuning_tries_on_the_validation_part_alone_and_is_repeatable(example_rows: ExampleSet) -> None:
    pytest.importorskip("optuna")
    said: list[str] = []
    settings = FitSettings(rounds=40, tune=4)
    first = fit_model("cross_sell", example_rows, 60, settings, said.append)
    assert sum("trial" in line for line in said) == 4
    # Whatever the judged rows say, the same parameters are chosen and the same trees grown.
    held_out = split_by_time(example_rows).held_out
    labels = example_rows.labels.copy()
    labels[held_out] = np.roll(labels[held_out], 7)
    other = fit_model("cross_sell", replace(example_rows, labels=labels), 60, settings, lambda _: None)
    assert other.files["model.txt"] == first.files["model.txt"]


def test_the_tuner_begins_with_what_stands_and_takes_the_best(
    example_rows: ExampleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the sampler: the parameters of the best trial are those fitted."""
    tried: list[dict[str, float]] = []

    class Study:
        def enqueue_trial(self, params: dict[str, float]) -> None:
            self.waiting = [params, {**params, "leaves": 4, "learning_rate": 0.01}]

        def optimize(self, objective: Any, n_trials: int, callbacks: list[Any]) -> None:
            for number, params in enumerate(self.waiting[:n_trials]):
                trial = SimpleNamespace(number=number, params=params)
                for kind in ("suggest_float", "suggest_int"):
                    setattr(trial, kind, lambda name, *_, params=params, **__: params[name])
                trial.value = objective(trial)
                tried.append({"loss": trial.value, **params})
                self.best_value = min(t["loss"] for t in tried)
                self.best_params = {k: v for k, v in min(tried, key=lambda t: t["loss"]).items() if k != "loss"}
                for callback in callbacks:
                    callback(self, trial)

    fake = SimpleNamespace(
        create_study=lambda **_: Study(),
        samplers=SimpleNamespace(TPESampler=lambda **_: None),
        logging=SimpleNamespace(set_verbosity=lambda _: None, WARNING=30),
    )
    monkeypatch.setitem(sys.modules, "optuna", fake)
    said: list[str] = []
    fitted = fit_model("cross_sell", example_rows, 60, FitSettings(rounds=40, tune=2), said.append)
    assert [t["leaves"] for t in tried] == [15, 4]
    assert tried[0]["loss"] < tried[1]["loss"]
    assert fitted.files["model.txt"] == fit(example_rows, rounds=40).files["model.txt"]
    assert any("trial 2 of 2" in line for line in said)
