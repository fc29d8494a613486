"""The way onto the bus: acknowledged batches, and a bounded outbox for what must not make a caller wait."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber, ProducerFenced
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata

from services.adapters.kafka_security import PLAINTEXT, KafkaSecurity
from services.ports import BusPosition, BusUnavailable, OutgoingEvent
from services.use_cases.circuit_breaker import CircuitBreaker, Way
from services.use_cases.running_beside import running_beside

_log = logging.getLogger(__name__)
_BATCH_BYTES = 262_144
"""Large batches triple the producer's throughput; lone published events still leave at once, for linger is zero."""
_RETRY_SECONDS = 0.5
_GATHER_SECONDS = 0.02
"""How long the outbox gathers before it is sent: nobody waits for it, and a request to the broker costs more processor
time than many events."""
_STALLED_SECONDS = 1.0
"""A bus that owes an acknowledgement for so long is not asked for more: acknowledgements come within milliseconds."""
_IDLE_SECONDS = 30.0
"""Whoever was asked to publish nothing for so long cannot find out by publishing whether the bus is back."""
_CONTENT_TYPE = ("content-type", b"application/cloudevents+json")
_partition_of = DefaultPartitioner()
Lot = tuple[str, int]
"""Topic and partition."""


class KafkaEventPublisher:
    """Publishes CloudEvents with all in-sync replicas acknowledging.

    `enqueue` hands over to an outbox of at most `outbox_limit` events that a background task sends in order, a batch
    for each partition; what a broker refuses or loses is tried again until it is back. While the bus
    hangs `publish` fails at once, but for one call at a time that finds out whether it still does (`breaker`): a batch
    of the outbox finds it out as well and, where nothing is sent at all, `ping`. Use as an async context manager;
    leaving flushes. Should that task fail in a way nobody foresaw, whoever entered is cancelled and the error raised:
    an outbox that nobody sends would only fill.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        idempotence: bool = True,
        publish_timeout_s: float = 5.0,
        outbox_limit: int = 100_000,
        security: KafkaSecurity = PLAINTEXT,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self._breaker = breaker or CircuitBreaker()
        self.on_acknowledged: Callable[[Sequence[OutgoingEvent]], None] = lambda _: None
        """Told of what was enqueued and the bus has."""
        self._awaited: dict[int, float] = {}
        """Since when each call of `publish` waits, the oldest first."""
        self._calls = count()
        self._asked_s = float("-inf")
        """When `publish` was called last."""
        self._security = security
        self._bootstrap_servers = bootstrap_servers
        self._idempotence = idempotence
        self._timeout_s = publish_timeout_s
        self._outbox: deque[OutgoingEvent] = deque()
        self._outbox_limit = outbox_limit
        self._unacknowledged = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._producer: AIOKafkaProducer | None = None
        self._ended = False
        """The producer sends nothing any more."""
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._producer = await self._new_producer()
        # What is entered last is left first: flushed, then no longer sent, then closed.
        self._open.push_async_callback(self._stop)
        await self._open.enter_async_context(running_beside(self._send_outbox(), "kafka-outbox"))
        self._open.push_async_callback(self._flush_in_time)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.__aexit__(exc_type, exc, traceback)

    @property
    def backlog(self) -> int:
        """Enqueued events that the bus has not acknowledged yet."""
        return len(self._outbox) + self._unacknowledged

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[BusPosition]:
        """Sends all and waits for every acknowledgement; answers their positions. Raises BusUnavailable."""
        self._asked_s = now_s = asyncio.get_running_loop().time()
        if self._awaited and now_s - next(iter(self._awaited.values())) > _STALLED_SECONDS:
            self._breaker.trip(now_s)
        way = self._breaker.way(now_s)
        if way is Way.OPEN:
            raise BusUnavailable("the bus acknowledges nothing, and is not asked")
        call = next(self._calls)
        self._awaited[call] = now_s
        try:
            async with asyncio.timeout(self._timeout_s):
                sent = [await self._send(event) for event in events]
                records = await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            if _ends_producer(error):
                self._ended = True
                self._filled.set()
            if isinstance(error, TimeoutError) or error.retriable:
                self._breaker.failed(way, asyncio.get_running_loop().time())
            raise BusUnavailable(f"the bus did not acknowledge {len(events)} events: {error!r}") from error
        finally:
            del self._awaited[call]
        self._breaker.succeeded(way)
        return [(record.topic, record.partition, record.offset) for record in records]

    def enqueue(self, event: OutgoingEvent) -> None:
        """Takes the event without waiting. Raises BusUnavailable when the outbox is full."""
        if self.backlog >= self._outbox_limit:
            raise BusUnavailable(f"the outbox holds {self.backlog} unacknowledged events, its limit")
        self._drained.clear()
        self._outbox.append(event)
        self._filled.set()

    async def flush(self) -> None:
        """Waits until everything enqueued is acknowledged."""
        await self._drained.wait()

    async def ping(self) -> None:
        """Raises BusUnavailable when no broker answers."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._started().client.fetch_all_metadata()
        except (KafkaError, TimeoutError) as error:
            raise BusUnavailable(f"no broker answers at {self._bootstrap_servers}") from error
        now_s = asyncio.get_running_loop().time()
        # An answer says less than an acknowledgement, and counts only where none is to be had.
        if not self.backlog and now_s - self._asked_s > _IDLE_SECONDS and self._breaker.way(now_s) is Way.PROBE:
            self._breaker.succeeded(Way.PROBE)

    async def _flush_in_time(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self.flush()
        if self.backlog:
            _log.error("%d events were not acknowledged before the stop", self.backlog, extra={"action": "publish"})

    async def _new_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            acks="all",
            enable_idempotence=self._idempotence,
            max_batch_size=_BATCH_BYTES,
            max_request_size=4 * _BATCH_BYTES,
            linger_ms=0,
            request_timeout_ms=10_000,
            **self._security.options(),
        )
        try:
            await producer.start()
        except KafkaError as error:
            await producer.stop()
            raise BusUnavailable(f"no broker answers at {self._bootstrap_servers}: {error!r}") from error
        return producer

    async def _renew(self) -> None:
        """Another producer in place of one that sends nothing any more; without a broker that one stays for now."""
        try:
            producer = await self._new_producer()
        except BusUnavailable as error:
            _log.warning("the producer has ended and cannot be replaced: %s", error, extra={"action": "publish"})
            return
        _log.warning("the producer had ended and was replaced", extra={"action": "publish"})
        await self._stop()
        self._producer, self._ended = producer, False

    async def _stop(self) -> None:
        # An ended one throws what ended it once more.
        with suppress(TimeoutError, KafkaError, RuntimeError):
            await asyncio.wait_for(self._started().stop(), self._timeout_s)

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise BusUnavailable("the publisher is not open")
        return self._producer

    async def _send(self, event: OutgoingEvent) -> "asyncio.Future[RecordMetadata]":
        sent: asyncio.Future[RecordMetadata] = await self._started().send(
            event.topic, event.value, key=event.key.encode(), headers=_headers(event), partition=event.partition
        )
        return sent

    async def _send_outbox(self) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._filled.clear()
            if self._ended:
                await self._renew()
            events = list(self._outbox)
            self._outbox.clear()
            self._unacknowledged += len(events)
            try:
                lots = await self._by_partition(events)
            except (KafkaError, BusUnavailable) as error:
                await self._again_later(events, error)
                continue
            for (topic, partition), lot in lots.items():
                await self._send_lot(topic, partition, lot)

    async def _by_partition(self, events: Sequence[OutgoingEvent]) -> dict[Lot, list[OutgoingEvent]]:
        """The events in their order, by the partition that their key belongs to, as `send` would tell it."""
        producer = self._started()
        partitions = {topic: sorted(await producer.partitions_for(topic)) for topic in {e.topic for e in events}}
        lots: dict[Lot, list[OutgoingEvent]] = {}
        for event in events:
            known = partitions[event.topic]
            chosen = event.partition
            partition = _partition_of(event.key.encode(), known, known) if chosen is None else chosen
            lots.setdefault((event.topic, partition), []).append(event)
        return lots

    async def _send_lot(self, topic: str, partition: int, lot: Sequence[OutgoingEvent]) -> None:
        """As few batches as hold the events; each stands or falls as a whole."""
        while lot:
            batch = self._started().create_batch()
            taken = 0
            for event in lot:
                key, headers = event.key.encode(), _headers(event)
                if batch.append(key=key, value=event.value, timestamp=None, headers=headers) is None:
                    break
                taken += 1
            part, lot = lot[:taken], lot[taken:]
            sent_s = asyncio.get_running_loop().time()
            way = self._breaker.way(sent_s)
            try:
                future = await self._started().send_batch(batch, topic, partition=partition)
            except (KafkaError, BusUnavailable) as error:
                await self._again_later(part, error)
            else:
                if way is Way.PROBE:
                    future.add_done_callback(partial(self._probed, sent_s))
                future.add_done_callback(partial(self._acknowledged, part))

    def _probed(self, sent_s: float, done: "asyncio.Future[RecordMetadata]") -> None:
        """A batch went out while the circuit was open. In no more time than `publish` would have waited, its
        acknowledgement closes it."""
        in_time = asyncio.get_running_loop().time() - sent_s <= self._timeout_s
        if in_time and not done.cancelled() and done.exception() is None:
            self._breaker.succeeded(Way.PROBE)

    def _acknowledged(self, events: Sequence[OutgoingEvent], done: "asyncio.Future[RecordMetadata]") -> None:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._unacknowledged -= len(events)
            self.on_acknowledged(events)
            if not self.backlog:
                self._drained.set()
        else:
            self._again(events, error)

    async def _again_later(self, events: Sequence[OutgoingEvent], error: BaseException) -> None:
        self._again(events, error)
        await asyncio.sleep(_RETRY_SECONDS)

    def _again(self, events: Sequence[OutgoingEvent], error: BaseException) -> None:
        _log.warning(
            "%d events were not acknowledged and are sent again: %r", len(events), error, extra={"action": "publish"}
        )
        self._ended = self._ended or _ends_producer(error)
        self._unacknowledged -= len(events)
        self._outbox.extend(events)
        self._filled.set()


def _ends_producer(error: BaseException) -> bool:
    """Whether a producer that fails so is done for. aiokafka's sender ends with any error it does not know, such as an
    event loop's about a connection that was cut while it was written to, and gives every batch since then the bare
    KafkaError; the other two end one that numbers what it sends."""
    return type(error) is KafkaError or isinstance(error, ProducerFenced | OutOfOrderSequenceNumber)


def _headers(event: OutgoingEvent) -> list[tuple[str, bytes]]:
    return [_CONTENT_TYPE, *event.headers.items()]
