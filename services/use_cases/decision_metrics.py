"""What is measured of a decision: its stages, its outcome, who was rejected where, and how offers were scored."""

from time import perf_counter

from decision_engine.candidate_records import CandidateRecords
from decision_engine.decision import Decision
from services.ports import Metrics
from services.use_cases.decision_answer import Wording


class StageWatch:
    """Times the stages of one decision, from the arrival of its request."""

    __slots__ = ("_last", "_marks", "_started")

    def __init__(self, started_s: float) -> None:
        self._started = self._last = started_s
        self._marks: list[tuple[str, float]] = []

    def mark(self, stage: str) -> None:
        """The stage ends here."""
        now = perf_counter()
        self._marks.append((stage, now - self._last))
        self._last = now

    def elapsed_s(self) -> float:
        """Seconds since the arrival."""
        return perf_counter() - self._started

    def elapsed_ms(self) -> float:
        """Milliseconds since the arrival."""
        return self.elapsed_s() * 1000

    def report(self, metrics: Metrics) -> None:
        """Hands the stages on."""
        for stage, seconds in self._marks:
            metrics.observe("decision_stage_seconds", seconds, stage=stage)


def measure_decision(metrics: Metrics, decision: Decision, channel: str, seconds: float) -> None:
    """Counts a finished decision."""
    offered = any(placement.options for placement in decision.placements)
    metrics.observe("decision_seconds", seconds, channel=channel, outcome="offered" if offered else "fallback")
    metrics.count("decisions_total", channel=channel, arm=decision.arm)
    if decision.feature_age_ms is not None:
        metrics.observe("feature_age_seconds", decision.feature_age_ms / 1000)
    for cause in decision.degraded_causes:
        metrics.count("degraded_total", cause=cause)
    for placement in decision.placements:
        if placement.fallback_cause is not None:
            metrics.count("fallbacks_total", placement=placement.id, cause=placement.fallback_cause)
    _count_rejections(metrics, decision)


def observe_scores(metrics: Metrics, decision: Decision, wording: Wording) -> None:
    """The propensities of what is offered, by the model version that gave them."""
    for placement in decision.placements:
        for option in placement.options:
            offer, _ = wording.treatments[option.candidate.treatment]
            model = wording.model_of(offer, decision)
            version = decision.models.get(model)
            if version is not None and option.candidate.propensity is not None:
                metrics.observe("model_score", option.candidate.propensity, model=model, version=version)


def _count_rejections(metrics: Metrics, decision: Decision) -> None:
    if isinstance(decision.candidates, CandidateRecords):
        for rejection, amount in decision.candidates.rejection_counts().items():
            metrics.count("rejections_total", amount, stage=rejection.stage.value, rule=rejection.rule)
