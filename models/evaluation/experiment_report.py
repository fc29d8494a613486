"""The report on all experiments of a log, as lines for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.decision_log.archive_files import EVERYTHING, TimeRange
from models.decision_log.examples import AttributionRule, OfferFacts, accepted_within
from models.decision_log.labelled_rows import Progress
from models.decision_log.records import read_decisions, read_responses
from models.evaluation.arm_rewards import STANDING, arm_rewards
from models.evaluation.clustered_ratio import ClusteredRatio
from models.evaluation.experiments import ArmResult, ExperimentResult, judge_experiment
from models.evaluation.intervals import Estimate
from models.evaluation.report import aligned
from models.evaluation.sequential_test import SequentialVerdict

HOLDOUT_NOTE = (
    "note: holdouts are shown nothing, so nothing can be attributed to them: their lift is what the offers earned, "
    "not what would have been lost without them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentQuery:
    """Which log, what its offers are worth, and how long after the impression an acceptance counts."""

    archive: Path
    offers: Mapping[str, OfferFacts]
    attribution_seconds: int
    period: TimeRange = EVERYTHING


def experiment_results(query: ExperimentQuery, progress: Progress) -> list[ExperimentResult]:
    """Every experiment of the log, judged. Raises EvaluationRefused when no decision can be judged yet."""
    responses = list(read_responses(query.archive, TimeRange(since_ms=query.period.since_ms)))
    progress(f"{len(responses):,} responses")
    end_ms = max((response.at_ms for response in responses), default=0)
    rule = AttributionRule(window_ms=query.attribution_seconds * 1000, log_end_ms=end_ms)
    decisions = read_decisions(query.archive, query.period)
    rewards = arm_rewards(decisions, accepted_within(responses, rule), query.offers, rule)
    progress(f"{rewards[0].customers.size:,} decisions in {len(rewards)} experiments")
    return [judge_experiment(experiment) for experiment in rewards]


def experiment_lines(results: list[ExperimentResult]) -> list[str]:
    """A table of what the arms earned and a table of how they compare, for each experiment."""
    lines: list[str] = []
    for result in results:
        title = "the standing experiment" if result.experiment == STANDING else f"experiment {result.experiment}"
        lines += [f"{title}, {result.days} days", "", *_earned(result), ""]
        if len(result.arms) > 1:
            lines += [*_compared(result), ""]
        if any("holdout" in arm.arm for arm in result.arms):
            lines += [HOLDOUT_NOTE, ""]
    return lines[:-1]


def _earned(result: ExperimentResult) -> list[str]:
    counts = ("customers", "decisions", "accepted")
    rows = [("arm", *counts, "accept rate", "95 % interval", "value a decision", "95 % interval")]
    for arm in result.arms:
        rate, value = arm.accept_rate, arm.value
        found = (f"{rate.customers:,}", f"{rate.decisions:,}", f"{rate.rewards:,.0f}")
        rows.append((arm.arm, *found, *_cells(rate, "{:.4f}"), *_cells(value, "{:,.1f}")))
    return aligned(rows)


def _cells(ratio: ClusteredRatio, form: str) -> tuple[str, str]:
    return form.format(ratio.mean), _span(ratio.estimate, form)


def _compared(result: ExperimentResult) -> list[str]:
    seen = ("difference", "95 % interval", "lift", "95 % interval")
    rows = [(f"against {result.arms[0].arm}", *seen, "valid at every look", "p", "verdict")]
    for arm in result.arms[1:]:
        rows.append(_comparison(f"{arm.arm}: accept rate", _accepts(arm), "{:+.4f}"))
        rows.append(_comparison(f"{arm.arm}: value", _values(arm), "{:+,.1f}"))
    return aligned(rows)


_Measure = tuple[Estimate | None, Estimate | None, SequentialVerdict | None]


def _accepts(arm: ArmResult) -> _Measure:
    return arm.accept_difference, arm.accept_lift, arm.accept_verdict


def _values(arm: ArmResult) -> _Measure:
    return arm.value_difference, arm.value_lift, arm.value_verdict


def _comparison(title: str, measure: _Measure, form: str) -> tuple[str, str, str, str, str, str, str, str]:
    seen, lift, verdict = measure
    if seen is None or verdict is None:
        return (title, "-", "", "-", "", "", "", "")
    relative, reach = ("-", "") if lift is None else (f"{lift.value:+.1%}", _span(lift, "{:+.1%}"))
    always = _span(verdict.interval, form)
    head = (title, form.format(seen.value), _span(seen, form), relative, reach)
    return (*head, always, f"{verdict.p_value:.4f}", _said(seen, verdict))


def _said(seen: Estimate, verdict: SequentialVerdict) -> str:
    if verdict.decided_at is None:
        return "open"
    return f"{'better' if seen.value > 0 else 'worse'} since day {verdict.decided_at + 1}"


def _span(estimate: Estimate, form: str) -> str:
    return f"{form.format(estimate.low)} .. {form.format(estimate.high)}"
