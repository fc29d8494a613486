"""Making a decision: read the customer, decide, reserve, keep, publish, answer, all within the caller's budget.

Nothing that fails on the way becomes an error to the caller: without state the strict defaults hold, without the
ledger no capped offer is made, what nobody could keep a record of is not offered, and the answer says what was missing.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from decision_engine.decision import Decision, DecisionRequest
from decision_engine.engine import LEDGER_UNAVAILABLE, Draft, ReservationMismatch, Screened, arrange, screen, settle
from decision_engine.errors import DecisionEngineError
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.identifiers import CustomerId, DecisionId
from decision_engine.kill_switches import Switches
from decision_engine.online import OnlineTable
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from decision_engine.tags import TagReader
from decision_engine.volume_view import NO_VOLUMES, VolumeView
from services.ports import (
    Clock,
    ContactLedger,
    CustomerReader,
    CustomerReading,
    DecisionStore,
    EventPublisher,
    IdempotencyClaim,
    IdFactory,
    Metrics,
    StoreSlow,
    StoreUnavailable,
    VolumeLeases,
)
from services.use_cases import degradation as cause
from services.use_cases.conclude_decision import Asked, ConcludeDecision
from services.use_cases.customer_facts import CustomerFacts, customer_facts
from services.use_cases.deadlines import within
from services.use_cases.decision_answer import Wording, render_answer, word
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.decision_metrics import DecisionMeter, StageWatch
from services.use_cases.decision_record import DecisionInputs
from services.use_cases.degradation import READ_SHARE, RESERVE_SHARE, Budget
from services.use_cases.idempotent_answers import (
    DecisionInFlight,
    IdempotencyConflict,
    IdempotentAnswers,
    claim_of,
)
from services.use_cases.kill_switches import EarlierAnswer
from services.use_cases.linked_customers import with_linked
from services.use_cases.log_ids import LOG_IDS
from services.use_cases.model_traffic import scorers_for
from services.use_cases.record_keeping import RecordKeeper
from services.use_cases.scorer_watch import ScorerWatch
from services.use_cases.shadow_scoring import ShadowScoring
from services.use_cases.volume_reservation import VolumeReservation

__all__ = ["DecisionCommand", "DecisionInFlight", "DecisionPorts", "IdempotencyConflict", "Live", "MakeDecision"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What decides now: the strategy ready to run, its features, its words and labels, and the models."""

    prepared: PreparedStrategy
    features: CompiledFeatures
    wording: Wording
    scorers: Scorers
    tags: TagReader
    states: CustomerReader | None = None
    """Where the states of these features are read; None: where everything else is kept."""

    @classmethod
    def of(cls, prepared: PreparedStrategy, features: CompiledFeatures, scorers: Scorers) -> "Live":
        """With the words prepared from the strategy."""
        tags = TagReader.of(prepared.strategy)
        return cls(prepared=prepared, features=features, wording=word(prepared.strategy), scorers=scorers, tags=tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPorts:
    """What making a decision needs from outside. `live` answers what decides at this moment."""

    live: Callable[[], Live]
    store: DecisionStore
    ledger: ContactLedger
    publisher: EventPublisher
    clock: Clock
    ids: IdFactory
    metrics: Metrics
    volumes: VolumeLeases | None = None
    """This node's part of the bank's volumes; without it they limit nothing."""
    keeper: RecordKeeper | None = None
    """Drained by whoever closes the store; without it the use case has one of its own."""
    shadows: ShadowScoring | None = None
    """Asks the models in the shadow; None where nobody does."""
    online: Callable[[], OnlineTable | None] = lambda: None
    """What online learning believes at this moment; None: nothing was read yet, or nobody learns."""
    switches: Callable[[], Switches] = lambda: ()
    """The kill switches that are engaged at this moment."""
    live_for: Callable[[CustomerId], Live] | None = None
    """What decides for one customer, where a version serves a share of them; None: `live` for everybody."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One decision under way."""

    decision_id: DecisionId
    command: DecisionCommand
    budget: Budget
    live: Live
    watch: StageWatch


class MakeDecision:
    """Answers decision commands with the bytes of the answer."""

    def __init__(self, ports: DecisionPorts) -> None:
        self._ports = ports
        self._answers = IdempotentAnswers(ports.store)
        self._models = ScorerWatch()
        self._meter = DecisionMeter(ports.metrics)
        self.keeper = ports.keeper or RecordKeeper(ports.metrics)
        self._conclude = ConcludeDecision(ports.store, ports.publisher, ports.metrics, self.keeper, self._answers)

    async def __call__(self, command: DecisionCommand) -> bytes:
        """The answer's JSON. Raises IdempotencyConflict and DecisionInFlight, and nothing for what is missing."""
        key = command.idempotency_key
        if key is None:
            return await self._decide(command, None)
        if (known := self._answers.remembered(key, command.body_hash)) is not None:
            return self._given_again(command, known)
        flight = self._answers.flight(key)
        if flight is not None:
            joined = await self._answers.join(flight, command.body_hash, Budget(command).moment(1.0))
            return self._given_again(command, joined)
        with self._answers.flying(key, command.body_hash) as flight:
            answer = await self._decide(command, key)
            flight.answer.set_result(answer)
            return answer

    async def _decide(self, command: DecisionCommand, key: str | None) -> bytes:
        watch, budget = StageWatch(command.started_s), Budget(command)
        decision_id = DecisionId(command.decision_id or self._ports.ids.new_id())
        LOG_IDS.set({**(LOG_IDS.get() or {}), "decision_id": decision_id, "request_id": command.request_id or ""})
        claim = None if key is None else claim_of(key, command.body_hash, decision_id)
        watch.mark("parse")
        # Taken before anything is awaited: states and what reads them must be of one layout.
        live = self._live(command.customer_id)
        reading, missing = await self._read(live, command, budget, claim)
        watch.mark("read")
        if reading is not None and reading.claimed is not None and key is not None:
            earlier = await self._answers.earlier(key, reading.claimed, command.body_hash, budget.moment(1.0))
            return self._given_again(command, earlier)
        run = _Run(decision_id, command, budget, live, watch)
        decision, inputs = await self._settled(run, reading, missing)
        wording = run.live.wording
        if command.dry_run:
            answer = render_answer(command, decision, wording, watch.elapsed_ms)
            watch.report(self._ports.metrics)
            return answer
        asked = Asked(
            command=command, budget=budget, wording=wording, watch=watch, claim=claim, claimed=reading is not None
        )
        concluded = await self._conclude(asked, decision, inputs)
        if concluded.own:
            self._meter.measure(decision, command.channel, watch.elapsed_s(), wording)
            watch.mark("metrics")
            watch.report(self._ports.metrics)
            return concluded.answer
        watch.report(self._ports.metrics)
        return self._given_again(command, concluded.answer)

    def _live(self, customer_id: CustomerId) -> Live:
        return self._ports.live() if self._ports.live_for is None else self._ports.live_for(customer_id)

    def _given_again(self, command: DecisionCommand, answer: bytes) -> bytes:
        """An answer of before, without what a kill switch has stopped since."""
        switches = self._ports.switches()
        if not switches:
            return answer
        wording = self._live(command.customer_id).wording
        earlier = EarlierAnswer(switches=switches, channel=command.channel, locale=command.locale, wording=wording)
        return earlier.without_stopped(answer)

    async def _read(
        self, live: Live, command: DecisionCommand, budget: Budget, claim: IdempotencyClaim | None
    ) -> tuple[CustomerReading | None, tuple[str, ...]]:
        """State, ledger and claim; None when the store does not give them in time, and why if it is not gone."""
        if budget.is_spent(READ_SHARE):
            return None, (cause.DEADLINE,)
        try:
            with within(budget.left(READ_SHARE)):
                return await (live.states or self._ports.store).read_for_decision(command.customer_id, claim), ()
        except (StoreSlow, TimeoutError):
            return None, (cause.STATE_SLOW,)
        except StoreUnavailable:
            return None, ()

    async def _settled(
        self, run: "_Run", reading: CustomerReading | None, missing: Sequence[str]
    ) -> tuple[Decision, DecisionInputs]:
        """The decision with its winners reserved, and what the record holds besides."""
        live, watch = run.live, run.watch
        now_ms = self._ports.clock.now_ms()
        facts = customer_facts(live.features, reading, missing, now_ms)
        facts = await self._linked(run, facts, now_ms)
        watch.mark("snapshot")
        models = self._models.call(scorers_for(live.scorers, run.command.customer_id))
        request = self._request(run, now_ms, self._causes(live, facts))
        screened = self._screened(live, request, facts)
        watch.mark("rules")
        draft = arrange(live.prepared, screened, models.scorers)
        watch.mark("engine")
        watch.take_out("model", models.seconds)
        taken, why = await self._reserve(run, draft)
        if taken is None:
            draft = self._draft_without_ledger(live, draft, facts, models.scorers, why)
        watch.mark("reserve")
        if models.was_slow(run.budget.seconds, draft.scores.versions):
            draft = _flagged(draft, cause.MODEL_SLOW)
        if run.budget.is_spent():
            draft = _flagged(draft, cause.DEADLINE)
        try:
            decision = settle(live.prepared, draft, _first_choices(draft) if taken is None else taken)
        except ReservationMismatch:
            _log.exception("the ledger's answer makes no sense", extra={"action": "reserve"})
            draft = self._draft_without_ledger(live, draft, facts, models.scorers, (cause.LEDGER_UNREADABLE,))
            decision = settle(live.prepared, draft, _first_choices(draft))
        watch.mark("settle")
        if self._ports.shadows is not None and not run.command.dry_run:
            self._ports.shadows.consider(live.prepared, draft, decision)
        inputs = DecisionInputs(
            client=run.command.client,
            request_id=run.command.request_id,
            request=draft.request,
            ledger=facts.ledger,
            feature_layout=live.features.layout,
            took_ms=round(watch.elapsed_ms(), 3),
        )
        return decision, inputs

    async def _linked(self, run: "_Run", facts: CustomerFacts, now_ms: int) -> CustomerFacts:
        """The facts with what the customer has from household and company. What cannot be read in time is missing."""
        live, reader = run.live, run.live.states or self._ports.store
        if not live.prepared.strategy.links:
            return facts
        try:
            with within(run.budget.left(READ_SHARE)):
                snapshot = await with_linked(live, reader, run.command.customer_id, facts.snapshot, now_ms)
        except (StoreUnavailable, TimeoutError, DecisionEngineError) as error:
            _log.warning("linked states could not be read: %s", type(error).__name__, extra={"action": "do without"})
            return replace(facts, causes=(*facts.causes, cause.LINKS_UNAVAILABLE))
        return facts if snapshot is facts.snapshot else replace(facts, snapshot=snapshot)

    def _request(self, run: "_Run", now_ms: int, causes: tuple[str, ...]) -> DecisionRequest:
        command = run.command
        return DecisionRequest(
            decision_id=run.decision_id,
            customer_id=command.customer_id,
            channel=command.channel,
            placements=command.placements,
            now_ms=now_ms,
            context=command.context,
            locale=command.locale,
            allow_duplicates=command.allow_duplicates,
            degraded_causes=causes,
            held_until_ms=command.held_until_ms,
            online=self._online(run.live),
            switches=self._ports.switches(),
            shown=tuple(sorted(command.shown)),
        )

    def _online(self, live: Live) -> OnlineTable | None:
        """Beliefs are gathered for the terms of the version that decides for most."""
        terms = live.prepared.strategy.online
        if terms is not None and terms != self._ports.live().prepared.strategy.online:
            return None
        return self._ports.online()

    def _screened(self, live: Live, request: DecisionRequest, facts: CustomerFacts) -> Screened:
        volumes = self._volumes(live, request)
        return screen(live.prepared, request, facts.snapshot, facts.contacts, volumes)

    def _draft_without_ledger(
        self, live: Live, draft: Draft, facts: CustomerFacts, scorers: Scorers, why: Sequence[str]
    ) -> Draft:
        """Decided anew as without a ledger: only what needs no cap remains, and that needs no reservation."""
        request = _flagged(draft, LEDGER_UNAVAILABLE, *why).request
        return arrange(live.prepared, self._screened(live, request, facts), scorers)

    def _causes(self, live: Live, facts: CustomerFacts) -> tuple[str, ...]:
        """What holds before deciding begins."""
        volumes = self._ports.volumes
        if volumes is None or not live.prepared.volumes.volumes or not volumes.rebuilding:
            return facts.causes
        return (*facts.causes, cause.VOLUMES_REBUILDING)

    def _volumes(self, live: Live, request: DecisionRequest) -> VolumeView:
        """What may be handed out now: nothing that is limited, where nothing can be reserved."""
        if self._ports.volumes is None or not live.prepared.volumes.volumes:
            return NO_VOLUMES
        if LEDGER_UNAVAILABLE in request.degraded_causes:
            return live.prepared.volumes.exhausted
        return self._ports.volumes.view(request.now_ms)

    async def _reserve(self, run: "_Run", draft: Draft) -> tuple[Sequence[int | None] | None, tuple[str, ...]]:
        """For each position the alternative the ledger took; None when it could not be asked, and why if it is not
        gone."""
        command, metrics = run.command, self._ports.metrics
        if command.dry_run or not draft.reservation.positions or LEDGER_UNAVAILABLE in draft.request.degraded_causes:
            return _first_choices(draft), ()
        if run.budget.is_spent(RESERVE_SHARE):
            metrics.count("ledger_reservations_total", outcome="unavailable")
            return None, (cause.DEADLINE,)
        try:
            with within(run.budget.left(RESERVE_SHARE)):
                taken = await self._reserved(command.customer_id, run.live.prepared, draft)
        except (StoreUnavailable, TimeoutError) as error:
            metrics.count("ledger_reservations_total", outcome="unavailable")
            return None, (cause.LEDGER_SLOW,) if isinstance(error, StoreSlow | TimeoutError) else ()
        refused = taken.count(None)
        metrics.count("ledger_reservations_total", len(taken) - refused, outcome="reserved")
        if refused:
            metrics.count("ledger_reservations_total", refused, outcome="refused")
        return taken, ()

    async def _reserved(self, customer_id: CustomerId, prepared: PreparedStrategy, draft: Draft) -> list[int | None]:
        ledger, leases = self._ports.ledger, self._ports.volumes
        if leases is None or not prepared.volumes.volumes:
            return await ledger.reserve(customer_id, draft.reservation)
        reservation = VolumeReservation(ledger=ledger, leases=leases)
        return await reservation.reserve(customer_id, prepared.volumes, draft)


def _first_choices(draft: Draft) -> list[int | None]:
    return [0 if alternatives else None for alternatives in draft.reservation.positions]


def _flagged(draft: Draft, *causes: str) -> Draft:
    """The draft with further causes, each once."""
    known = tuple(dict.fromkeys((*draft.request.degraded_causes, *causes)))
    return draft._replace(request=replace(draft.request, degraded_causes=known))
