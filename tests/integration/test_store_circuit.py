"""A store that hangs is found out, left alone, and taken back when it answers; so is a bus."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import orjson
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata, TopicPartition

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId
from event_schemas.topics import ALL_TOPICS, DECISIONS
from services.adapters.embedded_servers import EmbeddedServer, EmbeddedServers, embedded_valkey
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_topics import ensure_topics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.ports import BusUnavailable, OutgoingEvent, StoreUnavailable
from services.use_cases.circuit_breaker import CircuitBreaker
from services.use_cases.circuit_watch import watched_circuit
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, MakeDecision

BUDGET_MS = 100
CUSTOMER = CustomerId("retail:1")


class Node:
    """The small bank over a real store that a breaker watches."""

    def __init__(self, server: EmbeddedServer, client: RedisClient, small_bank: ModuleType) -> None:
        self.server, self.client = server, client
        self.bank = small_bank.Bank()
        self.live = small_bank.live(*small_bank.OFFERS, small_bank.offer("alert", mandatory=True, purpose="service"))
        keys = RedisKeys("kairos", self.live.features.layout)
        self.state_key, self.complete_key = keys.state(CUSTOMER), keys.complete
        self.state = small_bank.state(self.live.features)
        self.make = MakeDecision(
            DecisionPorts(
                live=lambda: self.live, store=RedisDecisionStore(client, keys), ledger=RedisContactLedger(client, keys),
                publisher=self.bank.bus, clock=self.bank.clock, ids=self.bank.ids, metrics=self.bank.metrics,
            )
        )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.server.pid, number)

    async def ask(self) -> dict[str, Any]:
        command = DecisionCommand(
            client="app", customer_id=CUSTOMER, channel="mobile", locale="en", timeout_ms=BUDGET_MS,
            placements=(PlacementRequest(id="home_banner", count=3),), started_s=perf_counter(),
        )  # fmt: skip
        answer: dict[str, Any] = orjson.loads(await self.make(command))
        return answer

    async def ask_many(self, count: int) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(self.ask() for _ in range(count))))


@pytest.fixture
async def node(tmp_path: Path, small_bank: ModuleType) -> AsyncIterator[tuple[Node, CircuitBreaker]]:
    bank = small_bank.Bank()
    breaker = watched_circuit("store", bank.metrics)
    async with (
        embedded_valkey(tmp_path) as server,
        RedisClient.open(f"redis://127.0.0.1:{server.port}", library=FUNCTION_LIBRARY, breaker=breaker) as client,
    ):
        made = Node(server, client, small_bank)
        made.bank.metrics = bank.metrics
        await client.execute("SET", made.complete_key, "1")
        await client.execute("SET", made.state_key, made.state)
        yield made, breaker
        if server.process.returncode is None:
            made.signal(signal.SIGCONT)
        await made.make.keeper.drain(2.0)


def fails_closed(answer: dict[str, Any]) -> bool:
    """Only what needs neither a state nor a cap is offered."""
    (placement,) = answer["placements"]
    return answer["degraded"] is True and [option["offer"] for option in placement["options"]] == ["alert"]


@pytest.mark.servers
async def test_a_store_that_hangs_is_left_alone_until_it_answers(node: tuple[Node, CircuitBreaker]) -> None:
    bank, breaker = node
    assert not (await bank.ask())["degraded"]
    bank.signal(signal.SIGSTOP)
    rounds = 0
    async with asyncio.timeout(10):
        while not breaker.is_open:
            rounds += 1
            assert all(map(fails_closed, await bank.ask_many(20)))
    assert rounds <= 6, "found out after some tens of requests"
    assert bank.bank.metrics.seen["circuit_opened_total", "store"] == 1
    waiting = bank.client._lanes.waiting
    assert all(map(fails_closed, await bank.ask_many(200)))
    assert bank.client._lanes.waiting <= waiting + 10, "one call at a time is let through"
    bank.signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while breaker.is_open:
            await bank.ask()
    await bank.make.keeper.drain()
    assert not (await bank.ask())["degraded"]


@pytest.mark.servers
async def test_a_store_that_is_gone_is_left_alone_too(node: tuple[Node, CircuitBreaker]) -> None:
    bank, breaker = node
    bank.signal(signal.SIGKILL)
    await bank.server.process.wait()
    async with asyncio.timeout(10):
        while not breaker.is_open:
            assert all(map(fails_closed, await bank.ask_many(20)))
    with pytest.raises(StoreUnavailable, match="not asked"):
        async with asyncio.timeout(5):
            while True:
                await bank.client.execute("GET", "x")


@pytest.mark.servers
async def test_a_refusal_is_an_answer(node: tuple[Node, CircuitBreaker]) -> None:
    bank, breaker = node
    await bank.client.execute("LPUSH", "list", "x")
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await bank.client.execute("GET", "list")
    assert not breaker.is_open


@pytest.mark.servers
async def test_a_loop_that_was_busy_blames_itself(node: tuple[Node, CircuitBreaker]) -> None:
    """The store has answered, but for a while nobody read: every caller gave up, and not because of the store."""
    bank, breaker = node

    async def hold() -> None:
        await asyncio.sleep(0)
        end_s = perf_counter() + 0.3
        while perf_counter() < end_s:
            pass

    for _ in range(2):
        answers, _ = await asyncio.gather(bank.ask_many(30), hold())
        assert any(answer["degraded"] for answer in answers)
    assert not breaker.is_open


class HangingBus(KafkaEventPublisher):
    """One whose broker hangs, refuses or acknowledges as it is told."""

    outcome: BaseException | None = None
    hangs = True
    sent = 0

    async def _send(self, event: OutgoingEvent) -> "asyncio.Future[RecordMetadata]":
        self.sent += 1
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        if self.outcome is not None:
            future.set_exception(self.outcome)
        elif not self.hangs:
            place = TopicPartition(event.topic, 0)
            future.set_result(RecordMetadata(event.topic, 0, place, 7, None, 0, 0))
        return future


EVENT = OutgoingEvent(topic="t", key="k", value=b"{}")


async def test_a_bus_that_hangs_is_not_waited_for_by_everybody() -> None:
    breaker = CircuitBreaker()
    bus = HangingBus("127.0.0.1:1", publish_timeout_s=0.05, breaker=breaker)
    while not breaker.is_open:
        with pytest.raises(BusUnavailable, match="did not acknowledge"):
            await bus.publish([EVENT])
    assert 5 <= bus.sent <= 20
    with pytest.raises(BusUnavailable, match="not asked"):
        await bus.publish([EVENT])
    bus.hangs = False
    async with asyncio.timeout(5):
        while breaker.is_open:
            try:
                await bus.publish([EVENT])
            except BusUnavailable:
                await asyncio.sleep(0.01)
    assert await bus.publish([EVENT]) == [("t", 0, 7)]


@pytest.mark.parametrize(("error", "opens"), [(KafkaConnectionError(), True), (MessageSizeTooLargeError(), False)])
async def test_only_what_is_the_bus_s_own_fault_opens_the_circuit(error: Exception, opens: bool) -> None:
    breaker = CircuitBreaker()
    bus = HangingBus("127.0.0.1:1", publish_timeout_s=0.05, breaker=breaker)
    bus.outcome = error
    for _ in range(40):
        with pytest.raises(BusUnavailable):
            await bus.publish([EVENT])
    assert breaker.is_open is opens


@pytest.fixture
async def bus(servers: EmbeddedServers) -> AsyncIterator[tuple[KafkaEventPublisher, CircuitBreaker]]:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    breaker = CircuitBreaker()
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False, breaker=breaker) as publisher:
        yield publisher, breaker


def open_for(breaker: CircuitBreaker, seconds: float) -> None:
    """The circuit opens, so long ago; below zero it is not asked yet."""
    breaker.trip(asyncio.get_running_loop().time() - seconds)


@pytest.mark.servers
async def test_a_bus_that_takes_records_again_is_asked_again_though_nobody_publishes(
    bus: tuple[KafkaEventPublisher, CircuitBreaker],
) -> None:
    publisher, breaker = bus
    for seconds, still_open in ((-60.0, True), (60.0, False)):
        breaker.is_open = False
        open_for(breaker, seconds)
        publisher.enqueue(OutgoingEvent(topic=DECISIONS, key="k", value=b"{}"))
        await asyncio.wait_for(publisher.flush(), 10)
        assert breaker.is_open is still_open


@pytest.mark.servers
async def test_a_bus_that_answers_is_asked_again_by_a_node_that_has_nothing_to_send(
    bus: tuple[KafkaEventPublisher, CircuitBreaker],
) -> None:
    publisher, breaker = bus
    for seconds, still_open in ((-60.0, True), (60.0, False)):
        breaker.is_open = False
        open_for(breaker, seconds)
        await publisher.ping()
        assert breaker.is_open is still_open


@pytest.mark.servers
async def test_where_events_are_published_only_an_acknowledgement_closes_the_circuit(
    bus: tuple[KafkaEventPublisher, CircuitBreaker],
) -> None:
    """A broker can answer and acknowledge nothing, for want of replicas."""
    publisher, breaker = bus
    event = OutgoingEvent(topic=DECISIONS, key="k", value=b"{}")
    await publisher.publish([event])
    open_for(breaker, 60.0)
    await publisher.ping()
    assert breaker.is_open
    await publisher.publish([event])
    assert not breaker.is_open
