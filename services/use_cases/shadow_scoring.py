"""Shadow scoring: versions that decide nothing score the decisions that were made, off the request path.

A decision hands over what it was made on (a reference, nothing is copied) and goes on. One thread fills the same matrix
for the version in the shadow, scores it, and has the scores published. It rests four times as long as it works, so it
takes at most a fifth of a processor, and what comes faster than that is sampled: the fuller the queue, the fewer
decisions are taken on; a full queue takes none. Nothing here can fail or delay a decision.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from time import perf_counter

import numpy as np

from decision_engine.calendar_windows import local_time
from decision_engine.candidates import asked_placements, offers_in_play
from decision_engine.decision import Decision
from decision_engine.draft import Draft
from decision_engine.draws import draw_fraction
from decision_engine.experiment import Arm
from decision_engine.matrix import context_facts
from decision_engine.prepared import PreparedStrategy
from decision_engine.rejections import PASSED, Indexes
from decision_engine.scoring import score_offers
from event_schemas.codec import encode
from event_schemas.envelope import from_epoch_ms
from event_schemas.shadow_scores import ModelShadowScored, ShadowScores
from event_schemas.topics import SHADOW_SCORES
from services.ports import BusUnavailable, EventPublisher, Metrics, OutgoingEvent
from services.use_cases.model_traffic import Shadow

_log = logging.getLogger(__name__)
ROOM = 64
"""Decisions that may wait; each holds a customer's attributes."""
_REST = 4.0
"""Times as long as it worked, the thread rests."""
_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A decision that a version is to be asked about."""

    prepared: PreparedStrategy
    draft: Draft
    decision: Decision
    name: str
    shadow: Shadow


class ShadowScoring:
    """Asks the versions in the shadow, while `running` lasts."""

    def __init__(
        self,
        shadows: Callable[[], Mapping[str, Shadow]],
        publisher: EventPublisher,
        metrics: Metrics,
        *,
        room: int = ROOM,
        rest: float = _REST,
    ) -> None:
        self._shadows = shadows
        self._publisher = publisher
        self._metrics = metrics
        self._waiting: Queue[_Asked | None] = Queue(room)
        self._room = room
        self._rest = rest
        self._stopping = threading.Event()

    def consider(self, prepared: PreparedStrategy, draft: Draft, decision: Decision) -> None:
        """Hands a decision over to every version in the shadow of a model that had offers to score in it. Where no
        model may score (no personalisation, the arm of base rates) none in the shadow does."""
        shadows = self._shadows()
        if not shadows or not draft.personalised or draft.trial.arm is Arm.PRIOR:
            return
        for name in draft.scores.versions:
            shadow = shadows.get(name)
            if shadow is None:
                continue
            share = draw_fraction(decision.decision_id, f"shadow {shadow.scorer.version}")
            if share >= shadow.sample:
                continue
            # What would be sampled at any load is taken on last.
            if share >= shadow.sample * (1 - self._waiting.qsize() / self._room):
                self._metrics.count("model_shadow_total", model=name, outcome="dropped")
                continue
            try:
                self._waiting.put_nowait(_Asked(prepared, draft, decision, name, shadow))
            except Full:
                self._metrics.count("model_shadow_total", model=name, outcome="dropped")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scores while the context lasts; what waits at its end is dropped."""
        loop = asyncio.get_running_loop()
        self._stopping.clear()
        thread = threading.Thread(target=self._work, args=(loop,), name="shadow-scoring", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            with suppress(Full):
                self._waiting.put_nowait(None)
            await asyncio.to_thread(thread.join, _STOP_SECONDS)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopping.is_set():
            try:
                asked = self._waiting.get(timeout=1.0)
            except Empty:
                continue
            if asked is None:
                continue
            started = perf_counter()
            event = self._scored(asked)
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(self._publish, asked, event)
            self._stopping.wait((perf_counter() - started) * self._rest)

    def _scored(self, asked: _Asked) -> ModelShadowScored | None:
        """The event; None where the version failed."""
        try:
            return _shadow_scores(asked)
        except Exception:  # noqa: BLE001 - whatever a model in the shadow does, the next decision is asked about
            _log.exception("%s failed in the shadow", asked.shadow.scorer.version, extra={"action": "shadow"})
            return None

    def _publish(self, asked: _Asked, event: ModelShadowScored | None) -> None:
        if event is None:
            self._metrics.count("model_shadow_total", model=asked.name, outcome="failed")
            return
        try:
            self._publisher.enqueue(OutgoingEvent(topic=SHADOW_SCORES, key=event.subject, value=encode(event)))
        except BusUnavailable:
            self._metrics.count("model_shadow_total", model=asked.name, outcome="dropped")
            return
        self._metrics.count("model_shadow_total", model=asked.name, outcome="scored")
        scores = dict(zip(event.data.offers, event.data.scores, strict=True))
        for placement in asked.decision.placements:
            for option in placement.options:
                if (score := scores.get(option.candidate.offer)) is not None:
                    self._metrics.observe("model_score", score, model=asked.name, version=event.data.version)


def _shadow_scores(asked: _Asked) -> ModelShadowScored | None:
    rows, draft, scorer = _rows(asked), asked.draft, asked.shadow.scorer
    facts = context_facts(draft.request, local_time(draft.request.now_ms, asked.prepared.zone))
    plan = asked.prepared.scoring
    scores = score_offers(plan, rows, {asked.name: scorer}, draft.snapshot.attributes, facts, draft.snapshot.holdings)
    if scores.versions.get(asked.name) != scorer.version:
        return None
    decision = asked.decision
    return ModelShadowScored(
        id=f"{decision.decision_id}.{scorer.version}",
        source="kairos/api",
        subject=decision.customer_id,
        time=from_epoch_ms(decision.now_ms),
        data=ShadowScores(
            decision_id=decision.decision_id,
            customer_id=decision.customer_id,
            time=from_epoch_ms(decision.now_ms),
            model=asked.name,
            served_version=draft.scores.versions[asked.name],
            version=scorer.version,
            offers=tuple(plan.offers[row].name for row in rows.tolist()),
            scores=tuple(scores.propensity[rows].tolist()),
        ),
    )


def _rows(asked: _Asked) -> Indexes:
    """The offers that the serving version scored."""
    prepared, draft, plan = asked.prepared, asked.draft, asked.prepared.scoring
    in_play = offers_in_play(asked_placements(prepared.placements, draft.request), len(prepared.offers))
    mine = plan.routed(draft.snapshot.holdings, draft.scores.versions) == plan.models.index(asked.name)
    return np.flatnonzero((draft.falls == PASSED) & in_play & mine)
