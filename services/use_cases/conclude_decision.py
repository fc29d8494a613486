"""Concluding a decision: its record goes to the bus and into the store, its answer under the idempotency key, and out.

Whoever asks with a request id gets one answer. So its bytes are settled before anything is kept of them, whatever
becomes of keeping them: that a record is late is counted, and named in the answer only where no other may exist. An
attempt that could not learn whether the key is its own asks once more before anything leaves the process.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from decision_engine.decision import Decision, PlacementAnswer
from decision_engine.fallback import FallbackCause
from event_schemas.topics import DECISIONS
from services.ports import (
    BusUnavailable,
    DecisionStore,
    EventPublisher,
    IdempotencyClaim,
    Metrics,
    OutgoingEvent,
    StoreSlow,
    StoreUnavailable,
)
from services.use_cases import degradation as cause
from services.use_cases.deadlines import within
from services.use_cases.decision_answer import Wording, render_answer
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.decision_metrics import StageWatch
from services.use_cases.decision_record import DecisionInputs, encode_record
from services.use_cases.degradation import KEEP_SHARE, Budget
from services.use_cases.idempotent_answers import IdempotentAnswers, kept_answer
from services.use_cases.record_keeping import Kept, RecordKeeper
from services.use_cases.tracked_options import tracked_options

_log = logging.getLogger(__name__)
_CAUSE_OF = {Kept.SLOW: cause.STORE_SLOW, Kept.FAILED: cause.STORE_UNAVAILABLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question being concluded. `claim` is its hold on an idempotency key, `claimed` whether the store has said
    that the key is ours."""

    command: DecisionCommand
    budget: Budget
    wording: Wording
    watch: StageWatch
    claim: IdempotencyClaim | None
    claimed: bool


