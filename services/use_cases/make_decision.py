"""Making a decision: read the customer, decide, reserve, keep, publish, answer, all within the caller's budget.

Nothing that fails on the way becomes an error to the caller: without state the strict defaults hold, without the
ledger no capped offer is made, and the answer says what was missing.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from decision_engine.contact_ledger import decode_records
from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.decision import Decision, DecisionRequest
from decision_engine.engine import LEDGER_UNAVAILABLE, Draft, decide, settle
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import DecisionId
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from event_schemas.topics import DECISIONS
from services.ports import (
    BusUnavailable,
    Clock,
    ContactLedger,
    CustomerReading,
    DecisionStore,
    EventPublisher,
    IdFactory,
    Metrics,
    OutgoingEvent,
    StoreUnavailable,
    TrackedOption,
)
from services.use_cases.decision_answer import Wording, render_answer, word
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.decision_metrics import StageWatch, measure_decision, observe_scores
from services.use_cases.decision_record import DecisionInputs, encode_record
from services.use_cases.idempotent_answers import (
    DecisionInFlight,
    IdempotencyConflict,
    IdempotentAnswers,
    kept_answer,
)

__all__ = ["DecisionCommand", "DecisionInFlight", "DecisionPorts", "IdempotencyConflict", "Live", "MakeDecision"]

READ_SHARE = 0.6
"""Of the budget; what a slow read leaves must suffice to decide and answer."""
RESERVE_SHARE = 0.9
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What decides now: the strategy ready to run, its features, its words, and the models."""

    prepared: PreparedStrategy
    features: CompiledFeatures
    wording: Wording
    scorers: Scorers

    @classmethod
    def of(cls, prepared: PreparedStrategy, features: CompiledFeatures, scorers: Scorers) -> "Live":
        """With the words prepared from the strategy."""
        return cls(prepared=prepared, features=features, wording=word(prepared.strategy), scorers=scorers)


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


@dataclass(frozen=True, slots=True)
class _Run:
    """One decision under way; `key` is the idempotency key when it is known to be ours."""

    command: DecisionCommand
    live: Live
    watch: StageWatch
    key: str | None


