"""What is enqueued reaches the bus in batches, and stands there as if each event had been published by itself."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, RequestTimedOutError
from aiokafka.structs import RecordMetadata

from event_schemas.topics import ALL_TOPICS, DECISIONS
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.ports import BusUnavailable, Delivery, OutgoingEvent

pytestmark = pytest.mark.servers

CUSTOMERS = [f"retail:{number}" for number in range(7)]
EVENTS_EACH = 20
PADDING = b"." * 20_000
"""Makes the events of one partition several batches long."""


async def test_enqueued_events_stand_where_published_ones_do_each_customer_s_in_order(servers: EmbeddedServers) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=3, replication=1)
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        published = await publisher.publish([event_of(customer, b"first") for customer in CUSTOMERS])
        for number in range(EVENTS_EACH):
            for customer in CUSTOMERS:
                publisher.enqueue(event_of(customer, b"%d%s" % (number, PADDING)))
        await asyncio.wait_for(publisher.flush(), 10)
    expected = [b"first", *(b"%d%s" % (number, PADDING) for number in range(EVENTS_EACH))]
    received = await everything(servers, len(CUSTOMERS) * len(expected))
    for customer, (_, partition, _) in zip(CUSTOMERS, published, strict=True):
        own = [delivery for delivery in received if delivery.key == customer.encode()]
        assert [delivery.value for delivery in own] == expected
        assert {delivery.partition for delivery in own} == {partition}


async def test_a_producer_that_has_ended_is_replaced_and_nothing_is_lost(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an event loop ends it that throws an error of its own about a connection cut while it is written to."""
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    thrown = iter([RuntimeError("unable to perform operation; the handler is closed")])
    original = AIOKafkaClient.send

    async def send(client: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> Any:
        if "Produce" in type(request).__name__ and (error := next(thrown, None)) is not None:
            raise error
        return await original(client, node_id, request, **options)

    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        monkeypatch.setattr(AIOKafkaClient, "send", send)
        for number in range(3):
            publisher.enqueue(event_of("retail:1", b"%d" % number))
        await asyncio.wait_for(publisher.flush(), 10)
        await publisher.publish([event_of("retail:1", b"3")])
    received = await everything(servers, 4)
    assert [delivery.value for delivery in received] == [b"0", b"1", b"2", b"3"]
    assert next(thrown, None) is None, "it was ended"


async def test_a_connection_cut_at_a_write_ends_neither_reading_nor_sending(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop says so by an error of its own; every client makes another connection and goes on."""
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    cut = 0
    original = asyncio.StreamWriter.write

    def write(writer: asyncio.StreamWriter, data: bytes) -> None:
        nonlocal cut
        if cut:
            cut -= 1
            raise RuntimeError("unable to perform operation; the handler is closed")
        original(writer, data)

    monkeypatch.setattr(asyncio.StreamWriter, "write", write)
    async with (
        KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher,
        KafkaEventStream(servers.bootstrap_servers, [DECISIONS], "g", session_timeout_ms=1000) as stream,
    ):
        received: list[bytes | None] = []
        for number in range(4):
            cut = 3
            publisher.enqueue(event_of("retail:1", b"%d" % number))
            async with asyncio.timeout(20):
                while len(received) <= number:
                    with suppress(BusUnavailable):
                        received += [delivery.value for delivery in await stream.poll(500, 0.2)]
    assert received == [b"0", b"1", b"2", b"3"]


async def test_headers_are_those_of_a_published_event(servers: EmbeddedServers) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    event = OutgoingEvent(topic=DECISIONS, key="retail:1", value=b"{}", headers={"trace": b"t1"})
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        await publisher.publish([event])
        publisher.enqueue(event)
        await asyncio.wait_for(publisher.flush(), 10)
    published, enqueued = await everything(servers, 2)
    assert enqueued.headers == published.headers
    assert dict(enqueued.headers)["trace"] == b"t1"


async def test_a_batch_that_is_refused_or_lost_is_sent_again(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    send_batch, attempts = AIOKafkaProducer.send_batch, 0

    async def unreliable(
        self: AIOKafkaProducer, batch: object, topic: str, *, partition: int
    ) -> "asyncio.Future[RecordMetadata]":
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise KafkaError("refused")
        if attempts == 2:
            lost: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
            lost.set_exception(RequestTimedOutError())
            return lost
        sent: asyncio.Future[RecordMetadata] = await send_batch(self, batch, topic, partition=partition)
        return sent

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", unreliable)
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        for number in range(3):
            publisher.enqueue(event_of("retail:1", b"%d" % number))
        await asyncio.wait_for(publisher.flush(), 10)
        assert publisher.backlog == 0
    assert attempts == 3
    assert [delivery.value for delivery in await everything(servers, 3)] == [b"0", b"1", b"2"]


def event_of(customer: str, value: bytes) -> OutgoingEvent:
    return OutgoingEvent(topic=DECISIONS, key=customer, value=value)


async def everything(servers: EmbeddedServers, count: int) -> list[Delivery]:
    received: list[Delivery] = []
    async with asyncio.timeout(20), KafkaEventStream(servers.bootstrap_servers, [DECISIONS]) as stream:
        while len(received) < count:
            received += await stream.poll(500, 1.0)
    return received
