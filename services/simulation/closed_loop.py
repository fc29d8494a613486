"""The closed loop in one process: decide on base rates, learn from the responses, decide with the model, compare.

    history       the bank lives, nobody is offered anything
    exploration   decisions on base rates with the strategy's own exploration and arms; responses come from the truth
    training      the product's own training, on what the product itself records of those decisions
    measurement   decisions with the models; every policy is judged by the truth on these same decisions

Everything follows from the configuration; the same one gives the same table.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from zoneinfo import ZoneInfo

from decision_engine.decision import Decision
from decision_engine.propensity import Scorer, Scorers
from decision_engine.strategy import Exploration, Strategy
from models.decision_log.design_matrix import build_examples, derive_schema
from models.decision_log.examples import AttributionRule, LoggedDecision, LoggedOption, LoggedResponse, join_examples
from models.decision_log.offer_catalogue import offer_facts, offers_of_model, unlearnable_attributes
from models.errors import TrainingRefused
from models.training.fit import FitSettings, FittedModel, fit_model
from services.simulation.bank import BankConfig, BankStream, SimulatedDay
from services.simulation.policy_value import JudgedDecision, PolicyComparison, compare_policies
from services.simulation.served_decisions import Counter, Served

ATTRIBUTION_SECONDS = 3600
"""Simulated customers answer within seconds; an hour keeps nearly all of the log's end."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How large, how long, which draws. `exploration_epsilon` replaces the strategy's own (None keeps it)."""

    strategy: Strategy
    customers: int = 1_000
    history_days: int = 30
    exploration_days: int = 20
    measured_days: int = 8
    seed: int = 1
    exploration_epsilon: float | None = None
    start: date = date(2026, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A model of the loop: how much it learnt from and how well it ranks, or why there is none."""

    name: str
    rows: int = 0
    positives: int = 0
    auc: float | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """What came of it."""

    comparison: PolicyComparison
    models: tuple[TrainedModel, ...]
    learnt_from: int
    """Decisions of the exploration phase."""
    accepted: int
    """Acceptances among them."""
    events_folded: int


@dataclass(slots=True)
class LoopLog:
    """What the exploration phase leaves behind for training."""

    decisions: list[LoggedDecision] = field(default_factory=list)
    responses: list[LoggedResponse] = field(default_factory=list)

    def note(self, served: Served) -> None:
        """A decision and what became of it."""
        self.decisions.append(_logged(served))
        self.responses += [
            LoggedResponse(
                response_id=f"{response.tracking_id}-{response.outcome}",
                tracking_id=response.tracking_id,
                decision_id=served.decision.decision_id,
                outcome=response.outcome,
                at_ms=response.at_ms,
            )
            for response in served.responses
        ]


def run_closed_loop(config: LoopConfig, progress: Progress) -> LoopResult:
    """Runs all phases. Raises NothingToCompare when the strategy never has an eligible offer."""
    stream = BankStream(BankConfig(seed=config.seed, customers=config.customers, start=config.start))
    counter = Counter(_exploring(config), stream.people, config.seed)
    for _ in range(config.history_days):
        counter.states.add(stream.next_day().events)
    progress(f"{config.history_days} days of history for {config.customers:,} customers")
    log = _explore(config, stream, counter, progress)
    scorers, models = train_models(config, log, progress)
    judged = _measure(config, stream, counter, scorers, progress)
    return LoopResult(
        comparison=compare_policies(judged, config.seed),
        models=models,
        learnt_from=len(log.decisions),
        accepted=sum(response.outcome == "accept" for response in log.responses),
        events_folded=counter.states.folded,
    )


def logged_days(config: LoopConfig, progress: Progress) -> LoopLog:
    """What is recorded of the exploration phase: for whoever learns from it in another way than the loop."""
    stream = BankStream(BankConfig(seed=config.seed, customers=config.customers, start=config.start))
    counter = Counter(_exploring(config), stream.people, config.seed)
    for _ in range(config.history_days):
        counter.states.add(stream.next_day().events)
    return _explore(config, stream, counter, progress)


