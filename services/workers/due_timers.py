"""What is due by the clock: absences that were waited for, further waves, and firings that a crash left pending.

The due index says of which customers something is due; an entry too early is harmless and is moved to its true moment.
It is looked at between batches, by whoever folds the partition's events, and only when everything known of the log has
been read: the event that answers an absence might stand in what has not.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Protocol

from decision_engine.errors import DecisionEngineError
from decision_engine.identifiers import CustomerId
from decision_engine.triggers.compiled import CompiledTriggers
from decision_engine.triggers.firing import Advanced
from decision_engine.triggers.matching import pending, planned_ms, wake
from services.ports import Clock, DueCustomer, MemoryWrite, TriggerStore
from services.use_cases.firing_cases import Watched
from services.use_cases.firing_notes import Held, decode_note
from services.use_cases.match_triggers import Read, memory_write
from services.workers.firing_worker import FiringWorker

MOST = 1_024
"""Customers looked at together."""
UNREADABLE_MS = 60_000
"""How long a customer is left alone whose state cannot be read: it waits for a repair and must stop nobody else."""
_REPAIR = {"action": "rebuild the customer's state"}
_log = logging.getLogger(__name__)


class OwnedStream(Protocol):
    """The log as far as it is owned here: topics and partition numbers."""

    def assigned(self) -> set[tuple[str, int]]: ...

    async def caught_up(self) -> set[tuple[str, int]]: ...


class LookPace:
    """Lets a look pass every so often: between small batches the next one is never far."""

    def __init__(self, every_s: float = 0.1) -> None:
        self._every_s = every_s
        self._next_s = 0.0

    def is_time(self) -> bool:
        """Whether it is time for the next look; the one after it is then counted from now."""
        now_s = monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._every_s
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTimers:
    """Looks after the due index of the partitions owned."""

    triggers: CompiledTriggers
    store: TriggerStore
    worker: FiringWorker
    read: Read
    clock: Clock
    stream: OwnedStream
    pace: LookPace

    async def look(self) -> None:
        """Fires what is due and hands it to the worker, in the partitions owned that have been read to their end.
        Raises StoreUnavailable, BusUnavailable."""
        if not self.pace.is_time():
            return
        owned, read = self.stream.assigned(), await self.stream.caught_up()
        unread = {number for _, number in owned - read}
        now_ms = self.clock.now_ms()
        for partition in sorted({number for _, number in owned} - unread):
            while due := await self._unattended(partition, now_ms):
                await self._wake(partition, due, now_ms)
                if len(due) < MOST:
                    break

    async def _unattended(self, partition: int, now_ms: int) -> list[DueCustomer]:
        entries = await self.store.due(partition, now_ms, MOST)
        return [entry for entry in entries if not self.worker.is_busy(entry.customer_id)]

    async def _wake(self, partition: int, due: Sequence[DueCustomer], now_ms: int) -> None:
        ids = [entry.customer_id for entry in due]
        states, memories = await self.store.load_watched(ids, ids)
        woken: dict[CustomerId, Advanced] = {}
        writes: list[MemoryWrite] = []
        for customer_id, state, memory in zip(ids, states, memories, strict=True):
            snapshot = partial(self.read, state, now_ms)
            try:
                advanced = woken[customer_id] = wake(self.triggers, customer_id, memory, now_ms, snapshot)
            except (DecisionEngineError, ArithmeticError, ValueError):
                _log.exception("a customer's timers cannot be looked at", extra={"customer_id": customer_id, **_REPAIR})
                continue
            if advanced.overtaken:
                await self.worker.withdraw(customer_id, advanced.overtaken)
            if advanced.changed:
                writes.append(memory_write(Watched(customer_id, partition), memory, advanced, now_ms))
        conflicts = set(await self.store.remember(writes))
        await self._note(partition, [entry for entry in due if entry.customer_id not in conflicts], woken, now_ms)

    async def _note(
        self, partition: int, due: Sequence[DueCustomer], woken: Mapping[CustomerId, Advanced], now_ms: int
    ) -> None:
        """Those with something pending go to the worker and stay due; for the others their next moment is noted."""
        moved: list[tuple[DueCustomer, int | None]] = []
        for entry in due:
            advanced = woken.get(entry.customer_id)
            if advanced is None:
                moved.append((entry, now_ms + UNREADABLE_MS))
                continue
            next_ms = self._next_ms(entry.customer_id, advanced, now_ms)
            if next_ms is not None and next_ms <= now_ms:
                self.worker.submit(Watched(entry.customer_id, partition))
            else:
                moved.append((entry, next_ms))
        if moved:
            await self.store.postpone(partition, moved)

    def _next_ms(self, customer_id: CustomerId, advanced: Advanced, now_ms: int) -> int | None:
        """When the customer is to be looked at again; a pending firing that is held back is not due before its time."""
        notes = [decode_note(one.intent) for one in pending(self.triggers, advanced.value)]
        if not notes:
            return advanced.due_ms
        held = [note.until_ms for note in notes if isinstance(note, Held) and note.until_ms > now_ms]
        if len(held) < len(notes):
            return now_ms
        planned = planned_ms(self.triggers, customer_id, advanced.value)
        return min(held if planned is None else [*held, planned])