class MakeDecision:
    """Answers decision commands with the bytes of the answer."""

    def __init__(self, ports: DecisionPorts) -> None:
        self._ports = ports
        self._answers = IdempotentAnswers(ports.store)

    async def __call__(self, command: DecisionCommand) -> bytes:
        """The answer's JSON. Raises IdempotencyConflict and DecisionInFlight, and nothing for what is missing."""
        key = command.idempotency_key
        if key is None:
            return await self._decide(command, None)
        flight = self._answers.flight(key)
        if flight is not None:
            return await self._answers.join(flight, command.body_hash, _moment(command, 1.0))
        with self._answers.flying(key, command.body_hash) as flight:
            answer = await self._decide(command, key)
            flight.answer.set_result(answer)
            return answer

    async def _decide(self, command: DecisionCommand, key: str | None) -> bytes:
        watch = StageWatch(command.started_s)
        watch.mark("parse")
        reading = await self._read(command, key)
        watch.mark("read")
        if reading is not None and reading.claimed is not None and key is not None:
            return await self._answers.earlier(key, reading.claimed, command.body_hash, _moment(command, 1.0))
        # A key that may not be ours, because the store did not say so, must not be written.
        run = _Run(command, self._ports.live(), watch, key if reading is not None else None)
        decision, inputs = await self._settled(run, reading)
        answer = await self._conclude(run, decision, inputs)
        watch.report(self._ports.metrics)
        if not command.dry_run:
            measure_decision(self._ports.metrics, decision, command.channel, watch.elapsed_s())
            observe_scores(self._ports.metrics, decision, run.live.wording)
        return answer

    async def _settled(self, run: "_Run", reading: CustomerReading | None) -> tuple[Decision, DecisionInputs]:
        """The decision with its winners reserved, and what the record holds besides."""
        live, command, watch = run.live, run.command, run.watch
        now_ms = self._ports.clock.now_ms()
        snapshot, causes = _snapshot(live.features, reading, now_ms)
        ledger = reading.ledger if reading else None
        watch.mark("snapshot")
        request = self._request(command, now_ms, causes)
        records = decode_records(ledger)
        draft = decide(live.prepared, request, snapshot, records, live.scorers)
        watch.mark("engine")
        taken = await self._reserve(command, draft)
        if taken is None:
            # Decided anew as without a ledger: only what needs no cap remains, and that needs no reservation.
            request = replace(request, degraded_causes=(*causes, LEDGER_UNAVAILABLE))
            draft = decide(live.prepared, request, snapshot, records, live.scorers)
            taken = _first_choices(draft)
        watch.mark("reserve")
        inputs = DecisionInputs(
            client=command.client,
            request_id=command.request_id,
            request=request,
            ledger=ledger,
            feature_layout=live.features.layout,
            took_ms=round(watch.elapsed_ms(), 3),
        )
        return settle(live.prepared, draft, taken), inputs

    async def _read(self, command: DecisionCommand, key: str | None) -> CustomerReading | None:
        """State, ledger and claim; None when the store does not give them in time."""
        try:
            async with asyncio.timeout(_remaining(command, READ_SHARE)):
                return await self._ports.store.read_for_decision(command.customer_id, key)
        except (StoreUnavailable, TimeoutError):
            return None

    def _request(self, command: DecisionCommand, now_ms: int, causes: tuple[str, ...]) -> DecisionRequest:
        return DecisionRequest(
            decision_id=DecisionId(self._ports.ids.new_id()),
            customer_id=command.customer_id,
            channel=command.channel,
            placements=command.placements,
            now_ms=now_ms,
            context=command.context,
            locale=command.locale,
            allow_duplicates=command.allow_duplicates,
            degraded_causes=causes,
        )

    async def _reserve(self, command: DecisionCommand, draft: Draft) -> Sequence[int | None] | None:
        """For each position the alternative the ledger took; None when the ledger could not be asked."""
        if command.dry_run or not draft.reservation.positions or LEDGER_UNAVAILABLE in draft.request.degraded_causes:
            return _first_choices(draft)
        metrics = self._ports.metrics
        try:
            async with asyncio.timeout(_remaining(command, RESERVE_SHARE)):
                taken = await self._ports.ledger.reserve(command.customer_id, draft.reservation)
        except (StoreUnavailable, TimeoutError):
            metrics.count("ledger_reservations_total", outcome="unavailable")
            return None
        refused = taken.count(None)
        metrics.count("ledger_reservations_total", len(taken) - refused, outcome="reserved")
        if refused:
            metrics.count("ledger_reservations_total", refused, outcome="refused")
        return taken

    async def _conclude(self, run: "_Run", decision: Decision, inputs: DecisionInputs) -> bytes:
        """Publishes and keeps the record, then renders the answer; a dry run only answers."""
        command, wording, watch = run.command, run.live.wording, run.watch
        if command.dry_run:
            return render_answer(command, decision, wording, watch.elapsed_ms)
        record = encode_record(decision, inputs, wording)
        late = self._publish(decision, record)
        answer = render_answer(command, decision, wording, watch.elapsed_ms, late)
        watch.mark("encode")
        kept = b"" if run.key is None else kept_answer(command.body_hash, answer)
        options = _tracked(decision, command, wording)
        try:
            async with asyncio.timeout(_remaining(command, 1.0)):
                await self._ports.store.save(decision.decision_id, record, options, run.key, kept)
        except (StoreUnavailable, TimeoutError):
            self._ports.metrics.count("degraded_total", cause="store_unavailable")
            answer = render_answer(command, decision, wording, watch.elapsed_ms, (*late, "store_unavailable"))
        watch.mark("save")
        return answer

    def _publish(self, decision: Decision, record: bytes) -> tuple[str, ...]:
        try:
            self._ports.publisher.enqueue(OutgoingEvent(topic=DECISIONS, key=decision.customer_id, value=record))
        except BusUnavailable:
            self._ports.metrics.count("degraded_total", cause="publish_delayed")
            _log.exception("decision %s was not published", decision.decision_id, extra={"action": "publish"})
            return ("publish_delayed",)
        return ()


def _first_choices(draft: Draft) -> list[int | None]:
    return [0 if alternatives else None for alternatives in draft.reservation.positions]


def _moment(command: DecisionCommand, share: float) -> float:
    """When this share of the budget is used up, on the performance counter."""
    return command.started_s + command.timeout_ms / 1000 * share


def _remaining(command: DecisionCommand, share: float) -> float:
    return max(0.0, _moment(command, share) - perf_counter())


def _snapshot(
    features: CompiledFeatures, reading: CustomerReading | None, now_ms: int
) -> tuple[CustomerSnapshot, tuple[str, ...]]:
    """What is known of the customer, and what could not be read."""
    if reading is None:
        return UNKNOWN_CUSTOMER, ("state_unavailable", LEDGER_UNAVAILABLE)
    try:
        return read_snapshot(features, reading.state, now_ms), ()
    except Exception:  # noqa: BLE001 - whatever is wrong with one stored state, its customer gets an answer
        _log.exception("a customer's state could not be read", extra={"action": "read_state"})
        return UNKNOWN_CUSTOMER, ("state_unavailable",)


def _tracked(decision: Decision, command: DecisionCommand, wording: Wording) -> list[TrackedOption]:
    tracked = []
    for placement in decision.placements:
        for option in placement.options:
            offer, _ = wording.treatments[option.candidate.treatment]
            tracked.append(
                TrackedOption(
                    tracking_id=option.tracking_id,
                    decision_id=decision.decision_id,
                    customer_id=decision.customer_id,
                    offer=offer.name,
                    group=offer.group,
                    issue=offer.issue,
                    treatment=option.candidate.treatment,
                    channel=command.channel,
                    placement=placement.id,
                    decided_ms=decision.now_ms,
                )
            )
    return tracked
