"""Builds an evaluation report of a version from the decision log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from decision_engine.propensity import Scorer
from models.decision_log.design_matrix import ExampleSet, build_examples, build_matrix
from models.decision_log.examples import Example
from models.decision_log.labelled_rows import LogQuery, Progress
from models.errors import EvaluationRefused
from models.evaluation.full_report.bank_books import BankBooks, read_books
from models.evaluation.full_report.calibration_curve import calibration_curve
from models.evaluation.full_report.column_importance import ImportanceTable, importance_table
from models.evaluation.full_report.customer_groups import GroupBy
from models.evaluation.full_report.group_tables import GroupedLog, group_tables
from models.evaluation.full_report.holdout_uplift import UpliftPopulation, uplift_section
from models.evaluation.full_report.judged_rows import LEAST_ROWS, JudgedRows, Texts, Vector, week_of
from models.evaluation.full_report.lift_curve import lift_curve
from models.evaluation.full_report.log_pass import LogPass, read_log
from models.evaluation.full_report.policy_headline import policy_headline
from models.evaluation.full_report.report_content import EvaluationReport, ExplainedOption, ReportHead
from models.evaluation.full_report.score_stability import (
    Agreement,
    Stability,
    auc_or_none,
    rank_correlation,
    shifts,
    weekly_rankings,
)
from models.evaluation.full_report.slice_figures import slice_tables
from models.evaluation.measures import measure
from models.gbdt_scorer import GbdtScorer
from models.manifest import Manifest

VALIDATION_SHARE = 0.2
"""Of the rows learnt from, the last fifth stopped and calibrated the version."""
NO_GROUPS = (
    "no groups: the strategy declares no sensitive attribute, or the archive does not tell any; "
    "name one with --group ATTRIBUTE or --group ATTRIBUTE:EDGE,EDGE"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What to report on. `query`'s period may begin earlier than `judged_since_ms`: its rows before are what the
    version learnt from, for stability alone. `segment` is an attribute that parts customers, `products` are those that
    the model's offers sell, `described` says what columns are, `others` are earlier fits of the same model."""

    query: LogQuery
    manifest: Manifest
    judged_since_ms: int
    groups: Sequence[GroupBy] = ()
    segment: str | None = None
    products: frozenset[str] = frozenset()
    described: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Scorer] = field(default_factory=dict)
    explained: tuple[ExplainedOption, ...] = ()
    seed: int = 1


@dataclass(frozen=True, slots=True)
class _Material:
    """What the sections are made of: the request, what was read, and the judged rows with their matrix."""

    request: ReportRequest
    scorer: Scorer
    found: LogPass
    examples: Sequence[Example]
    made: ExampleSet
    rows: JudgedRows
    numbers: Mapping[str, int]


def build_report(request: ReportRequest, scorer: Scorer, progress: Progress) -> EvaluationReport:
    """Reads the log and judges. Raises ModelsError: EvaluationRefused without rows or with one kind of label alone."""
    wanted = frozenset(by.attribute for by in request.groups)
    found = read_log(request.query, request.judged_since_ms, progress, wanted)
    material = _material(request, scorer, found)
    rows, examples = material.rows, material.examples
    measures = measure(rows.labels, rows.probabilities, rows.base_rates)
    progress("reading the bank's own events")
    books = read_books(request.query.archive, wanted, request.products)
    uplift = uplift_section(_population(material, books), request.seed)
    progress("importance, stability, fairness, and the value of ranking by it")
    importance = _importance(material)
    fairness = group_tables(request.groups, GroupedLog(found.outcomes, examples, rows, material.numbers), books)
    return EvaluationReport(
        head=_head(material),
        measures=measures,
        calibration=calibration_curve(rows.labels, rows.probabilities),
        lift=lift_curve(rows.labels, rows.probabilities),
        slices=slice_tables(rows),
        uplift=uplift,
        importance=importance,
        stability=_stability(material, importance),
        fairness=fairness,
        fairness_note="" if fairness else NO_GROUPS,
        policy=policy_headline(request.query, found, scorer, request.seed),
        explained=request.explained,
    )


def _material(request: ReportRequest, scorer: Scorer, found: LogPass) -> _Material:
    examples = [e for e in found.examples if e.decision.decided_ms >= request.judged_since_ms]
    if len(examples) < LEAST_ROWS:
        raise EvaluationRefused(
            f"{len(examples)} labelled rows to judge {scorer.version} on in {request.query.archive}: "
            f"at least {LEAST_ROWS} are needed"
        )
    names = dict.fromkeys([*(o.customer for o in found.outcomes), *(e.decision.customer_id for e in examples)])
    numbers = {name: number for number, name in enumerate(names)}
    made = build_examples(examples, scorer.schema, request.query.zone)
    rows = JudgedRows(
        labels=made.labels,
        probabilities=scorer.score(made.matrix),
        base_rates=made.base_rates,
        values=np.array([example.offer.value for example in examples]),
        decided_ms=made.decided_ms,
        customers=np.array([numbers[example.decision.customer_id] for example in examples], dtype=np.int64),
        parts=_parts(examples, made, request.segment),
    )
    return _Material(request, scorer, found, examples, made, rows, numbers)


