"""The state builder: owns partitions of the log and turns their events into customer state and contact ledger."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.ports import BusUnavailable, Clock, Delivery, StoreUnavailable
from services.use_cases.event_batches import FUTURE_TOLERANCE_MS, EventBatch, read_batch
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBuilder:
    """The work of one batch (`workers.consumer.Work`). With a `wall_clock` events from the future are refused."""

    ingest: IngestEvents
    dead_letters: DeadLetters
    progress: StoreProgress
    wall_clock: Clock | None

    async def prepare(self, deliveries: Sequence[Delivery]) -> PreparedBatch:
        """Decodes, and sets aside what cannot be read. Raises DeadLettersRefused."""
        latest_ms = None if self.wall_clock is None else self.wall_clock.now_ms() + FUTURE_TOLERANCE_MS
        events = read_batch(deliveries, latest_ms)
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
        await self.dead_letters.publish(await self.ingest.apply(batch.events))
        await self.progress.record(batch.events.positions)
        return batch.events.positions

    async def idle(self) -> None:
        """Looks whether the store has lost something while nothing comes in. Raises StateLost."""
        with suppress(StoreUnavailable, BusUnavailable):
            await self.progress.admit({})
