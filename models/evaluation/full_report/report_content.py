"""What an evaluation report holds, whichever way it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.evaluation.full_report.calibration_curve import CalibrationCurve
from models.evaluation.full_report.column_importance import ImportanceTable
from models.evaluation.full_report.decision_contributions import ScoreExplanation
from models.evaluation.full_report.fairness import FairnessTable
from models.evaluation.full_report.holdout_uplift import UpliftSection
from models.evaluation.full_report.lift_curve import LiftCurve
from models.evaluation.full_report.policy_headline import PolicyHeadline
from models.evaluation.full_report.score_stability import Stability
from models.evaluation.full_report.slice_figures import SliceTable
from models.manifest import Metric

FORMAT = 1
"""Raised whenever a field of the JSON changes its meaning or goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportHead:
    """Which version, judged on what. Times are epoch milliseconds of decisions; `learnt_until_ms` is where the rows end
    that the version learnt from, `learnt_rows_judged` how many judged rows lie before it."""

    model: str
    version: str
    kind: str
    created_at: str
    label: str
    attribution_seconds: int
    learnt_until_ms: int
    first_ms: int
    last_ms: int
    rows: int
    positives: int
    customers: int
    decisions: int
    learnt_rows_judged: int
    least_rows: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedOption:
    """One option of a decision and why it got its probability; `recorded` is the propensity in the decision record."""

    decision_id: str
    offer: str
    treatment: str
    rank: int
    recorded: float | None
    explanation: ScoreExplanation


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """All sections. `lift` is None without acceptances, `importance` for a version without trees; `fairness_note` says
    why there is no table of groups, and `explained` holds the options of a decision that was asked for."""

    head: ReportHead
    measures: Mapping[str, Metric]
    calibration: CalibrationCurve
    lift: LiftCurve | None
    slices: tuple[SliceTable, ...]
    uplift: UpliftSection
    importance: ImportanceTable | None
    stability: Stability
    fairness: tuple[FairnessTable, ...]
    fairness_note: str
    policy: PolicyHeadline
    explained: tuple[ExplainedOption, ...] = ()
