"""The report on the log: who is judged, on what, and the value of ranking by the model."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_engine.propensity import FeatureSchema, Matrix
from event_schemas.codec import decode
from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import ARCHIVE_SCHEMA, TimeRange, day_folder, file_name
from models.decision_log.examples import AttributionRule, LoggedDecision
from models.decision_log.labelled_rows import LogQuery, labelled_examples
from models.decision_log.records import logged_decision
from models.errors import EvaluationRefused
from models.evaluation.log_report import log_report
from models.evaluation.off_policy.estimators import Estimator
from models.evaluation.off_policy.first_choices import RewardRule, first_choices, judged_policy, recorded_choices
from models.evaluation.off_policy.judgement import OffPolicyReport, judge_policies
from models.evaluation.off_policy.ranking_policy import RankingPolicy
from models.prior_scorer import BASE_RATE_SCHEMA
from models.training.fit import FittedModel


def write(root: Path, topic: str, values: list[bytes]) -> None:
    """An archive file as the archiver writes it."""
    rows = []
    for offset, value in enumerate(values):
        event = decode(value)
        data = event.data.model_dump(include={"decision_id", "tracking_id", "outcome"})
        rows.append({"partition": 0, "offset": offset, "time": event.time, "value": value.decode(), **data})
    folder = day_folder(root, topic, "2026-03-02")
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMA)
    pq.write_table(table, folder / file_name(0, 0, len(values) - 1))


@pytest.fixture(scope="module")
def query(log: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> LogQuery:
    root = tmp_path_factory.mktemp("archive")
    decisions, responses = log.make_log(900, seed=9)
    write(root, DECISIONS, decisions)
    write(root, RESPONSES, responses)
    zone = ZoneInfo("Asia/Shanghai")
    return LogQuery(model="cross_sell", archive=root, offers=log.OFFERS, zone=zone, attribution_seconds=30)


def test_the_report_names_measures_segments_and_policy_value(query: LogQuery, fitted: FittedModel) -> None:
    text = "\n".join(log_report(query, fitted.scorer, 1 << 41, lambda _: None))
    for title in ("AUC", "log loss gained", "group cards", "channel mobile", "arm full", "SNIPS", "as logged"):
        assert title in text
    assert "were learnt from" in text
    assert "were learnt from" not in "\n".join(log_report(query, fitted.scorer, 0, lambda _: None))


def test_a_period_without_rows_is_named(query: LogQuery, fitted: FittedModel) -> None:
    later = replace(query, period=TimeRange(since_ms=1 << 44))
    with pytest.raises(EvaluationRefused, match="no labelled rows since"):
        log_report(later, fitted.scorer, 0, lambda _: None)


def test_rows_of_the_period_alone_are_read(query: LogQuery, log: ModuleType) -> None:
    middle = round(log.START.timestamp() * 1000) + 450 * 60_000
    before = labelled_examples(replace(query, period=TimeRange(until_ms=middle)), lambda _: None)
    after = labelled_examples(replace(query, period=TimeRange(since_ms=middle)), lambda _: None)
    assert (len(before), len(after)) == (450, 449)  # the last window is still open


class Favourite:
    """A scorer that likes one offer above all."""

    version = "favourite"
    schema: FeatureSchema = BASE_RATE_SCHEMA

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def score(self, matrix: Matrix) -> Matrix:
        return np.array(self.scores[: len(matrix)])


def decisions(log: ModuleType) -> list[LoggedDecision]:
    """Fifty that showed gold (candidate order: shown first), fifty that showed silver."""
    made = [log.make_decision(n, log.START, offer=("gold_card", "silver_card")[n % 2]) for n in range(100)]
    return [decision for decision in map(logged_decision, made) if decision is not None]


def judged(
    log: ModuleType, logged: list[LoggedDecision], accepted: dict[str, bool], scores: list[float]
) -> OffPolicyReport:
    """Ranking by these scores, judged on this log."""
    ranking = RankingPolicy(scorer=Favourite(scores), offers=log.OFFERS, zone=ZoneInfo("UTC"))
    choices, rule = list(first_choices(logged)), RewardRule(accepted=accepted)
    return judge_policies(recorded_choices(choices, rule), {"ranked": judged_policy(choices, ranking.chances, rule)})


def test_ranking_that_always_agrees_is_worth_twice_what_a_fair_coin_earned(log: ModuleType) -> None:
    """Shown with probability one half, each agreeing choice stands for two."""
    logged = decisions(log)
    report = judged(log, logged, {f"{d.decision_id}.0": n % 4 == 0 for n, d in enumerate(logged)}, [0.9, 0.1])
    estimates = report.policy("ranked").estimates
    assert report.logged.value == pytest.approx(0.25)
    assert estimates[Estimator.IPS].value == pytest.approx(0.5)
    assert estimates[Estimator.SNIPS].value == pytest.approx(0.25)


def test_ranking_that_never_agrees_carries_no_conclusion(log: ModuleType) -> None:
    report = judged(log, decisions(log), {}, [0.1, 0.9])
    assert not report.conclusive
    assert any("effective" in reason for reason in report.policy("ranked").refusals)


def test_a_log_without_selection_probabilities_cannot_be_valued(log: ModuleType) -> None:
    plain = [
        replace(d, options=tuple(replace(o, selection_probability=None) for o in d.options)) for d in decisions(log)
    ]
    with pytest.raises(EvaluationRefused, match="selection probability"):
        judged(log, plain, {}, [0.9, 0.1])


def test_a_choice_whose_window_is_still_open_is_no_choice_yet(log: ModuleType) -> None:
    logged = decisions(log)
    decided = logged[0].decided_ms
    assert not list(first_choices(logged, AttributionRule(window_ms=1000, log_end_ms=decided + 999)))
    assert len(list(first_choices(logged * 2, AttributionRule(window_ms=1000, log_end_ms=decided + 1000)))) == 100


def test_what_the_log_could_not_show_is_unsupported(log: ModuleType) -> None:
    logged = [
        replace(d, candidates=tuple(replace(c, selection_probability=float(c.offer == shown)) for c in d.candidates))
        for d in decisions(log)
        for shown in [d.options[0].offer]
    ]
    choices, rule = list(first_choices(logged)), RewardRule(accepted={})
    other = [next(c.treatment for c in choice.rivals if c.offer != choice.option.offer) for choice in choices]
    policy = judged_policy(choices, lambda choice: {other[choices.index(choice)]: 0.75}, rule)
    assert policy.unsupported == pytest.approx(np.full(100, 0.75))
    assert policy.idle == pytest.approx(np.full(100, 0.25))
    assert policy.chances == pytest.approx(np.zeros(100))


def test_an_acceptance_earns_one_or_the_value_of_the_offer(log: ModuleType) -> None:
    choice = next(first_choices(decisions(log)))
    taken = {choice.option.tracking_id: True}
    assert RewardRule(accepted=taken).earned(choice.option) == 1.0
    assert RewardRule(accepted=taken, values=log.OFFERS).earned(choice.option) == 12000.0
    assert RewardRule(accepted={}, values=log.OFFERS).earned(choice.option) == 0.0
