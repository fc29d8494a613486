"""Records that a node kept in the store and had not brought onto the bus when it died are published by a living one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId
from event_schemas.topics import ALL_TOPICS, DECISIONS
from services.adapters import kafka_event_publisher
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.redis_unpublished_records import RedisUnpublishedRecords
from services.api.runtime import ApiRuntime
from services.bootstrap import open_api
from services.ports import BusUnavailable, Delivery, IdempotencyClaim, OutgoingEvent
from services.settings import Settings
from services.use_cases import unpublished_records
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.unpublished_records import OwnRecords, RecoverRecords
from tests.served_strategy import settings_for

pytestmark = pytest.mark.servers
KEYS = RedisKeys("kairos", "a1b2c3d4e5f60718")
PATIENT = ClientLimits(timeout_s=5.0)
DEAD, ALIVE, OTHER, END = "dead", "alive", "other", "end"
FIRST, SECOND, THIRD = (DecisionId(f"01J{number}") for number in range(3))
EITHER_STORE = pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
STRATEGY = """
name: small
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 1, fallback: {treatment: none, content: {en: {title: x}}}}]
"""


class NoBus:
    """A bus that is away."""

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[tuple[str, int, int]]:
        raise BusUnavailable(f"{len(events)} events")

    def enqueue(self, event: OutgoingEvent) -> None:
        raise BusUnavailable(event.topic)


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(store_url, limits=PATIENT, library=FUNCTION_LIBRARY) as opened:
        yield opened


def record_of(decision_id: str) -> bytes:
    return orjson.dumps({"id": decision_id, "subject": f"retail:{decision_id[-1]}", "data": {}})


def noted(client: RedisClient) -> RedisUnpublishedRecords:
    return RedisUnpublishedRecords(client, KEYS.namespace, record_s=3600)


def claim(value: bytes, key: str = "app:r1") -> IdempotencyClaim:
    return IdempotencyClaim(key=key, value=value)


async def members(client: RedisClient, name: str) -> set[str]:
    found = await client.execute("SMEMBERS", name)
    assert isinstance(found, list)
    return {member.decode() for member in found if isinstance(member, bytes)}


async def keep(client: RedisClient, node: str, *decision_ids: DecisionId) -> None:
    """As a node does that lives and answers."""
    await noted(client).live(node)
    store = RedisDecisionStore(client, KEYS, node=node)
    for decision_id in decision_ids:
        assert await store.save(decision_id, record_of(decision_id), [], None, b"") is None


async def die(client: RedisClient, node: str) -> None:
    """What its silence comes to after some seconds."""
    assert await client.execute("DEL", KEYS.publishing(node)) == 1


async def on_the_bus(servers: Any) -> list[Delivery]:
    """Everything of the topic, which has one partition, up to a last event put there now."""
    end = uuid4().bytes
    async with KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
        await publisher.publish([OutgoingEvent(topic=DECISIONS, key=END, value=end)])
    found: list[Delivery] = []
    async with asyncio.timeout(20), KafkaEventStream(servers.bootstrap_servers, [DECISIONS]) as stream:
        while not found or found[-1].value != end:
            found += await stream.poll(100, 1.0)
    return [event for event in found if event.key != END.encode()]


async def test_a_record_is_noted_as_it_is_kept_and_only_then(client: RedisClient) -> None:
    store = RedisDecisionStore(client, KEYS, node=ALIVE).of_layout("0123456789abcdef")
    assert await store.save(FIRST, b"record", [], claim(b"one"), b"answer") is None
    assert await store.save(SECOND, b"record", [], None, b"") is None
    assert await store.save(THIRD, b"record", [], claim(b"two"), b"another") == b"answer"
    assert await members(client, KEYS.unpublished(ALIVE)) == {FIRST, SECOND}
    assert await store.record(THIRD) is None
    await RedisDecisionStore(client, KEYS).save(THIRD, b"record", [], claim(b"three", "app:r2"), b"answer")
    names = await client.everywhere("KEYS", f"{KEYS.namespace}:unpublished:*")
    assert sum(len(found) for found in names.values() if isinstance(found, list)) == 1, "others have no node to note"


async def test_a_node_that_says_it_lives_keeps_its_note_as_long_as_its_records(client: RedisClient) -> None:
    await keep(client, ALIVE, FIRST)
    await noted(client).live(ALIVE)
    asked = [("TTL", KEYS.unpublished(ALIVE)), ("TTL", KEYS.publishing(ALIVE))]
    kept_s, alive_s = await client.execute_many(asked)
    assert isinstance(kept_s, int) and isinstance(alive_s, int)
    assert 3590 < kept_s <= 3600
    assert 0 < alive_s <= 5


async def test_a_save_behind_its_acknowledgement_does_not_stay_noted(
    client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OwnRecords(noted(client), ALIVE)
    own.acknowledged([OutgoingEvent(topic=DECISIONS, key="retail:1", value=b"", record_of=FIRST)])
    await own.take_off()
    await keep(client, ALIVE, FIRST)
    await own.take_off()
    assert await members(client, KEYS.unpublished(ALIVE)) == {FIRST}, "too soon to be done once more"
    monkeypatch.setattr(unpublished_records, "AGAIN_SECONDS", 0.0)
    await own.take_off()
    assert await members(client, KEYS.unpublished(ALIVE)) == set()


async def test_thousands_are_taken_off_at_once(client: RedisClient) -> None:
    ids = [DecisionId(f"01J{number}") for number in range(1_234)]
    await client.execute("SADD", KEYS.unpublished(ALIVE), "01K", *ids)
    await noted(client).take_off(ALIVE, ids)
    assert await members(client, KEYS.unpublished(ALIVE)) == {"01K"}


@EITHER_STORE
async def test_what_the_bus_has_is_no_longer_noted_and_a_node_that_stops_is_forgotten(servers: Any) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    async with RedisClient.open(servers.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client:
        own = OwnRecords(noted(client), ALIVE)
        async with own.kept(), KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher:
            publisher.on_acknowledged = own.acknowledged
            assert await members(client, KEYS.publishers) == {ALIVE}
            await keep(client, ALIVE, FIRST, SECOND)
            event = OutgoingEvent(topic=DECISIONS, key="retail:0", value=record_of(FIRST), record_of=FIRST)
            publisher.enqueue(event)
            await asyncio.wait_for(publisher.flush(), 10)
            await own.take_off()
            assert await members(client, KEYS.unpublished(ALIVE)) == {SECOND}
            own.withdrawn(SECOND)
        assert await members(client, KEYS.unpublished(ALIVE)) == set()
        assert await members(client, KEYS.publishers) == set()
        assert await client.execute("EXISTS", KEYS.publishing(ALIVE)) == 0


@EITHER_STORE
async def test_what_a_dead_node_left_reaches_the_bus_once(servers: Any) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    metrics = PrometheusMetrics()
    async with (
        RedisClient.open(servers.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client,
        KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher,
    ):
        await keep(client, DEAD, FIRST, SECOND, THIRD)
        await keep(client, ALIVE, DecisionId("01J7"))
        await client.execute("DEL", KEYS.decision(SECOND))  # as an erasure does
        await client.execute("SET", KEYS.decision(THIRD), b"no record")
        one, other = (RecoverRecords(noted(client), publisher, metrics, name) for name in (ALIVE, OTHER))
        assert await one() + await other() == 0, "both nodes live"
        await die(client, DEAD)
        await die(client, ALIVE)
        assert await one() == 1, "its own is not for itself to recover"
        await noted(client).live(ALIVE)
        assert sorted(await asyncio.gather(one(), other())) == [0, 0]
        assert await members(client, KEYS.unpublished(DEAD)) == set()
        assert await members(client, KEYS.unpublished(ALIVE)) == {"01J7"}
        assert await members(client, KEYS.publishers) == {ALIVE}
        found = await on_the_bus(servers)
    assert [(event.key, event.value) for event in found] == [(b"retail:0", record_of(FIRST))]
    assert b"kairos_records_recovered_total 1.0" in metrics.exposition()[0]


async def test_two_that_look_at_once_share_what_there_is(client: RedisClient, small_bank: Any) -> None:
    await keep(client, DEAD, *(DecisionId(f"01J{number:03}") for number in range(123)))
    await die(client, DEAD)
    bus, metrics = small_bank.FakeBus(), PrometheusMetrics()
    looks = [RecoverRecords(noted(client), bus, metrics, name) for name in (ALIVE, OTHER)]
    assert sorted(await asyncio.gather(*(look() for look in looks))) == [0, 123]
    assert len({event.record_of for event in bus.events}) == len(bus.events) == 123


async def test_while_the_bus_is_away_nothing_is_forgotten(client: RedisClient, small_bank: Any) -> None:
    await keep(client, DEAD, FIRST)
    await die(client, DEAD)
    with pytest.raises(BusUnavailable):
        await RecoverRecords(noted(client), NoBus(), PrometheusMetrics(), ALIVE)()
    bus = small_bank.FakeBus()
    recover = RecoverRecords(noted(client), bus, PrometheusMetrics(), OTHER)
    assert await recover() == 0, "it is claimed"
    await client.execute("DEL", KEYS.recovering(DEAD))  # as after some seconds
    assert await recover() == 1
    assert [event.value for event in bus.events] == [record_of(FIRST)]


async def test_a_node_that_was_slow_and_not_dead_is_not_forgotten(client: RedisClient) -> None:
    await keep(client, DEAD, FIRST)
    await noted(client).forget(DEAD)
    assert await members(client, KEYS.publishers) == {DEAD}


@pytest.fixture
async def settings(servers: Any, tmp_path: Path) -> Settings:
    made = settings_for(STRATEGY, servers, tmp_path)
    await ensure_topics(made.kafka_bootstrap_servers, ALL_TOPICS, partitions=1, replication=1)
    return made


async def decide(runtime: ApiRuntime, number: int, request_id: str | None) -> str:
    make = MakeDecision(
        DecisionPorts(
            live=runtime.live, store=runtime.store, ledger=runtime.ledger, publisher=runtime.publisher,
            clock=runtime.clock, ids=runtime.ids, metrics=runtime.metrics, keeper=runtime.keeper,
        )
    )  # fmt: skip
    answer = await make(
        DecisionCommand(
            client="app", customer_id=CustomerId(f"retail:{number}"), channel="branch", locale="en",
            placements=(PlacementRequest(id=PlacementId("tablet"), count=1),), request_id=request_id,
            started_s=perf_counter(), timeout_ms=1000,
        )
    )  # fmt: skip
    return str(orjson.loads(answer)["decision_id"])


async def test_an_api_publishes_what_another_kept_and_never_sent(
    servers: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = RedisKeys(settings.namespace, "")
    async with RedisClient.open(settings.redis_url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(kafka_event_publisher, "_GATHER_SECONDS", 3600.0)
            async with open_api(settings) as runtime:
                decided = {await decide(runtime, 1, None), await decide(runtime, 2, "r1")}
                (node,) = await members(client, keys.publishers)
                assert await members(client, keys.unpublished(node)) == decided
                runtime.publisher._timeout_s = 0.01  # type: ignore[attr-defined]
        assert await on_the_bus(servers) == []
        assert await members(client, keys.publishers) == {node}, "it has left something"
        monkeypatch.setattr(unpublished_records, "LOOK_SECONDS", 0.01)
        async with open_api(settings) as runtime:
            async with asyncio.timeout(20):
                while await members(client, keys.unpublished(node)):
                    await asyncio.sleep(0.02)
            decided.add(await decide(runtime, 3, "r2"))
        assert await members(client, keys.publishers) == set(), "nothing is left"
    found = [orjson.loads(event.value or b"{}") for event in await on_the_bus(servers)]
    assert sorted(event["id"] for event in found) == sorted(decided)
    assert {event["subject"] for event in found} == {"retail:1", "retail:2", "retail:3"}
