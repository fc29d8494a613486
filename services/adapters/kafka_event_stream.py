"""Records from the bus: a member of a consumer group, or a reader that assigns itself everything."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from services.adapters.kafka_security import PLAINTEXT, KafkaSecurity
from services.ports import BusUnavailable, Delivery

Partition = tuple[str, int]
"""Topic and partition."""
RevokedCallback = Callable[[set[Partition]], Awaitable[None]]

_STOP_SECONDS = 5.0
_TOPIC_SECONDS = 10.0
"""How long a topic may be unknown to the broker that was created a moment ago."""
_TOPIC_POLL_SECONDS = 0.05
_METADATA_MS = 10_000
"""How old a member's picture of the topics may get. A group assigns by its leader's picture: one that missed a topic
is mended by the next look."""
_CUT = (KafkaError, OSError)
"""How the client says that the broker cannot be asked."""
_POSITION_SECONDS = 0.5
"""A position is at hand unless the partition has just been taken over or moved."""


class KafkaEventStream:
    """Reads topics in batches; offsets are committed only by `commit`, never in the background.

    With `group_id` partitions are shared with the group's other members, and `on_revoked` is awaited before any is
    given up. Without, the reader takes all partitions of its topics, from their beginning.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        group_id: str | None = None,
        *,
        on_revoked: RevokedCallback | None = None,
        session_timeout_ms: int = 10_000,
        security: KafkaSecurity = PLAINTEXT,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._security = security
        self._topics = tuple(topics)
        self._group_id = group_id
        self._on_revoked = on_revoked
        self._session_timeout_ms = session_timeout_ms
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # By ranges, the same partition of every topic goes to one member: a customer has one owner.
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=max(100, self._session_timeout_ms // 5),
            max_partition_fetch_bytes=4 * 1_048_576,
            fetch_max_wait_ms=100,
            metadata_max_age_ms=_METADATA_MS,
            **self._security.options(),
        )
        try:
            await self._consumer.start()
            if self._group_id is None:
                self._consumer.assign(await self._partitions_there())
                await self._consumer.seek_to_beginning()
            else:
                self._consumer.subscribe(self._topics, listener=_Listener(self._on_revoked))
        except KafkaError as error:
            await self._close()
            raise BusUnavailable(f"no broker answers at {self._bootstrap_servers}: {error!r}") from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        """What has come, oldest first within each partition; empty after `timeout_s` seconds without anything."""
        try:
            batches = await self._started().getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        except _CUT as error:
            raise BusUnavailable(f"the bus could not be read: {error!r}") from error
        return [
            Delivery(r.topic, r.partition, r.offset, r.key, r.value, tuple(r.headers), r.timestamp)
            for records in batches.values()
            for r in records
        ]

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """Commits the next offset to read, for partitions still owned; those given up meanwhile are left to their
        new owner. Raises BusUnavailable."""
        owned = self.assigned()
        offsets = {TopicPartition(*p): offset for p, offset in positions.items() if p in owned}
        if not offsets:
            return
        try:
            await self._started().commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return  # a rebalance took the partitions: positions in the state keep the new owner exact
        except _CUT as error:
            raise BusUnavailable(f"offsets could not be committed: {error!r}") from error

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Reads on from these offsets; only partitions assigned now."""
        for partition, offset in positions.items():
            self._started().seek(TopicPartition(*partition), offset)

    def assigned(self) -> set[Partition]:
        """The partitions this reader owns now."""
        return {(tp.topic, tp.partition) for tp in self._started().assignment()}

    async def positions(self) -> dict[Partition, int]:
        """The next offset to be read of every partition owned; it passes over what is no record."""
        consumer = self._started()
        try:
            return {(tp.topic, tp.partition): await consumer.position(tp) for tp in consumer.assignment()}
        except _CUT as error:
            raise BusUnavailable(f"positions could not be read: {error!r}") from error

    async def caught_up(self) -> set[Partition]:
        """The partitions owned of which everything has been polled that stood in the log when it was last fetched."""
        consumer, found = self._started(), set()
        for tp in consumer.assignment():
            end = consumer.highwater(tp)
            with suppress(KafkaError, IllegalStateError, TimeoutError):
                async with asyncio.timeout(_POSITION_SECONDS):
                    if end is not None and await consumer.position(tp) >= end:
                        found.add((tp.topic, tp.partition))
        return found

    async def beginning_offsets(self) -> dict[Partition, int]:
        """The oldest offset still kept, for every partition of the topics."""
        return await self._offsets(self._started().beginning_offsets)

    async def end_offsets(self) -> dict[Partition, int]:
        """The next offset to be written, as the broker says; the embedded broker understates it."""
        return await self._offsets(self._started().end_offsets)

    async def seek_to_time(self, since_ms: int) -> dict[Partition, int]:
        """Reads on with the first record of each partition that is not older (epoch milliseconds), and answers where
        that is; from the beginning where the broker cannot tell by time. Raises BusUnavailable."""
        consumer, partitions = self._started(), await self._all_partitions()
        beginnings, ends = await self.beginning_offsets(), await self.end_offsets()
        try:
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        except (*_CUT, ValueError):
            self.seek(beginnings)
            return beginnings
        positions = {
            (tp.topic, tp.partition): ends[tp.topic, tp.partition] if at is None else at.offset
            for tp, at in found.items()
        }
        self.seek(positions)
        return positions

    async def committed(self) -> dict[Partition, int | None]:
        """What the group has committed, for every partition of the topics; None where nothing."""
        consumer = self._started()
        try:
            found = {tp: await consumer.committed(tp) for tp in await self._all_partitions()}
        except _CUT as error:
            raise BusUnavailable(f"committed offsets could not be read: {error!r}") from error
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def lag(self) -> dict[str, int]:
        """For each topic the records of the partitions owned that the group has not committed, as the broker tells
        their ends. Raises BusUnavailable."""
        consumer, behind = self._started(), dict.fromkeys(self._topics, 0)
        owned = list(consumer.assignment())
        try:
            ends = await consumer.end_offsets(owned) if owned else {}
            for tp, end in ends.items():
                done = await consumer.committed(tp)
                behind[tp.topic] += max(0, end - (await consumer.position(tp) if done is None else done))
        except (*_CUT, IllegalStateError) as error:
            raise BusUnavailable(f"how far behind the group is could not be read: {error!r}") from error
        return behind

    async def _offsets(
        self, ask: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
    ) -> dict[Partition, int]:
        try:
            found = await ask(await self._all_partitions())
        except _CUT as error:
            raise BusUnavailable(f"offsets could not be read: {error!r}") from error
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def _partitions_there(self) -> list[TopicPartition]:
        """All partitions, once the broker knows them: of topics just made it may not for a moment. Raises
        BusUnavailable naming those it does not come to know."""
        deadline = asyncio.get_running_loop().time() + _TOPIC_SECONDS
        while True:
            partitions = await self._all_partitions()
            missing = set(self._topics) - {partition.topic for partition in partitions}
            if not missing:
                return partitions
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnavailable(
                    f"the broker has no topic {', '.join(sorted(missing))}; kairos topics creates them"
                )
            await asyncio.sleep(_TOPIC_POLL_SECONDS)
            await self._started()._client.force_metadata_update()  # noqa: SLF001 - asked once, it keeps to what it heard

    async def _all_partitions(self) -> list[TopicPartition]:
        consumer = self._started()
        # An assigned reader has no subscription that would fetch its topics' metadata.
        await consumer._client.set_topics(self._topics)  # noqa: SLF001
        return [
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in sorted(consumer.partitions_for_topic(topic) or ())
        ]

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise BusUnavailable("the stream is not open")
        return self._consumer

    async def _close(self) -> None:
        if self._consumer is not None:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self._consumer.stop(), _STOP_SECONDS)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, on_revoked: RevokedCallback | None) -> None:
        self._on_revoked = on_revoked

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        if self._on_revoked is not None and revoked:
            await self._on_revoked({(tp.topic, tp.partition) for tp in revoked})

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Nothing to prepare: state is in the store."""
