"""`kairos import` into a running state builder: attributes as served then, and no import once the state is ahead."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from event_schemas.codec import decode
from event_schemas.decisions import DecisionMade
from event_schemas.responses import ResponseRecorded
from event_schemas.topics import DECISIONS, RESPONSES
from services.__main__ import main
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.bootstrap import load_strategy, open_event_stream, open_publisher
from services.commands import topics
from services.commands.state_builder import build_states
from services.settings import Settings, read_settings
from services.simulation.cloud_events import EventHead, TimedEvent, cloud_event
from services.simulation.replay import Replayer, ReplayProgress
from services.simulation.snapshots import StateReader

pytestmark = pytest.mark.servers
STRATEGY = Path(__file__).parents[2] / "deploy" / "strategies" / "starbucks"
NOON = 1_533_038_400_000
DECISION = {
    "decision_id": "old-1", "customer_id": "retail:ann", "time": "2018-07-31T12:00:00Z", "placement": "weekly_offer",
    "chances": {"bogo_5_5d.email.message": 0.3}, "offered": "bogo_5_5d.email.message",
}  # fmt: skip
RESPONSE = {"response_id": "r-1", "decision_id": "old-1", "outcome": "impression", "time": "2018-07-31T12:00:00Z"}


def environment(servers: EmbeddedServers) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "KAIROS_KAFKA_PARTITIONS": "2",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(STRATEGY),
        "KAIROS_CLOCK": "events",
    }


@asynccontextmanager
async def building(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(build_states(settings, load_strategy(settings).features, PrometheusMetrics(), stop))
    try:
        yield
    finally:
        stop.set()
        await task


def purchase(number: int, at_ms: int) -> TimedEvent:
    head = EventHead(id=f"p-{number}", type="bank.transaction.posted", source="till", subject="retail:ann", at_ms=at_ms)
    return cloud_event(
        head, {"account_id": "ann", "direction": "debit", "amount": 450, "currency": "USD", "kind": "card"}
    )


async def publish_and_fold(settings: Settings, *events: TimedEvent) -> None:
    features = load_strategy(settings).features
    async with (
        open_publisher(settings) as publisher,
        RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client,
    ):
        replayer = Replayer(publisher=publisher, progress=ReplayProgress("test"))
        await replayer.publish_until(events, max(timed.at_ms for timed in events))
        store = RedisStateStore(client, RedisKeys(settings.namespace, features.layout))
        await StateReader(store=store, features=features).wait_until_applied(replayer.positions, 60.0)


async def on_the_bus(settings: Settings, topic: str) -> list[bytes]:
    async with open_event_stream(settings, [topic]) as stream:
        return [delivery.value for delivery in await stream.poll(100, 1.0) if delivery.value is not None]


async def test_a_past_decision_carries_what_was_known_then_and_waits_for_no_later_event(
    servers: EmbeddedServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(servers).items():
        monkeypatch.setenv(name, value)
    settings = read_settings({name: value for name, value in os.environ.items() if name.startswith("KAIROS_")})
    await topics.create(settings)
    file = tmp_path / "past.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(row) for row in (DECISION, RESPONSE)))
    command = ["import", str(file), "--source", "old_campaigns"]

    async with building(settings):
        await publish_and_fold(settings, purchase(1, NOON - 1000))
        assert await asyncio.to_thread(main, command) == 0
        await publish_and_fold(settings, purchase(2, NOON + 1000))
        assert await asyncio.to_thread(main, command) == 1

    [decision] = [decode(value) for value in await on_the_bus(settings, DECISIONS)]
    [response] = [decode(value) for value in await on_the_bus(settings, RESPONSES)]
    assert isinstance(decision, DecisionMade) and isinstance(response, ResponseRecorded)
    assert decision.data.attributes["purchase_count_7d"] == 1
    assert response.data.tracking_id == decision.data.placements[0].options[0].tracking_id
    printed = capsys.readouterr()
    assert "imported 1 decisions and 1 responses" in printed.out
    assert "old-1: the state of retail:ann holds events up to" in printed.err