def _parts(examples: Sequence[Example], made: ExampleSet, segment: str | None) -> dict[str, Texts]:
    parts = {} if segment is None else {segment: _texts(e.decision.attributes.get(segment) for e in examples)}
    return {
        **parts,
        "offer group": _texts(example.offer.group for example in examples),
        "channel": _texts(example.decision.channel for example in examples),
        "arm": _texts(example.decision.arm for example in examples),
        "week": week_of(made.decided_ms),
    }


def _texts(values: Iterable[object]) -> Texts:
    return np.array(["" if value is None else str(value) for value in values], dtype=np.str_)


def _head(material: _Material) -> ReportHead:
    request, rows, manifest = material.request, material.rows, material.request.manifest
    learnt_until_ms = 0 if manifest.data is None else manifest.data.held_out_since_ms
    return ReportHead(
        model=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        created_at=manifest.created_at,
        label="" if manifest.data is None else manifest.data.label,
        attribution_seconds=request.query.attribution_seconds,
        learnt_until_ms=learnt_until_ms,
        first_ms=int(rows.decided_ms[0]),
        last_ms=int(rows.decided_ms[-1]),
        rows=rows.size,
        positives=int(rows.labels.sum()),
        customers=int(np.unique(rows.customers).size),
        decisions=len(material.found.outcomes),
        learnt_rows_judged=int((rows.decided_ms < learnt_until_ms).sum()),
        least_rows=LEAST_ROWS,
        seed=request.seed,
    )


def _population(material: _Material, books: BankBooks) -> UpliftPopulation:
    """Everybody decided for, at the first judged decision. The score is the model's for its best offer then, whatever
    the arm, so that it is the same kind of number on both sides."""
    found, request = material.found, material.request
    decisions = [found.first[who] for who in sorted(found.first)]
    scores = np.full(len(decisions), -np.inf)
    for offer in found.offers.values():
        matrix = build_matrix([(decision, offer) for decision in decisions], material.scorer.schema, request.query.zone)
        scores = np.maximum(scores, material.scorer.score(matrix))
    accepting = {outcome.customer for outcome in found.outcomes if outcome.accepted}
    earned: dict[str, float] = {}
    for outcome in found.outcomes:
        earned[outcome.customer] = earned.get(outcome.customer, 0.0) + outcome.earned
    moments = np.array([decision.decided_ms for decision in decisions], dtype=np.int64)
    opened = None
    if books.opened:
        last = {who: times[-1] for who, times in books.opened.items()}
        opened = np.array([float(last.get(d.customer_id, -1) >= d.decided_ms) for d in decisions])
    segment = request.segment
    parts = {} if segment is None else {segment: _texts(decision.attributes.get(segment) for decision in decisions)}
    return UpliftPopulation(
        scores=scores,
        decisions=decisions,
        accepted=np.array([float(decision.customer_id in accepting) for decision in decisions]),
        earned=np.array([float(earned[decision.customer_id]) for decision in decisions]),
        opened=opened,
        parts={**parts, "channel": _texts(decision.channel for decision in decisions), "week": week_of(moments)},
    )


def _importance(material: _Material) -> ImportanceTable | None:
    request = material.request
    if not isinstance(material.scorer, GbdtScorer):
        return None
    return importance_table(
        material.scorer, material.made.matrix, material.rows.customers, dict(request.described), request.seed
    )


def _stability(material: _Material, importance: ImportanceTable | None) -> Stability:
    rows = material.rows
    fitted, validated = _learnt_scores(material)
    weeks = {week: rows.probabilities[rows.parts["week"] == week] for week in np.unique(rows.parts["week"]).tolist()}
    return Stability(
        reference_rows=fitted.size,
        shifts=shifts(fitted, {"validation": validated, **weeks, "all judged": rows.probabilities}),
        weeks=weekly_rankings(rows),
        agreements=tuple(_agreement(material, version) for version in material.request.others),
        importance_agreement=None if importance is None else importance.agreement,
    )


def _learnt_scores(material: _Material) -> tuple[Vector, Vector]:
    """The scores of the rows fitted on and of those the fit was stopped and calibrated on."""
    learnt = [e for e in material.found.examples if e.decision.decided_ms < material.request.judged_since_ms]
    if not learnt:
        return np.empty(0), np.empty(0)
    made = build_examples(learnt, material.scorer.schema, material.request.query.zone)
    scores = material.scorer.score(made.matrix)
    cut = int(scores.size * (1 - VALIDATION_SHARE))
    return scores[:cut], scores[cut:]


def _agreement(material: _Material, version: str) -> Agreement:
    other = material.request.others[version]
    made = build_examples(material.examples, other.schema, material.request.query.zone)
    scores = other.score(made.matrix)
    return Agreement(
        version=version,
        rank_correlation=rank_correlation(material.rows.probabilities, scores),
        auc=auc_or_none(material.rows.labels, scores),
    )
