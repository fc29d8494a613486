"""Flow (a): a batch of events becomes customer state and ledger, each event counted exactly once.

The state carries the positions already applied and is written only over the version it was folded from, so that this
may be interrupted anywhere and run again, by whoever owns the partitions then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from decision_engine.errors import DecisionEngineError
from decision_engine.features.fold import Folded
from decision_engine.features.update import PositionedUpdate
from decision_engine.identifiers import CustomerId
from services.ports import (
    Clock,
    ContactLedger,
    ContactResponse,
    Metrics,
    StateStore,
    StateWrite,
    StoreUnavailable,
)
from services.use_cases.event_batches import EventBatch, Unreadable

CONFLICT_ROUNDS = 8
"""Times a customer's state is read and folded again because someone else wrote it; a stale owner loses at once, so
more than one or two mean that two builders own one partition."""
_log = logging.getLogger(__name__)

Fold = Callable[[bytes | None, Sequence[PositionedUpdate]], Folded]


class ErasableLedger(ContactLedger, Protocol):
    """A contact ledger that can forget a person, and that tells what was read in the log from what was taken. Raises
    StoreUnavailable."""

    async def respond(
        self, customer_id: CustomerId, responses: Sequence[ContactResponse], *, from_log: bool = False
    ) -> list[bool]: ...

    async def forget(self, customer_id: CustomerId, until_ms: int) -> None: ...


class AdvancingClock(Protocol):
    """The shared clock of a replay, moved by the events applied. Raises StoreUnavailable."""

    async def advance(self, to_ms: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestEvents:
    """Applies batches. Lag is measured against `clock`; `event_clock` is moved to the newest event time when one is
    given."""

    store: StateStore
    ledger: ErasableLedger
    fold: Fold
    metrics: Metrics
    clock: Clock
    event_clock: AdvancingClock | None = None

    async def apply(self, batch: EventBatch) -> list[Unreadable]:
        """Folds and saves everybody's updates, then brings the ledger up to date. Answers what could not be folded,
        to be set aside. Raises StoreUnavailable; running it again then is harmless."""
        began = perf_counter()
        impossible = await self._apply_to_states(batch)
        await self._apply_to_ledger(batch)
        if self.event_clock is not None and batch.newest_ms:
            await self.event_clock.advance(max(batch.newest_ms.values()))
        self._measure(batch, perf_counter() - began)
        return impossible

    async def _apply_to_states(self, batch: EventBatch) -> list[Unreadable]:
        impossible: list[Unreadable] = []
        pending: Sequence[CustomerId] = list(batch.updates)
        for _ in range(CONFLICT_ROUNDS):
            if not pending:
                return impossible
            attempts = []
            for customer_id, state in zip(pending, await self.store.load_many(pending), strict=True):
                try:
                    folded = self.fold(state, batch.updates[customer_id])
                except (DecisionEngineError, ArithmeticError, ValueError) as error:
                    impossible += _set_aside(batch, customer_id, error)
                else:
                    attempts.append(_Attempt(customer_id, state, folded))
            pending = await self._save(batch, attempts)
        if pending:
            raise StoreUnavailable(
                f"{len(pending)} customer states changed under our hands {CONFLICT_ROUNDS} times; "
                "another state builder seems to own the same partitions"
            )
        return impossible

    async def _save(self, batch: EventBatch, attempts: "Sequence[_Attempt]") -> Sequence[CustomerId]:
        """Writes what changed; answers those whom somebody else wrote meanwhile."""
        writes = [StateWrite(a.customer_id, a.before, a.folded.value) for a in attempts if a.folded.changed]
        conflicts = await self.store.save_many(writes)
        if conflicts:
            self.metrics.count("state_conflicts_total", len(conflicts))
        lost = set(conflicts)
        tally: Counter[tuple[str, str]] = Counter()
        for attempt in attempts:
            if attempt.folded.changed and attempt.customer_id not in lost:
                tally.update(self._by_type(attempt, batch.updates[attempt.customer_id]))
        for (metric, event_type), number in tally.items():
            self.metrics.count(metric, number, type=event_type)
        return conflicts

    def _by_type(self, attempt: "_Attempt", updates: Sequence[PositionedUpdate]) -> Counter[tuple[str, str]]:
        """What became of one customer's events, by metric and event type. Where types and fates are mixed the fold is
        taken again step by step; that is rare."""
        folded, state = attempt.folded, attempt.before
        if folded.applied == len(updates):
            return Counter(("events_applied_total", update.update.source) for update in updates)
        if len({update.update.source for update in updates}) == 1:
            return _fates(folded, updates[0].update.source)
        tally: Counter[tuple[str, str]] = Counter()
        for update in updates:
            step = self.fold(state, [update])
            state = step.value
            tally += _fates(step, update.update.source)
        return tally

    async def _apply_to_ledger(self, batch: EventBatch) -> None:
        await asyncio.gather(*(self.ledger.forget(customer, at_ms) for customer, at_ms in batch.erased.items()))
        await asyncio.gather(*(self._respond(batch, customer) for customer in batch.responses))

    async def _respond(self, batch: EventBatch, customer_id: CustomerId) -> None:
        """The customer's responses, without those of before an erasure; most were applied when they were taken."""
        erased_ms = batch.erased.get(customer_id, 0)
        kept = [response for response in batch.responses[customer_id] if response.at_ms > erased_ms]
        await self.ledger.respond(customer_id, kept, from_log=True)

    def _measure(self, batch: EventBatch, seconds: float) -> None:
        self.metrics.observe("ingest_batch_seconds", seconds)
        now_ms = self.clock.now_ms()
        for topic, newest_ms in batch.newest_ms.items():
            self.metrics.gauge("event_lag_seconds", max(0, now_ms - newest_ms) / 1000, topic=topic)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A customer's state as read, and folded."""

    customer_id: CustomerId
    before: bytes | None
    folded: Folded


def _fates(folded: Folded, event_type: str) -> Counter[tuple[str, str]]:
    """Numbers by metric; events at or before a position already applied are no news and count nowhere."""
    return +Counter(
        {
            ("events_applied_total", event_type): folded.applied,
            ("events_duplicate_total", event_type): folded.duplicates,
            ("events_late_total", event_type): folded.late,
            ("events_refused_total", event_type): folded.refused,
        }
    )


def _set_aside(batch: EventBatch, customer_id: CustomerId, error: Exception) -> list[Unreadable]:
    """A state that cannot be folded must not stop everybody else's; its events are kept for repair."""
    deliveries = batch.deliveries[customer_id]
    _log.error(
        "state could not be folded: %s; %d events are set aside until the customer's state is rebuilt",
        type(error).__name__,
        len(deliveries),
        extra={"action": "rebuild the customer's state", "customer_id": customer_id},
    )
    return [Unreadable(d, "fold_failed", f"the state could not be folded: {type(error).__name__}") for d in deliveries]
