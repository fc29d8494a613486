"""The outbound topic read as a log: whether an event that may have been published stands on it."""

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from event_schemas.topics import OUTBOUND
from services.adapters.kafka_security import PLAINTEXT, KafkaSecurity
from services.ports import BusPosition, BusUnavailable, EventPublisher, OutgoingEvent

OFFERED = "nbo.outbound.offered"
_SILENCE_S = 0.4
"""A broker may name an end that is too early; what stands behind it comes within one fetch."""
_BEHIND_END_S = 2.0
"""So long what others publish meanwhile is read along, where it never falls silent."""
_TIMEOUT_S = 30.0
MOST_CONTACTS = 200_000
"""Beyond so many of a partition, those that stand before what is asked for are forgotten, and read again if need be."""


class _Contacts:
    """The contacts of one partition from an offset on, as far as they were read: some 400 bytes each."""

    def __init__(self, begins: int) -> None:
        self.begins = self.ends = begins
        self.contacts: dict[str, Mapping[str, object]] = {}
        self._offsets: dict[str, int] = {}

    def add(self, offset: int, value: bytes) -> None:
        self.ends = offset + 1
        event = orjson.loads(value)
        if event["type"] == OFFERED:
            data = event["data"]
            offers = [{"offer": option["offer"]} for option in data["options"]]
            self.contacts[event["id"]] = {"decision_id": data["decision_id"], "options": offers}
            self._offsets[event["id"]] = offset

    def since(self, offset: int) -> "_Contacts":
        """Without what stands before the offset; whoever still looks for that keeps this one."""
        kept = _Contacts(offset)
        kept.ends = self.ends
        kept._offsets = {id_: stands for id_, stands in self._offsets.items() if stands >= offset}
        kept.contacts = {id_: self.contacts[id_] for id_ in kept._offsets}
        return kept


class KafkaOutboundLog:
    """Implements `use_cases.fire_triggers.OutboundLog`, and publishes, so that it knows how far the log reaches."""

    def __init__(
        self,
        bootstrap_servers: str,
        publisher: EventPublisher,
        *,
        most_contacts: int = MOST_CONTACTS,
        security: KafkaSecurity = PLAINTEXT,
    ) -> None:
        self._security = security
        self._bootstrap_servers = bootstrap_servers
        self._publisher = publisher
        self._most_contacts = most_contacts
        self._ends: dict[int, int] = {}
        self._read_before: dict[int, _Contacts] = {}

    async def publish(self, events: Sequence[OutgoingEvent]) -> Sequence[BusPosition]:
        """Passes on, and remembers where the events came to stand. Raises BusUnavailable."""
        positions = await self._publisher.publish(events)
        for topic, partition, offset in positions:
            if topic == OUTBOUND:
                self._ends[partition] = max(offset + 1, self._ends.get(partition, 0))
        return positions

    def enqueue(self, event: OutgoingEvent) -> None:
        """Passes on. Raises BusUnavailable."""
        self._publisher.enqueue(event)

    async def end(self, partition: int) -> int:
        """An offset that nothing stands before which is published from now on: the end as the broker names it, or as
        it was after what was published here."""
        if partition not in self._ends:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    ends = await self._broker_ends()
            except (KafkaError, TimeoutError) as error:
                raise BusUnavailable(f"the end of {OUTBOUND} could not be read: {error!r}") from error
            self._ends = {**ends, **self._ends}
        return self._ends.get(partition, 0)

    async def find(self, partition: int, offset: int, ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """Of those of these contacts that stand at or after the offset, by event id, the decision and the offers. What
        was read once is not read again. Raises BusUnavailable."""
        known = self._read_before.get(partition)
        if known is None or known.begins > offset or known.ends < offset:
            # Kept from now on: what was read before the time was up need not be read again.
            known = self._read_before[partition] = _Contacts(offset)
        elif len(known.contacts) > self._most_contacts:
            known = self._read_before[partition] = known.since(offset)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await self._read(TopicPartition(OUTBOUND, partition), known)
        except (KafkaError, TimeoutError) as error:
            raise BusUnavailable(f"{OUTBOUND}/{partition} could not be read from {offset}: {error!r}") from error
        return {id_: known.contacts[id_] for id_ in ids if id_ in known.contacts}

    async def _read(self, partition: TopicPartition, known: "_Contacts") -> None:
        consumer = self._consumer()
        await consumer.start()
        try:
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            consumer.seek(partition, known.ends)
            reached_s = None
            while reached_s is None or monotonic() < reached_s + _BEHIND_END_S:
                batches = await consumer.getmany(timeout_ms=int(_SILENCE_S * 1000))
                for record in batches.get(partition, ()):
                    known.add(record.offset, record.value)
                if await consumer.position(partition) >= end:
                    if not batches:
                        return
                    reached_s = reached_s or monotonic()
        finally:
            await consumer.stop()

    async def _broker_ends(self) -> dict[int, int]:
        consumer = self._consumer()
        await consumer.start()
        try:
            await consumer._client.set_topics((OUTBOUND,))  # noqa: SLF001 - as for any reader without a subscription
            numbers = consumer.partitions_for_topic(OUTBOUND) or ()
            ends = await consumer.end_offsets([TopicPartition(OUTBOUND, number) for number in numbers])
            return {tp.partition: end for tp, end in ends.items()}
        finally:
            await consumer.stop()

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            **self._security.options(),
        )
