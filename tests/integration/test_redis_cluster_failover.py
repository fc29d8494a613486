"""A cluster that loses a master, with all it held or with its last writes.

What is gone is noticed by the parts that the master held, read from the log again and counted once; nobody else's
states are doubted meanwhile.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, TRANSACTIONS
from services.adapters.embedded_cluster import EmbeddedCluster, embedded_cluster, told
from services.adapters.embedded_servers import EmbeddedServer, embedded_broker, embedded_cluster_node
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_cluster_map import info_of
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_slots import SLOTS, slot_of
from services.adapters.redis_state_store import RedisStateStore
from services.bootstrap import open_publisher
from services.commands import doctor_servers
from services.commands.doctor_findings import Level
from services.commands.state_builder import build_states
from services.ports import OutgoingEvent, StoreUnavailable
from services.settings import Settings

pytestmark = pytest.mark.servers
TIME = 1_700_000_000_000
WAIT_S = 60
PEOPLE = [CustomerId(f"retail:{number}") for number in range(48)]
POSTED = FeatureDefinition(
    name="posted", source="bank.transaction.posted", aggregate=Aggregate.COUNT, theme="t", description={}
)
FEATURES = compile_features(FeatureDeclarations(time_zone="UTC", features=(POSTED,)))
_numbers = count()


@dataclass(frozen=True)
class Bank:
    """A cluster, a broker, and a state builder at work on them."""

    cluster: EmbeddedCluster
    client: RedisClient
    publisher: KafkaEventPublisher
    settings: Settings
    metrics: PrometheusMetrics
    builder: "asyncio.Task[None]"
    posted: Counter[CustomerId]

    @property
    def keys(self) -> RedisKeys:
        return RedisKeys(self.settings.namespace, FEATURES.layout).divided(self.client.tags)

    async def post(self, people: Sequence[CustomerId]) -> dict[tuple[str, int], int]:
        """A transaction of each; answers for each partition the next offset after them."""
        ends: dict[tuple[str, int], int] = {}
        for topic, partition, offset in await self.publisher.publish([transaction(person) for person in people]):
            ends[topic, partition] = offset + 1
        self.posted.update(people)
        return ends

    async def until_applied(self, ends: Mapping[tuple[str, int], int]) -> None:
        """Waits until every part says that it holds everything before these offsets, and all are relied on."""
        namespaces = RedisNamespaces(self.client, self.settings.namespace)
        async with asyncio.timeout(WAIT_S):
            while True:
                assert not self.builder.done()
                with suppress(StoreUnavailable):
                    held = await namespaces.held(FEATURES.layout, ends)
                    if all(held[p] >= end for p, end in ends.items()) and await namespaces.is_whole(FEATURES.layout):
                        return
                await asyncio.sleep(0.02)

    async def assert_counted(self) -> None:
        """Every transaction of everybody is counted once."""
        states = await RedisStateStore(self.client, self.keys).load_many(PEOPLE)
        found = {
            person: read_snapshot(FEATURES, state, TIME).attributes.get("posted")
            for person, state in zip(PEOPLE, states, strict=True)
        }
        assert found == {person: self.posted[person] for person in PEOPLE}

    def is_of(self, person: CustomerId, master: int) -> bool:
        """Whether that master, in the order of their slots, has the person's part."""
        return slot_of(self.keys.state(person).encode()) * len(self.cluster.masters) // SLOTS == master


def transaction(person: CustomerId) -> OutgoingEvent:
    data = {"account_id": "a", "direction": "debit", "amount": 100, "currency": "CNY", "kind": "card"}
    header: dict[str, str | datetime] = {
        "id": f"e{next(_numbers)}",
        "source": "core",
        "subject": person,
        "time": from_epoch_ms(TIME),
    }
    return OutgoingEvent(topic=TRANSACTIONS, key=person, value=encode_trusted("bank.transaction.posted", header, data))


