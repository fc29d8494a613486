"""Many questions decided together: the same drafts that `engine.decide` makes of each alone, at a fraction of the work.

Whatever is the same arithmetic for every question is done once over all of them: intervals of conditions, the table of
engagement rules, context weights, priorities and their order, and one call a model for the matrix rows of all. What
depends on one person alone (contacts, lottery, slate) is done one by one, by the very functions of the engine.

The questions must not depend on each other's answers: at most one of each customer's at a time.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from decision_engine.alike import DIFFERENT, Likeness
from decision_engine.arbitration import ArbitrationPlan, Ranking, plan_at
from decision_engine.availability import screen_availability, screen_shown, screen_trigger
from decision_engine.boosts import boost_weights
from decision_engine.calendar_windows import local_time
from decision_engine.candidates import AskedPlacement, asked_placements, offers_in_play
from decision_engine.consent import is_granted, screen_consent
from decision_engine.contact_ledger import ContactRecord
from decision_engine.contact_policy import ContactMoment, screen_contacts, screen_without_ledger
from decision_engine.customer import PERSONALISATION, CustomerSnapshot
from decision_engine.decision import DecisionRequest
from decision_engine.draft import Draft
from decision_engine.engine import LEDGER_UNAVAILABLE, TRIGGER
from decision_engine.experiment import Arm
from decision_engine.experiment_layers import Trial, assign_trial
from decision_engine.features.definitions import Value
from decision_engine.identifiers import key32
from decision_engine.kill_switches import screen_switches, without_stopped
from decision_engine.matrix import MatrixPlan, context_facts, shared_values
from decision_engine.online import OnlinePlan, segment_of
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorer, Scorers
from decision_engine.quiet_hours import screen_quiet
from decision_engine.rejections import PASSED, Falls, Indexes, Mask
from decision_engine.reservation import plan_reservation
from decision_engine.scoring import PRIOR, Scores, learn_on, score_neutrally, score_offers
from decision_engine.slate import SlateTerms, fill_slate
from decision_engine.suitability import RISK_LEVELS, assess_suitability
from decision_engine.trial_ranking import explorer_of, rank_in_trial
from decision_engine.volume import hold_back, recorded_view, resource_costs, screen_volumes
from decision_engine.volume_view import NO_VOLUMES, VolumeView

Numbers = NDArray[np.float64]

MATRIX_ROWS = 16_384
"""Rows of one scorer call at the most: more save no time and take memory."""


class Question(NamedTuple):
    """The arguments of one `engine.decide`."""

    request: DecisionRequest
    snapshot: CustomerSnapshot
    records: Sequence[ContactRecord]
    scorers: Scorers
    volumes: VolumeView = NO_VOLUMES


def decide_together(
    prepared: PreparedStrategy, questions: Sequence[Question], truth: Mask | None = None
) -> list[Draft]:
    """For each question the draft of `engine.decide`, bit for bit, but without the attributes for its record.

    `truth` is what `prepared.conditions.evaluate_all` says of the questions, for who knows already.
    """
    return Together(prepared, questions, truth).drafts if questions else []


@dataclass(slots=True)
class _Case:
    """What is found out about one question on the way."""

    question: Question
    personalised: bool
    asked: tuple[AskedPlacement, ...]
    moment: ContactMoment
    trial: Trial
    plan: ArbitrationPlan
    alive: Indexes = field(default_factory=lambda: np.empty(0, np.intp))
    scores: Scores | None = None
    costs: Numbers | None = None
    ranking: Ranking | None = None


class _Standing(NamedTuple):
    """What a view of volumes means: which offers it stops, what of it is recorded, and whether anything has a price."""

    falls: Falls
    recorded: VolumeView
    priced: bool


class Together:
    """All questions on their way through the stages; arrays have a question a row and an offer a column.

    `beside` are the same requests, at least one, decided by another strategy, in the same order: what is `alike` is
    taken from there for those of whom both know the very same.
    """

    def __init__(
        self,
        prepared: PreparedStrategy,
        questions: Sequence[Question],
        truth: Mask | None = None,
        beside: "Together | None" = None,
        alike: Likeness = DIFFERENT,
    ) -> None:
        self._prepared = prepared
        questions = [_without_stopped(question) for question in questions]
        self._asked: dict[object, tuple[tuple[AskedPlacement, ...], Mask]] = {}
        self._standings: dict[tuple[int, str], _Standing] = {}
        self._alike = alike
        self._twins: list[_Case | None] = [None] * len(questions)
        self.columns: dict[tuple[int, int], Numbers] = {} if beside is None else beside.columns
        if beside is not None and alike.gates:
            pairs = zip(questions, beside.cases, strict=True)
            self._twins = [case if _same_known(mine, case.question) else None for mine, case in pairs]
        self.cases: list[_Case] = [self._case(*each) for each in zip(questions, self._twins, strict=True)]
        if truth is None:
            truth = prepared.conditions.evaluate_all([(q.request, q.snapshot) for q in questions])
        self._truth = truth
        self.falls: Falls = self._screened(None if beside is None or not alike.gates else beside.falls)
        self._score()
        self._weights = self._context_weights()
        self._rank()
        self.drafts = [self._draft(row) for row in range(len(questions))]
        """The drafts in the order of the questions."""

    def _case(self, question: Question, twin: _Case | None) -> _Case:
        prepared, request, snapshot = self._prepared, question.request, question.snapshot
        arm = None if twin is None else twin.trial.arm
        trial = assign_trial(prepared.experiments, request.customer_id, arm)
        plan = plan_at(prepared.arbitration, request.now_ms)
        if twin is not None:
            return _Case(question, twin.personalised, self._placements(request)[0], twin.moment, trial, plan)
        return _Case(
            question=question,
            personalised=is_granted(PERSONALISATION, prepared.strategy.consents, snapshot),
            asked=self._placements(request)[0],
            moment=ContactMoment(prepared.contacts, key32(request.channel), request.now_ms),
            trial=trial,
            plan=plan,
        )

    def _placements(self, request: DecisionRequest) -> tuple[tuple[AskedPlacement, ...], Mask]:
        """What is asked and which offers that concerns; most questions ask the same."""
        key = (request.channel, *((asked.id, asked.count) for asked in request.placements))
        known = self._asked.get(key)
        if known is None:
            asked = asked_placements(self._prepared.placements, request)
            known = self._asked[key] = asked, offers_in_play(asked, len(self._prepared.offers))
        return known

    def _screened(self, known: Falls | None) -> Falls:
        """The falls of all offers; finds who is alive. `known` are the falls of those who have a twin."""
        falls: Falls = np.empty((len(self.cases), len(self._prepared.offers)), np.int16) if known is None else known
        rows = [row for row, twin in enumerate(self._twins) if twin is None]
        for case, twin in zip(self.cases, self._twins, strict=True):
            if twin is not None:
                case.alive = twin.alive
        if rows:
            falls = falls.copy()
            falls[rows] = self._screen(rows)
        return falls

    def _screen(self, rows: Sequence[int]) -> Falls:
        """The falls in these rows."""
        cases = [self.cases[row] for row in rows]
        falls = self._engagement(cases, self._truth[rows])
        consents: dict[object, Falls | None] = {}
        for stages in zip(*[self._before(case.question, consents) for case in cases], strict=True):
            rows_of, said = _said(stages)
            if rows_of:
                falls[rows_of] = np.where(said == PASSED, falls[rows_of], said)
        for stages in zip(*[self._after(case) for case in cases], strict=True):
            rows_of, said = _said(stages)
            if rows_of:
                known = falls[rows_of]
                falls[rows_of] = np.where(known == PASSED, said, known)
        in_play = np.stack([self._placements(case.question.request)[1] for case in cases])
        found, offers = np.nonzero((falls == PASSED) & in_play)
        ends = np.searchsorted(found, np.arange(1, len(cases))).tolist()
        for case, start, end in zip(cases, [0, *ends], [*ends, len(offers)], strict=True):
            case.alive = offers[start:end]
        return falls

    def _engagement(self, cases: Sequence[_Case], truth: Mask) -> Falls:
        """As `engagement_policy.screen_engagement`, for all rows."""
        plan, prepared = self._prepared.engagement, self._prepared
        standings = [
            assess_suitability(prepared.strategy.suitability, c.question.snapshot, c.question.request.now_ms)
            for c in cases
        ]
        levels = np.array([standing.level for standing in standings])
        fixed = np.ones((len(levels), len(RISK_LEVELS) + 2), np.bool_)
        fixed[:, 1:-1] = np.array(RISK_LEVELS) <= levels[:, None]
        fixed[:, -1] = False
        first = np.concatenate([truth, fixed], axis=1).take(plan.table, axis=1).argmin(axis=2)
        falls: Falls = plan.numbers.take(first)
        if plan.any_risk:
            refusals = np.array([standing.refusal for standing in standings], np.int16)
            falls = np.where(first == plan.risk_column, refusals[:, None], falls)
        return falls

    def _before(self, question: Question, consents: MutableMapping[object, Falls | None]) -> Sequence[Falls | None]:
        """The stages that count before engagement policies, the last one first."""
        prepared, request, snapshot = self._prepared, question.request, question.snapshot
        said = (request.channel, snapshot.known, *sorted(snapshot.consents.items()))
        if said not in consents:
            consents[said] = screen_consent(prepared.consent, snapshot, request.channel)
        trigger = request.context.get(TRIGGER)
        return (
            consents[said],
            None if trigger is None else screen_trigger(prepared.availability, trigger),
            screen_shown(prepared.availability, request.shown),
            screen_availability(prepared.availability, request.now_ms),
            screen_switches(prepared.switches, request.switches, request.channel),
        )

    def _after(self, case: _Case) -> Sequence[Falls | None]:
        """The stages that count after them, the first one first."""
        prepared, request, volumes = self._prepared, case.question.request, case.question.volumes
        blind = LEDGER_UNAVAILABLE in request.degraded_causes
        return (
            screen_quiet(prepared.quiet, request.channel, request.now_ms),
            screen_without_ledger(case.moment.plan) if blind else screen_contacts(case.moment, case.question.records),
            self._standing(volumes, request.channel).falls if volumes else None,
        )

    def _standing(self, view: VolumeView, channel: str) -> "_Standing":
        """What a view means in a channel; most questions are told the same one."""
        known = self._standings.get((id(view), channel))
        if known is None:
            plan = self._prepared.volumes
            priced = any(standing.price > 0 for standing in view.values())
            known = _Standing(screen_volumes(plan, view, channel), recorded_view(plan, view), priced)
            self._standings[id(view), channel] = known
        return known

    def _score(self) -> None:
        """Scores what is alive, one call a model for all who are scored by it."""
        scoring = self._prepared.scoring
        together: dict[tuple[str | int, ...], list[int]] = {}
        mine: list[int] = []
        for row, (case, twin) in enumerate(zip(self.cases, self._twins, strict=True)):
            if twin is not None and self._scored_alike(case, twin):
                case.scores = twin.scores
                continue
            mine.append(row)
            if not case.personalised or case.trial.arm is Arm.PRIOR:
                case.scores = score_neutrally(scoring, case.alive)
            elif not case.question.scorers:
                case.scores = score_offers(scoring, case.alive, {}, {}, {})
            else:
                scorers = case.question.scorers
                together.setdefault((*scorers, *map(id, scorers.values())), []).append(row)
        for rows in together.values():
            self._score_all(rows)
        if self._prepared.online is not None:
            self._learn(self._prepared.online, mine)

    def _scored_alike(self, case: _Case, twin: _Case) -> bool:
        scorers, others = case.question.scorers, twin.question.scorers
        same = scorers is others or (list(scorers) == list(others) and all(scorers[n] is others[n] for n in scorers))
        return self._alike.scores and same and case.trial.arm is twin.trial.arm

    def _score_all(self, rows: Sequence[int]) -> None:
        """As `scoring.score_offers` for questions of the same models; where a model fails, everybody by themselves."""
        cases = [self.cases[row] for row in rows]
        plan, scorers, zone = self._prepared.scoring, cases[0].question.scorers, self._prepared.zone
        propensities = [plan.base_rates.copy() for _ in cases]
        versions: list[dict[str, str]] = [{} for _ in cases]
        missing: list[list[str]] = [[] for _ in cases]
        places = [plan.routed(case.question.snapshot.holdings, scorers) for case in cases]
        for number, model in enumerate(plan.models):
            mine = [case.alive[of[case.alive] == number] for case, of in zip(cases, places, strict=True)]
            scorer = scorers.get(model)
            for found, offers, absent in zip(versions, mine, missing, strict=True):
                if len(offers):
                    found[model] = PRIOR if scorer is None else scorer.version
                    if scorer is None and model in plan.required:
                        absent.append("model_missing")
            if scorer is None:
                continue
            matrix_plan = plan.matrix_plan(scorer.schema, scorer.version)
            matrix = (matrix_plan.template, matrix_plan.shared_places, self._shared(matrix_plan, rows))
            if not _score_rows(scorer, matrix, mine, propensities):
                _score_singly(self._prepared, cases, [_facts(case.question, zone) for case in cases])
                return
        for case, propensity, found, absent, of in zip(cases, propensities, versions, missing, places, strict=True):
            routed = None if of is plan.model_of else of
            case.scores = Scores(
                propensity=propensity, versions=found, causes=tuple(dict.fromkeys(absent)), model_of=routed
            )

    def _shared(self, plan: MatrixPlan, rows: Sequence[int]) -> Numbers:
        """The shared columns of those rows, one a row; those known from beside are not made again."""
        known, found = self.columns, []
        for row in rows:
            values = known.get((id(plan.schema), row))
            if values is None:
                question = self.cases[row].question
                facts = _facts(question, self._prepared.zone)
                values = known[id(plan.schema), row] = shared_values(plan, question.snapshot.attributes, facts)
            found.append(values)
        return np.concatenate(found).reshape(len(rows), len(plan.shared))

    def _learn(self, online: OnlinePlan, rows: Sequence[int]) -> None:
        """Adds what online learning believes, one by one, as in `engine.decide`."""
        for row in rows:
            case = self.cases[row]
            table = case.question.request.online
            if table is not None and case.personalised and case.trial.arm is not Arm.PRIOR:
                place = (case.question.request.channel, segment_of(online, self._truth[row]), case.alive)
                case.scores = learn_on(self._prepared.scoring, online, table, _scores(case), place)

    def _rank(self) -> None:
        """Orders what is alive."""
        groups: dict[tuple[int, Arm], list[int]] = {}
        for row, case in enumerate(self.cases):
            question, prepared = case.question, self._prepared
            channel = question.request.channel
            if question.volumes and self._standing(question.volumes, channel).priced:
                propensity = _scores(case).propensity
                case.costs = resource_costs(prepared.volumes, question.volumes, channel, propensity)
            if case.costs is not None or case.trial.levers is not None or case.trial.arm is Arm.PROPENSITY_ONLY:
                case.ranking = rank_in_trial(
                    case.trial, case.plan, case.alive, _scores(case).propensity, self._weights[row], case.costs
                )
            else:
                groups.setdefault((id(case.plan), case.trial.arm), []).append(row)
        for rows in groups.values():
            self._rank_alike(rows)

    def _context_weights(self) -> Numbers:
        """As `arbitration.context_weights`, summed in the same order, and the boosts."""
        prepared, weights = self._prepared, np.zeros((len(self.cases), len(self._prepared.offers)))
        plan = prepared.arbitration
        sizes = np.stack([c.plan.weights if c.personalised else c.plan.neutral_weights for c in self.cases])
        held = sizes * self._truth.take(plan.weight_places, axis=1)
        if held.size:
            cells = np.arange(len(weights))[:, None] * weights.shape[1] + plan.weight_offers
            sums = np.bincount(cells.ravel(), held.ravel(), weights.size)
            weights = sums.astype(np.float64, copy=False).reshape(weights.shape)
        for row, case in enumerate(self.cases if prepared.boosts.boosts else ()):
            request = case.question.request
            if case.personalised and LEDGER_UNAVAILABLE not in request.degraded_causes:
                weights[row] += boost_weights(prepared.boosts, case.question.records, request.now_ms)
        return weights

    def _rank_alike(self, rows: Sequence[int]) -> None:
        """As `arbitration.rank_offers` for rows of one plan."""
        cases = [self.cases[row] for row in rows]
        plan = cases[0].trial.arbitration(cases[0].plan)
        weights = self._weights[list(rows)]
        worths = (1 + weights / 100) * plan.values * (1 + plan.levers / 100)
        priorities = np.stack([_scores(case).propensity for case in cases]) * worths
        living = np.zeros(priorities.shape, np.bool_)
        owners = np.repeat(np.arange(len(cases)), [len(case.alive) for case in cases])
        living[owners, np.concatenate([case.alive for case in cases])] = True
        orders = np.argsort(np.where(living, -priorities, np.inf), axis=1, kind="stable")
        musts: list[bool] = np.logical_or.reduce(living & plan.mandatory, axis=1).tolist()
        for number, case in enumerate(cases):
            order = orders[number, : len(case.alive)]
            if musts[number]:
                mandatory = plan.mandatory[order]
                order = np.concatenate([order[mandatory], order[~mandatory]])
            case.ranking = Ranking(
                order=order,
                context_weights=weights[number],
                levers=plan.levers,
                worths=worths[number],
                resource_costs=plan.no_costs,
                priorities=priorities[number],
            )

    def _draft(self, row: int) -> Draft:
        """The finished draft of one row."""
        prepared, case = self._prepared, self.cases[row]
        request, volumes = case.question.request, case.question.volumes
        scores, ranking = _scores(case), _ranking(case)
        held_back: Mask | None = None
        if case.costs is not None:
            held_back, ranking = hold_back(ranking, case.plan.mandatory)
        held_out = case.trial.held_out
        order = ranking.order if held_out is prepared.nothing else ranking.order[~held_out[ranking.order]]
        explorer = explorer_of(prepared, case.trial, request, ranking, scores, case.question.scorers)
        terms = SlateTerms(explorer, prepared.slate, request.channel, request.allow_duplicates)
        slate = fill_slate(case.asked, order, prepared.entrants, terms)
        return Draft(
            request=request,
            snapshot=case.question.snapshot,
            personalised=case.personalised,
            trial=case.trial,
            truth=self._truth[row],
            falls=self.falls[row],
            scores=scores,
            ranking=ranking,
            held_out=held_out,
            slate=slate,
            attributes={},
            reservation=plan_reservation(prepared, request, slate, case.moment),
            volumes=self._standing(volumes, request.channel).recorded if volumes else NO_VOLUMES,
            held_back=held_back,
        )


def _without_stopped(question: Question) -> Question:
    """The question with the models that no kill switch stops."""
    switches = question.request.switches
    return question._replace(scorers=without_stopped(question.scorers, switches)) if switches else question


def _same_known(mine: Question, other: Question) -> bool:
    """Whether both are told the same about the same request; by which models it is scored is another matter. A kill
    switch may stop one strategy and not the other."""
    return (
        mine.request is other.request
        and not any(switch.startswith("strategy:") for switch in mine.request.switches)
        and mine.snapshot is other.snapshot
        and mine.records == other.records
        and mine.volumes == other.volumes
    )


def _said(stages: Sequence[Falls | None]) -> tuple[list[int], Falls]:
    """The rows for which a stage has something to say, and that."""
    rows = [row for row, stage in enumerate(stages) if stage is not None]
    return rows, np.array([stages[row] for row in rows], np.int16)


def _facts(question: Question, zone: ZoneInfo) -> Mapping[str, Value]:
    return context_facts(question.request, local_time(question.request.now_ms, zone))


def _scores(case: _Case) -> Scores:
    if case.scores is None:
        raise LookupError("the question has not been scored")
    return case.scores


def _ranking(case: _Case) -> Ranking:
    if case.ranking is None:
        raise LookupError("the question has not been ranked")
    return case.ranking


def _score_rows(
    scorer: Scorer,
    matrix: tuple[Numbers, Indexes, Numbers],
    mine: Sequence[Indexes],
    propensities: Sequence[Numbers],
) -> bool:
    """Scores everybody's rows in calls of at most MATRIX_ROWS; False where an answer is no probability."""
    template, places, shared = matrix
    offers = np.concatenate(mine)
    owners = np.repeat(np.arange(len(mine)), [len(each) for each in mine])
    scored = np.empty(len(offers))
    for start in range(0, len(offers), MATRIX_ROWS):
        part = slice(start, start + MATRIX_ROWS)
        rows = template[offers[part]]
        rows[:, places] = shared[owners[part]]
        try:
            found = np.asarray(scorer.score(rows), np.float64)
        except Exception:  # noqa: BLE001 - who fails alone is found out one by one, as in service
            return False
        if found.shape != (len(rows),) or not bool(((found >= 0.0) & (found <= 1.0)).all()):
            return False
        scored[part] = found
    start = 0
    for propensity, rows_of in zip(propensities, mine, strict=True):
        propensity[rows_of] = scored[start : start + len(rows_of)]
        start += len(rows_of)
    return True


def _score_singly(prepared: PreparedStrategy, cases: Sequence[_Case], facts: Sequence[Mapping[str, Value]]) -> None:
    for case, fact in zip(cases, facts, strict=True):
        question = case.question
        attributes = question.snapshot.attributes
        case.scores = score_offers(
            prepared.scoring, case.alive, question.scorers, attributes, fact, question.snapshot.holdings
        )
