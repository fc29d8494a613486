"""The state builder: owns partitions of the log and turns their events into customer state and contact ledger."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from services.ports import BusUnavailable, Clock, Delivery, StoreUnavailable
from services.use_cases.event_batches import EventBatch, read_batch
from services.use_cases.ingest_events import IngestEvents
from services.workers.dead_letters import DeadLetters
from services.workers.store_progress import StoreProgress

Partition = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A decoded batch and the offset its records of each partition begin at."""

    events: EventBatch
    firsts: Mapping[Partition, int]


class Timers(Protocol):
    """What is due by the clock in the partitions owned. Raises StoreUnavailable, BusUnavailable."""

    async def look(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBuilder:
    """The work of one batch (`workers.consumer.Work`). With a `wall_clock` events from the future are refused."""

    ingest: IngestEvents
    dead_letters: DeadLetters
    progress: StoreProgress
    wall_clock: Clock | None
    timers: Timers | None = None
    """What is due by the clock; None where nobody is contacted."""
    arrivals: Clock | None = None
    """The clock of the bus's arrival times, to measure delays by; None measures none."""
    full_batch: int = 0
    """Records of a batch after which more stand ready."""

    async def prepare(self, deliveries: Sequence[Delivery]) -> PreparedBatch:
        """Decodes, and sets aside what cannot be read. Raises DeadLettersRefused."""
        events = read_batch(deliveries, None if self.wall_clock is None else self.wall_clock.now_ms())
        await self.dead_letters.publish(events.unreadable)
        firsts: dict[Partition, int] = {}
        for delivery in deliveries:
            firsts.setdefault((delivery.topic, delivery.partition), delivery.offset)
        return PreparedBatch(events, firsts)

    async def apply(self, batch: PreparedBatch) -> Mapping[Partition, int]:
        """Folds the batch into the store, unless the store has lost what came before it. Raises StoreUnavailable,
        BusUnavailable, StateLost, DeadLettersRefused."""
        if not await self.progress.admit(batch.firsts):
            return {}
        batch.events.unmatched = await self.progress.begin(batch.events.positions)
        await self.dead_letters.publish(await self.ingest.apply(batch.events))
        await self.progress.record(batch.events.positions)
        self._measure(batch.events.deliveries)
        if len(batch.events.deliveries) < self.full_batch:
            await self._look()
        return batch.events.positions

    def _measure(self, deliveries: Sequence[Delivery]) -> None:
        """By the record that waited longest: what holds for it holds for the others."""
        if self.arrivals is not None and deliveries:
            waited_ms = self.arrivals.now_ms() - min(delivery.timestamp_ms for delivery in deliveries)
            self.ingest.metrics.observe("apply_delay_seconds", max(0, waited_ms) / 1000)

    async def idle(self) -> None:
        """Looks whether the store has lost something while nothing comes in, and what is due. Raises StateLost."""
        with suppress(StoreUnavailable, BusUnavailable):
            if await self.progress.admit({}):
                await self._look()

    async def _look(self) -> None:
        """What is due and cannot be looked at now is due still the next time; the batch is done in any case."""
        if self.timers is not None:
            with suppress(StoreUnavailable, BusUnavailable):
                await self.timers.look()
