"""What is measured of a decision: its stages, its outcome, who was rejected where, and how offers were scored."""

from time import perf_counter

from decision_engine.candidate_records import CandidateRecords
from decision_engine.decision import Decision
from decision_engine.rejection_amounts import RejectionKinds, labels_of
from services.ports import Metrics
from services.use_cases.decision_answer import Wording

_MOST_STRATEGIES = 8
"""Versions whose rejections are held lined up: those that decide now, and some that did."""
_Kinds = tuple[RejectionKinds, tuple[tuple[str, str], ...]]


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

    def take_out(self, stage: str, seconds: float) -> None:
        """So much of the stage that ended last was another one, within it."""
        last, whole = self._marks.pop()
        self._marks += ((last, max(0.0, whole - seconds)), (stage, seconds))

    def elapsed_s(self) -> float:
        """Seconds since the arrival."""
        return perf_counter() - self._started

    def elapsed_ms(self) -> float:
        """Milliseconds since the arrival."""
        return self.elapsed_s() * 1000

    def report(self, metrics: Metrics) -> None:
        """Hands the stages on."""
        metrics.observe_each("decision_stage_seconds", self._marks)


class DecisionMeter:
    """Measures finished decisions. What a strategy's rejections are called is lined up once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._kinds: dict[int, _Kinds] = {}

    def measure(self, decision: Decision, channel: str, seconds: float, wording: Wording) -> None:
        """Counts a decision: its time, its outcome, who was rejected where, and how what is offered was scored."""
        metrics = self._metrics
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
        if isinstance(decision.candidates, CandidateRecords):
            self._count_rejections(decision.candidates)
        self._observe_scores(decision, wording)

    def _count_rejections(self, candidates: CandidateRecords) -> None:
        table = candidates.rejections
        known = self._kinds.get(id(table))  # holding the table keeps its identity
        if known is None:
            if len(self._kinds) >= _MOST_STRATEGIES:
                self._kinds.clear()
            kinds = RejectionKinds.of(table)
            known = self._kinds[id(table)] = kinds, labels_of(kinds.kinds)
        kinds, labels = known
        self._metrics.count_each("rejections_total", labels, kinds.amounts(candidates))

    def _observe_scores(self, decision: Decision, wording: Wording) -> None:
        """The propensities of what is offered, by the model version that gave them."""
        for placement in decision.placements:
            for option in placement.options:
                offer, _ = wording.treatments[option.candidate.treatment]
                model = wording.model_of(offer, decision)
                version = decision.models.get(model)
                if version is not None and option.candidate.propensity is not None:
                    self._metrics.observe("model_score", option.candidate.propensity, model=model, version=version)
