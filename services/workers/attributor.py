"""The attributor: owns partitions of the log, remembers whom the bank reached with what, and credits conversions.

Each record counts once: the memory of a customer holds, like a state, how far every topic has been taken. What is
published before the memory is saved may be published again after a crash, with the same id and the same content.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from decision_engine.attribution import AttributionTerms
from decision_engine.attribution_memory import remember
from decision_engine.attribution_values import AttributionUnreadable
from decision_engine.identifiers import CustomerId
from services.ports import (
    BusUnavailable,
    Delivery,
    EventPublisher,
    Metrics,
    OutgoingEvent,
    StateStore,
    StateWrite,
    StoreUnavailable,
)
from services.use_cases.erasure.erased_people import ErasedPeople
from services.workers.attributor_events import ConversionEvents
from services.workers.attributor_facts import FactReader, FactUnreadable, PositionedFact
from services.workers.attributor_values import StoredMemory, read_memory, written_memory
from services.workers.store_progress import StoreProgress

Partition = tuple[str, int]
"""Topic and partition."""
Facts = Mapping[CustomerId, Sequence[PositionedFact]]
_CUSTOMERS_A_WRITE = 1_000
_TRIES = 5
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class FactBatch:
    """The facts of a batch by customer, where its records begin, and what to commit after it."""

    facts: dict[CustomerId, list[PositionedFact]] = field(default_factory=dict)
    firsts: dict[Partition, int] = field(default_factory=dict)
    positions: dict[Partition, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributor:
    """The work of one batch (`workers.consumer.Work`)."""

    store: StateStore
    publisher: EventPublisher
    progress: StoreProgress
    reader: FactReader
    events: ConversionEvents
    terms: AttributionTerms
    metrics: Metrics
    erased: ErasedPeople | None = None
    """Who must not come back; None where an erased person keeps a memory that says so."""
    fail_point: Callable[[str], None] = lambda _step: None
    """Called between steps; tests end the process there."""

    async def prepare(self, deliveries: Sequence[Delivery]) -> FactBatch:
        """Reads the facts; what cannot be read is counted and passed: setting it aside is the state builder's part."""
        batch = FactBatch()
        for delivery in deliveries:
            partition = (delivery.topic, delivery.partition)
            batch.firsts.setdefault(partition, delivery.offset)
            batch.positions[partition] = delivery.offset + 1
            try:
                found = self.reader.read(delivery)
            except FactUnreadable as error:
                self.metrics.count("attribution_unreadable_total", topic=delivery.topic)
                _log.warning("%s/%d/%d: %s", *partition, delivery.offset, error, extra={"action": "passed over"})
                continue
            if found is not None:
                batch.facts.setdefault(found[0], []).append(found[1])
        return batch

    async def apply(self, batch: FactBatch) -> Mapping[Partition, int]:
        """Takes the facts and publishes what they change. Raises StoreUnavailable, BusUnavailable, StateLost."""
        if not await self.progress.admit(batch.firsts):
            return {}
        customers = list(batch.facts)
        for begin in range(0, len(customers), _CUSTOMERS_A_WRITE):
            chosen = customers[begin : begin + _CUSTOMERS_A_WRITE]
            await self._take({customer: batch.facts[customer] for customer in chosen})
        self.fail_point("memories saved")
        await self.progress.record(batch.positions)
        return batch.positions

    async def idle(self) -> None:
        """Looks whether the store has lost something while nothing comes in. Raises StateLost."""
        with suppress(StoreUnavailable, BusUnavailable):
            await self.progress.admit({})

    async def _take(self, facts: Facts) -> None:
        """Until every memory is saved over the version it was read from."""
        for attempt in count(1):
            conflicts = await self._take_once(facts)
            if not conflicts:
                return
            if attempt >= _TRIES:
                raise StoreUnavailable(f"{len(conflicts)} memories were written by another attributor again and again")
            facts = {customer: facts[customer] for customer in conflicts}

    async def _take_once(self, facts: Facts) -> list[CustomerId]:
        customers = list(facts)
        values: Sequence[bytes | None] = await self.store.load_many(customers)
        if self.erased is not None:
            values = await self.erased.standing(customers, values)
        writes: list[StateWrite] = []
        news: list[OutgoingEvent] = []
        for customer, value in zip(customers, values, strict=True):
            stored = self._read(value)
            fresh = [one.fact for one in facts[customer] if stored.is_new(one.topic, one.offset)]
            if fresh:
                found = remember(stored.memory, fresh, self.terms)
                news += [self.events.event(customer, one) for one in found]
                writes.append(StateWrite(customer, value, written_memory(stored)))
        if news:
            await self.publisher.publish(news)
            self.metrics.count("conversions_attributed_total", len(news))
        self.fail_point("conversions published")
        if self.erased is not None:
            writes = self.erased.writes(writes)
        return await self.store.save_many(writes) if writes else []

    def _read(self, value: bytes | None) -> StoredMemory:
        """A memory that cannot be read is begun anew: it holds nothing that a later batch could not do without."""
        try:
            return read_memory(value)
        except AttributionUnreadable as error:
            self.metrics.count("attribution_unreadable_total", topic="memory")
            _log.error("an attribution memory is begun anew: %s", error, extra={"action": "none"})
            return read_memory(None)