def _exploring(config: LoopConfig) -> Strategy:
    if config.exploration_epsilon is None:
        return config.strategy
    exploration = Exploration(kind="epsilon_greedy", epsilon=config.exploration_epsilon)
    return replace(config.strategy, exploration=exploration)


def _explore(config: LoopConfig, stream: BankStream, counter: Counter, progress: Progress) -> LoopLog:
    log = LoopLog()
    for number in range(config.exploration_days):
        day: SimulatedDay = stream.next_day()
        counter.states.add(day.events)
        for visit in day.visits:
            served = counter.serve(visit, {})
            if served is not None:
                log.note(served)
        progress(f"exploration day {number + 1} of {config.exploration_days}: {len(log.decisions):,} decisions")
    return log


def train_models(config: LoopConfig, log: LoopLog, progress: Progress) -> tuple[Scorers, tuple[TrainedModel, ...]]:
    """The product's own training on the log, for every model of the strategy."""
    scorers: dict[str, Scorer] = {}
    models: list[TrainedModel] = []
    for name in config.strategy.models:
        try:
            fitted = _fit(config, log, name, progress)
        except TrainingRefused as refusal:
            models.append(TrainedModel(name=name, refused=str(refusal)))
            continue
        scorers[name] = fitted.scorer
        data = fitted.draft.data
        models.append(
            TrainedModel(
                name=name,
                rows=data.rows if data else 0,
                positives=data.positives if data else 0,
                auc=fitted.draft.metrics["auc"].value,
            )
        )
    return scorers, tuple(models)


def _fit(config: LoopConfig, log: LoopLog, name: str, progress: Progress) -> FittedModel:
    strategy = config.strategy
    offers = offers_of_model(offer_facts(strategy), name)
    end_ms = max((response.at_ms for response in log.responses), default=0) + ATTRIBUTION_SECONDS * 1000
    rule = AttributionRule(window_ms=ATTRIBUTION_SECONDS * 1000, log_end_ms=end_ms)
    examples = join_examples(log.decisions, log.responses, offers, rule)
    if not examples:
        raise TrainingRefused(f"{name}: no offer of this model was ever shown")
    schema = derive_schema(examples, unlearnable_attributes(strategy))
    rows = build_examples(examples, schema, ZoneInfo(strategy.time_zone))
    return fit_model(name, rows, ATTRIBUTION_SECONDS, FitSettings(seed=config.seed), progress)


def _measure(
    config: LoopConfig, stream: BankStream, counter: Counter, scorers: Scorers, progress: Progress
) -> list[JudgedDecision]:
    judged: list[JudgedDecision] = []
    for number in range(config.measured_days):
        day = stream.next_day()
        counter.states.add(day.events)
        for visit in day.visits:
            verdict, _ = counter.judge(visit, scorers)
            if verdict is not None:
                judged.append(verdict)
        progress(f"measured day {number + 1} of {config.measured_days}: {len(judged):,} decisions judged")
    return judged


def _logged(served: Served) -> LoggedDecision:
    """The decision as learning reads it from the product's own record: attributes as served, nothing more."""
    decision = served.decision
    return LoggedDecision(
        decision_id=decision.decision_id,
        customer_id=decision.customer_id,
        decided_ms=decision.now_ms,
        channel=served.request.channel,
        arm=decision.arm,
        personalised=decision.personalised,
        models=dict(decision.models),
        attributes=decision.attributes,
        context=served.request.context,
        options=_options(decision),
        holdings=frozenset(decision.holdings),
    )


def _options(decision: Decision) -> tuple[LoggedOption, ...]:
    return tuple(
        LoggedOption(
            tracking_id=option.tracking_id,
            placement=placement.id,
            rank=option.rank,
            offer=option.candidate.offer,
            treatment=option.candidate.treatment,
            mandatory=option.mandatory,
            propensity=option.candidate.propensity,
            selection_probability=option.candidate.selection_probability,
        )
        for placement in decision.placements
        for option in placement.options
    )
