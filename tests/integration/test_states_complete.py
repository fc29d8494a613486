"""Decisions rely on the states only while these hold the whole log: nothing fails open while they are read again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import orjson
import pytest

from decision_engine.features.compiled import compile_features
from decision_engine.features.definitions import FeatureDeclarations
from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from event_schemas.topics import ALL_TOPICS, PROFILE_UPDATES
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.commands.state_builder import build_states
from services.ports import CustomerReading, OutgoingEvent
from services.settings import read_settings
from services.use_cases.customer_facts import customer_facts

pytestmark = pytest.mark.servers

CUSTOMER = CustomerId("retail:7")
FEATURES = compile_features(FeatureDeclarations(time_zone="UTC"))


def withdrawal() -> OutgoingEvent:
    event = {
        "specversion": "1.0",
        "id": "withdrawal",
        "type": "bank.consent.changed",
        "source": "test",
        "subject": CUSTOMER,
        "time": datetime.now(UTC).isoformat(),
        "data": {"purpose": "marketing", "granted": False},
    }
    return OutgoingEvent(topic=PROFILE_UPDATES, key=CUSTOMER, value=orjson.dumps(event))


async def until(
    read: Callable[[], Awaitable[CustomerReading]], wanted: Callable[[CustomerReading], bool]
) -> CustomerReading:
    async with asyncio.timeout(20):
        while not wanted(reading := await read()):
            await asyncio.sleep(0.005)
    return reading


@pytest.mark.parametrize("servers", ["one server", "cluster"], indirect=True)
async def test_a_lost_store_is_not_relied_on_until_every_withdrawal_has_been_read_again(
    servers: EmbeddedServers,
) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    settings = read_settings(
        {
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        }
    )
    keys = RedisKeys(settings.namespace, FEATURES.layout)
    async with (
        RedisClient.open(servers.redis_url, library=FUNCTION_LIBRARY) as client,
        KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher,
    ):
        store = RedisDecisionStore(client, keys)

        async def read() -> CustomerReading:
            return await store.read_for_decision(CUSTOMER, None)

        assert not (await read()).complete, "nobody has read the log yet"
        stop = asyncio.Event()
        building = asyncio.create_task(build_states(settings, FEATURES, PrometheusMetrics(), stop))
        await until(read, lambda reading: reading.complete)
        await publisher.publish([withdrawal()])
        await until(read, lambda reading: reading.state is not None)

        await client.execute("FLUSHALL", "SYNC")
        lost = await read()
        facts = customer_facts(FEATURES, lost, (), 0)
        assert not facts.snapshot.known
        assert {"state_rebuilding", "ledger_unavailable"} <= set(facts.causes)
        again = await until(read, lambda reading: reading.complete)
        assert again.state is not None, "complete before the withdrawal was read again"
        assert read_snapshot(FEATURES, again.state, 0).consents == {"marketing": False}
        stop.set()
        await building