@dataclass(frozen=True, slots=True)
class Concluded:
    """The bytes to answer with; `own` unless another attempt's answer was found under the key."""

    answer: bytes
    own: bool = True


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A decision with its record as published; `late` is `publish_delayed` while the bus has not taken it."""

    decision: Decision
    record: bytes
    late: tuple[str, ...]


class ConcludeDecision:
    """Publishes, keeps and renders."""

    def __init__(
        self,
        store: DecisionStore,
        publisher: EventPublisher,
        metrics: Metrics,
        keeper: RecordKeeper,
        answers: IdempotentAnswers,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._keeper = keeper
        self._answers = answers

    async def __call__(self, asked: Asked, decision: Decision, inputs: DecisionInputs) -> Concluded:
        """The answer. Raises IdempotencyConflict, DecisionInFlight and StoreUnavailable where the key turns out to be
        another attempt's."""
        claim = asked.claim
        held, outcome = (None, Kept.YES) if claim is None or asked.claimed else await self._claim(asked, claim)
        if claim is not None and held is not None:
            return await self._followed(asked, claim, held)
        record = encode_record(decision, inputs, asked.wording)
        asked.watch.mark("record")
        recorded = self._published(decision, record)
        asked.watch.mark("publish")
        if claim is None:
            return Concluded(await self._once(asked, recorded))
        if outcome is Kept.YES:
            return await self._owned(asked, claim, recorded)
        return Concluded(self._alone(asked, claim, recorded, outcome))

    async def _claim(self, asked: Asked, claim: IdempotencyClaim) -> tuple[bytes | None, Kept]:
        """What another attempt left under the key, and whether the store said so."""
        try:
            with within(asked.budget.left(KEEP_SHARE)):
                return await self._store.claim(claim), Kept.YES
        except (StoreSlow, TimeoutError):
            return None, Kept.SLOW
        except StoreUnavailable:
            return None, Kept.FAILED

    async def _once(self, asked: Asked, recorded: _Recorded) -> bytes:
        """Without a key the answer may tell what became of its record."""
        answer = self._rendered(asked, recorded.decision, recorded.late)
        asked.watch.mark("answer")
        outcome = await self._keep(asked, recorded, self._save(asked, recorded))
        if outcome is Kept.YES:
            self._publish_late(recorded)
            return answer
        return self._rendered(asked, *self._unkept(recorded, outcome))

    async def _owned(self, asked: Asked, claim: IdempotencyClaim, recorded: _Recorded) -> Concluded:
        """The key is ours: the bytes are settled, then kept."""
        decision, causes = recorded.decision, recorded.late
        if recorded.late:
            # The store alone can vouch for the record, and whether it does decides what the answer may say.
            outcome = await self._keep(asked, recorded, self._save(asked, recorded))
            if outcome is Kept.YES:
                self._publish_late(recorded)
            else:
                decision, causes = self._unkept(recorded, outcome)
        answer = self._rendered(asked, decision, causes)
        asked.watch.mark("answer")
        kept = kept_answer(asked.command.body_hash, answer)
        save = partial(self._store.keep_answer, claim, kept) if causes else self._save(asked, recorded, claim, kept)
        keeping = _Keeping(save, partial(self._answers.forget, claim.key), decision.decision_id)
        outcome = await self._keep(asked, recorded, keeping)
        if keeping.held is not None:
            return await self._followed(asked, claim, keeping.held)
        if outcome is not Kept.YES:
            keeping.answered = True
            self._metrics.count("degraded_total", cause=_CAUSE_OF[outcome])
            self._answers.remember(claim.key, asked.command.body_hash, answer)
        return Concluded(answer)

    def _alone(self, asked: Asked, claim: IdempotencyClaim, recorded: _Recorded, outcome: Kept) -> bytes:
        """Nobody can say whose the key is. This process answers, remembers what it said, and puts it under the key as
        soon as the store takes it, unless another attempt was quicker."""
        answer = self._rendered(asked, *self._unkept(recorded, outcome))
        kept = kept_answer(asked.command.body_hash, answer)
        save, settled = self._save(asked, recorded, claim, kept), partial(self._answers.forget, claim.key)
        decision_id = recorded.decision.decision_id
        self._answers.remember(claim.key, asked.command.body_hash, answer)
        self._keeper.keep_late(_Keeping(save, settled, decision_id, answered=True), decision_id)
        return answer

    async def _followed(self, asked: Asked, claim: IdempotencyClaim, held: bytes) -> Concluded:
        body_hash, deadline_s = asked.command.body_hash, asked.budget.moment(1.0)
        return Concluded(await self._answers.earlier(claim.key, held, body_hash, deadline_s), own=False)

    async def _keep(self, asked: Asked, recorded: _Recorded, save: Callable[[], Awaitable[object]]) -> Kept:
        outcome = await self._keeper.keep(save, recorded.decision.decision_id, asked.budget.left(KEEP_SHARE))
        asked.watch.mark("save")
        return outcome

    def _save(
        self, asked: Asked, recorded: _Recorded, claim: IdempotencyClaim | None = None, kept: bytes = b""
    ) -> Callable[[], Awaitable[bytes | None]]:
        decision = recorded.decision
        options = tracked_options(decision, asked.command.channel, asked.wording)
        return partial(self._store.save, decision.decision_id, recorded.record, options, claim, kept)

    def _rendered(self, asked: Asked, decision: Decision, causes: tuple[str, ...]) -> bytes:
        return render_answer(asked.command, decision, asked.wording, asked.watch.elapsed_ms, causes)

    def _unkept(self, recorded: _Recorded, outcome: Kept) -> tuple[Decision, tuple[str, ...]]:
        """What to say of a decision whose record the store does not have yet. If the bus has none either, nothing is
        offered: an offer nobody could account for is worse than none."""
        causes = (_CAUSE_OF[outcome], *((cause.UNAUDITED,) if recorded.late else ()))
        for name in causes:
            self._metrics.count("degraded_total", cause=name)
        if not recorded.late:
            return recorded.decision, causes
        self._metrics.count("records_unkept_total", where="bus")
        self._keeper.withdraw(recorded.decision.decision_id)
        return _withdrawn(recorded.decision), (*recorded.late, *causes)

    def _published(self, decision: Decision, record: bytes) -> _Recorded:
        """Hands the record to the bus, if its way is not full."""
        try:
            self._publisher.enqueue(_event(decision, record))
        except BusUnavailable:
            self._metrics.count("degraded_total", cause=cause.PUBLISH_DELAYED)
            _log.warning("decision %s is not on the bus yet", decision.decision_id, extra={"action": "publish"})
            return _Recorded(decision, record, (cause.PUBLISH_DELAYED,))
        return _Recorded(decision, record, ())

    def _publish_late(self, recorded: _Recorded) -> None:
        """The store has the record; the bus gets it when there is room again."""
        if recorded.late:
            decision = recorded.decision
            event = _event(decision, recorded.record)
            self._keeper.publish_late(partial(self._publisher.enqueue, event), decision.decision_id)


class _Keeping:
    """Keeps an answer under its key, and notes what another attempt left there instead."""

    def __init__(
        self,
        save: Callable[[], Awaitable[bytes | None]],
        settled: Callable[[], None],
        decision_id: str,
        *,
        answered: bool = False,
    ) -> None:
        self._save = save
        self._settled = settled
        self._decision_id = decision_id
        self.answered = answered
        """Whether the answer has left already."""
        self.held: bytes | None = None

    async def __call__(self) -> None:
        self.held = await self._save()
        self._settled()
        if self.held is not None and self.answered:
            _log.warning(
                "decision %s was answered while another answer stands under its request id",
                self._decision_id,
                extra={"action": "keep_answer"},
            )


def _event(decision: Decision, record: bytes) -> OutgoingEvent:
    id_ = decision.decision_id
    return OutgoingEvent(topic=DECISIONS, key=decision.customer_id, value=record, record_of=id_)


def _withdrawn(decision: Decision) -> Decision:
    """The decision with every placement at its fallback."""
    fallbacks = tuple(
        answer if answer.fallback_cause else PlacementAnswer(id=answer.id, fallback_cause=FallbackCause.DEGRADED.value)
        for answer in decision.placements
    )
    return replace(decision, placements=fallbacks)
