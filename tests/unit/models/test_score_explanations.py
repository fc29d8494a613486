"""Why an option got its probability: contributions add up, in log-odds and in probability, and are said in words."""

from dataclasses import replace
from types import ModuleType
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from decision_engine.propensity import Column, ColumnSource, Scorer
from models.calibration import IsotonicCalibration
from models.decision_log.design_matrix import ExampleSet
from models.decision_log.records import logged_decision
from models.errors import EvaluationRefused
from models.evaluation.full_report.column_importance import importance_table
from models.evaluation.full_report.decision_contributions import explain_score, explanation_lines, shown_value
from models.evaluation.full_report.explained_options import Explaining, explain_options
from models.gbdt_scorer import GbdtScorer
from models.prior_scorer import PriorScorer
from models.training.fit import FittedModel

DESCRIBED = {"spend": "Spend of the month", "city": "City of residence"}


def test_contributions_of_every_row_add_up_to_its_margin(fitted: FittedModel, example_rows: ExampleSet) -> None:
    rows = example_rows.matrix[:400]
    found = fitted.scorer.contributions(rows)
    assert found.shape == (400, rows.shape[1] + 1)
    assert found.sum(axis=1) == pytest.approx(fitted.scorer.margins(rows), abs=1e-9)


def test_an_explanation_adds_up_in_log_odds_and_in_probability(fitted: FittedModel, example_rows: ExampleSet) -> None:
    for place in range(0, 200, 20):
        row = example_rows.matrix[place : place + 1]
        found = explain_score(fitted.scorer, row, DESCRIBED)
        margins = sum(part.margin for part in found.contributions)
        assert found.average_margin + margins == pytest.approx(found.margin, abs=1e-9)
        probabilities = sum(part.probability for part in found.contributions)
        assert found.average_probability + probabilities == pytest.approx(found.probability, abs=1e-9)
        assert found.probability == fitted.scorer.score(row)[0]
        sizes = [abs(part.margin) for part in found.contributions]
        assert sizes == sorted(sizes, reverse=True)


def test_it_adds_up_for_a_stepped_calibration_too(fitted: FittedModel, example_rows: ExampleSet) -> None:
    scorer = fitted.scorer
    margins = scorer.margins(example_rows.matrix)
    steps = IsotonicCalibration(margins=(float(margins.min()), 0.0), probabilities=(0.05, 0.4))
    stepped = GbdtScorer(
        version="stepped", schema=scorer.schema, booster=scorer.reference._booster, calibration=steps  # type: ignore[attr-defined]
    )  # fmt: skip
    found = explain_score(stepped, example_rows.matrix[:1], {})
    added = sum(part.probability for part in found.contributions)
    assert found.average_probability + added == pytest.approx(stepped.score(example_rows.matrix[:1])[0], abs=1e-9)


def test_words_name_the_attribute_its_value_and_the_direction(fitted: FittedModel, example_rows: ExampleSet) -> None:
    spend = [column.name for column in fitted.scorer.schema.columns].index("spend")
    row = example_rows.matrix[np.argmax(example_rows.matrix[:, spend])][None, :]
    lines = explanation_lines(explain_score(fitted.scorer, row, DESCRIBED))
    assert any("Spend of the month (spend) = " in line and " raises it by " in line for line in lines)
    assert lines[0].startswith("cross_sell-unregistered gives 0.")


def test_values_are_shown_as_people_know_them() -> None:
    text = Column(name="city", source=ColumnSource.ATTRIBUTE, categories=("beijing", "xian"))
    number = Column(name="spend", source=ColumnSource.ATTRIBUTE)
    assert shown_value(text, 1.0) == "xian"
    assert shown_value(text, float("nan")) == "missing"
    assert shown_value(number, 12345.5) == "12,345.5000"
    assert shown_value(number, 10_318_000.0) == "10,318,000"


def test_spend_matters_most_and_noise_little(fitted: FittedModel, example_rows: ExampleSet) -> None:
    customers = np.arange(len(example_rows.matrix))
    table = importance_table(fitted.scorer, example_rows.matrix, customers, DESCRIBED, seed=1)
    assert table.columns[0].column == "spend"
    assert table.columns[0].described == "Spend of the month"
    assert sum(column.gain_share for column in table.columns) == pytest.approx(1.0)
    assert len(table.columns) + table.unused == len(example_rows.schema.columns)
    assert table.agreement is not None and table.agreement.value > 0.6
    assert table == importance_table(fitted.scorer, example_rows.matrix, customers, DESCRIBED, seed=1)


def explaining(log: ModuleType, scorer: Scorer) -> Explaining:
    return Explaining(offers=log.OFFERS, described=DESCRIBED, zone=ZoneInfo("Asia/Shanghai"), load=lambda _: scorer)


def test_the_options_of_a_recorded_decision_are_explained(log: ModuleType, fitted: FittedModel) -> None:
    decision = logged_decision(log.make_decision(7, log.START, models={"cross_sell": "cross_sell-v1"}))
    assert decision is not None
    (option,) = explain_options(decision, explaining(log, fitted.scorer))
    assert (option.decision_id, option.offer, option.rank, option.recorded) == ("D000007", "gold_card", 1, 0.2)
    assert {part.column for part in option.explanation.contributions} >= {"spend", "city", "offer", "channel"}


def test_what_no_trees_scored_is_refused_with_the_reason(log: ModuleType, fitted: FittedModel) -> None:
    decision = logged_decision(log.make_decision(7, log.START))
    assert decision is not None
    with pytest.raises(EvaluationRefused, match="base rate"):
        explain_options(decision, explaining(log, fitted.scorer))
    scored = replace(decision, models={"cross_sell": "p"})
    with pytest.raises(EvaluationRefused, match="has no trees"):
        explain_options(scored, explaining(log, PriorScorer("p")))
    with pytest.raises(EvaluationRefused, match="scored by no model"):
        explain_options(replace(decision, models={}), explaining(log, fitted.scorer))
    with pytest.raises(EvaluationRefused, match="offered nothing"):
        explain_options(replace(decision, options=()), explaining(log, fitted.scorer))


def test_gains_are_one_a_column_and_never_negative(fitted: FittedModel) -> None:
    gains = fitted.scorer.column_gains()
    assert gains.shape == (len(fitted.scorer.schema.columns),)
    assert (gains >= 0).all() and gains.sum() > 0
