"""A registered version judged on the decision log: measures, segments, and the value of ranking by it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from decision_engine.propensity import Scorer
from models.decision_log.design_matrix import build_examples
from models.decision_log.examples import Example, accepted_within
from models.decision_log.labelled_rows import LogQuery, Progress, attribution_rule, labelled_examples, responses_of
from models.decision_log.offer_catalogue import offers_of_model
from models.decision_log.records import read_decisions
from models.errors import EvaluationRefused
from models.evaluation.discrimination import auc_estimate
from models.evaluation.intervals import Estimate
from models.evaluation.measures import measure
from models.evaluation.off_policy.first_choices import RewardRule, first_choices, judged_policy, recorded_choices
from models.evaluation.off_policy.judgement import judge_policies
from models.evaluation.off_policy.ranking_policy import RankingPolicy
from models.evaluation.off_policy.report import report_lines
from models.evaluation.report import aligned, metrics_table

Vector = NDArray[np.float64]

SEGMENTS: dict[str, Callable[[Example], str]] = {
    "group": lambda example: example.offer.group,
    "channel": lambda example: example.decision.channel,
    "arm": lambda example: example.decision.arm,
}


def log_report(query: LogQuery, scorer: Scorer, learnt_until_ms: int, progress: Progress) -> list[str]:
    """The lines of the report. `learnt_until_ms` is where the version's own training rows end. Raises ModelsError."""
    examples = labelled_examples(query, progress)
    since_ms = query.period.since_ms or 0
    if not examples:
        raise EvaluationRefused(f"no labelled rows since {_day(since_ms)} in {query.archive}")
    rows = build_examples(examples, scorer.schema, query.zone)
    probabilities = scorer.score(rows.matrix)
    lines = [f"version    {scorer.version}", f"decisions  since {_day(since_ms)}, {len(examples):,} labelled rows"]
    if since_ms < learnt_until_ms:
        lines.append(f"note       rows before {_day(learnt_until_ms)} were learnt from: they flatter the model")
    lines += ["", *metrics_table(measure(rows.labels, probabilities, rows.base_rates))]
    lines += ["", *segment_table(examples, rows.labels, probabilities)]
    return [*lines, "", *_policy_lines(query, scorer)]


def segment_table(examples: Sequence[Example], labels: Vector, probabilities: Vector) -> list[str]:
    """Rows, acceptance, prediction and AUC by offer group, channel and experiment arm."""
    table = [("segment", "rows", "accepted", "predicted", "AUC", "95 % interval")]
    for title, segment_of in SEGMENTS.items():
        keys = np.array([segment_of(example) for example in examples])
        for key in np.unique(keys).tolist():
            mine = keys == key
            shown = (f"{title} {key}", f"{int(mine.sum()):,}", f"{labels[mine].mean():.4f}")
            table.append((*shown, f"{probabilities[mine].mean():.4f}", *_auc_cells(labels[mine], probabilities[mine])))
    return aligned(table)


def _policy_lines(query: LogQuery, scorer: Scorer) -> list[str]:
    responses = responses_of(query)
    window = attribution_rule(query, responses)
    rule = RewardRule(accepted=accepted_within(responses, window))
    ranking = RankingPolicy(scorer=scorer, offers=offers_of_model(query.offers, query.model), zone=query.zone)
    decisions = read_decisions(query.archive, query.period, strategy_of=query.strategy_of)
    choices = list(first_choices(decisions, window))
    try:
        recorded = recorded_choices(choices, rule)
        policy = judged_policy(choices, ranking.chances, rule)
        return report_lines(judge_policies(recorded, {f"ranked by {scorer.version}": policy}))
    except EvaluationRefused as error:
        return [f"policy value: {error}"]


def _auc_cells(labels: Vector, probabilities: Vector) -> tuple[str, str]:
    try:
        ranking = auc_estimate(labels, probabilities)
    except EvaluationRefused:
        return "-", ""
    return f"{ranking.value:.4f}", _interval(ranking)


def _interval(estimate: Estimate) -> str:
    return f"{estimate.low:.5f} .. {estimate.high:.5f}"


def _day(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