@asynccontextmanager
async def bank_on(cluster: EmbeddedCluster, folder: Path) -> AsyncIterator[Bank]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(embedded_broker(folder))
        settings = Settings(
            kafka_bootstrap_servers=f"127.0.0.1:{broker.port}",
            kafka_idempotence=False,
            kafka_session_timeout_ms=2000,
            redis_url=cluster.redis_url,
            clock="events",
            batch_records=50,
        )
        await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
        client = await stack.enter_async_context(
            RedisClient.open(settings.redis_url, limits=ClientLimits(timeout_s=2.0))
        )
        publisher = await stack.enter_async_context(open_publisher(settings))
        metrics, stop = PrometheusMetrics(), asyncio.Event()
        builder = asyncio.create_task(build_states(settings, FEATURES, metrics, stop))
        try:
            yield Bank(cluster, client, publisher, settings, metrics, builder, Counter())
        finally:
            stop.set()
            await builder


async def ended(server: EmbeddedServer) -> None:
    server.process.kill()
    await server.process.wait()


@asynccontextmanager
async def relied_on(bank: Bank, person: CustomerId) -> AsyncIterator[None]:
    """Somebody is decided with state all the time that the context lasts."""
    decisions, stop, looks = RedisDecisionStore(bank.client, bank.keys), asyncio.Event(), [0]

    async def look() -> None:
        while not stop.is_set():
            reading = await decisions.read_for_decision(person, None)
            assert reading.complete
            assert reading.state is not None
            looks[0] += 1
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        stop.set()
        await looking
        assert looks[0]


async def test_a_master_that_comes_back_with_nothing_is_filled_again_and_the_others_are_relied_on(
    tmp_path: Path,
) -> None:
    binary = os.environ.get("KAIROS_TEST_REDIS_SERVER")
    async with embedded_cluster(tmp_path, binary=binary) as cluster, bank_on(cluster, tmp_path) as bank:
        await bank.until_applied(await bank.post(PEOPLE))
        other = next(person for person in PEOPLE if bank.is_of(person, 0))
        lost = cluster.masters[1]
        async with relied_on(bank, other):
            await ended(lost)
            ends = await bank.post(PEOPLE[::2])
            async with embedded_cluster_node(tmp_path, binary, lost):
                await bank.until_applied(ends)
                await bank.assert_counted()
                assert await told(lost, "DBSIZE"), "its people are with it again"
    assert b'kairos_state_rewinds_total{topic="bank.transactions.v1"}' in bank.metrics.exposition()[0]


async def test_writes_that_a_failover_loses_are_read_from_the_log_again(tmp_path: Path) -> None:
    binary = os.environ.get("KAIROS_TEST_REDIS_SERVER")
    async with (
        embedded_cluster(tmp_path, replicas=True, binary=binary) as cluster,
        bank_on(cluster, tmp_path) as bank,
    ):
        await bank.until_applied(await bank.post(PEOPLE))
        master, replica = cluster.masters[2], cluster.replicas[2]
        await told(replica, "CONFIG", "SET", "masterauth", "wrong")
        await told(replica, "CLIENT", "KILL", "TYPE", "master")
        async with asyncio.timeout(WAIT_S):
            while info_of(await told(replica, "INFO", "replication")).get("master_link_status") != "down":
                await asyncio.sleep(0.02)
        before = await bank.post(PEOPLE[::3])
        await bank.until_applied(before)
        await ended(master)
        await bank.until_applied(before | await bank.post(PEOPLE[::5]))
        await bank.assert_counted()
        assert info_of(await told(replica, "INFO", "replication"))["role"] == "master"
    assert b'kairos_state_rewinds_total{topic="bank.transactions.v1"}' in bank.metrics.exposition()[0]


async def test_the_doctor_looks_at_every_master(cluster_of_three: str) -> None:
    places = cluster_of_three.partition("://")[2].split(",")
    findings = {
        finding.about: finding for finding in await doctor_servers.store(Settings(redis_url=cluster_of_three), None)
    }
    assert {f"store memory {place}" for place in places} | {f"clock {place}" for place in places} <= findings.keys()
    assert findings["cluster slots"].said == "all 16384 are served, by 3 masters"
    assert findings["cluster replicas"].level is Level.WARN
