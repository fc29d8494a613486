"""Delivery over a real broker: webhooks survive a kill, and streams go on exactly from node to node."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, DEAD_LETTERS, OUTBOUND
from services.adapters.embedded_servers import embedded_broker
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.system_clock import SystemClock
from services.api.stream_cursor import read_cursor
from services.api.stream_feed import FeedLimits, OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_session import Audience, StreamSession
from services.bootstrap import open_event_stream, open_publisher
from services.commands.deliver import METRICS, Receivers, deliver
from services.ports import OutgoingEvent
from services.settings import Settings

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
WAIT_S = 40


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    async with embedded_broker(tmp_path) as broker:
        address = f"127.0.0.1:{broker.port}"
        await ensure_topics(address, ALL_TOPICS, partitions=2, replication=1)
        yield Settings(kafka_bootstrap_servers=address, kafka_idempotence=False, kafka_session_timeout_ms=1000)


def offer(name: str, customer: str, *, urgent: bool = False) -> OutgoingEvent:
    now_ms = SystemClock().now_ms()
    data = {
        "decision_id": "D1", "customer_id": customer, "trigger": "salary", "channel": "manager", "urgent": urgent,
        "placement": "inbox_lead", "locale": "en", "expires_at": from_epoch_ms(now_ms + 3_600_000), "options": [],
    }  # fmt: skip
    header = {"id": name, "source": "kairos", "subject": customer, "time": from_epoch_ms(now_ms)}
    return OutgoingEvent(topic=OUTBOUND, key=customer, value=encode_trusted("nbo.outbound.offered", header, data))


class Receiver:
    """Takes webhooks; `refuse` are answered 500."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.pause_s = 0.0
        self.refuse: set[str] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(fields["content-length"]))
                await asyncio.sleep(self.pause_s)
                name = fields["webhook-id"]
                self.ids.append(name)
                status = b"500 No" if name in self.refuse else b"204 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def until(self, names: set[str]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not names <= set(self.ids):
                await asyncio.sleep(0.01)


async def start_victim(settings: Settings, webhooks: Path) -> asyncio.subprocess.Process:
    """A whole `kairos deliver`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "1000",
        "KAIROS_WEBHOOKS_FILE": str(webhooks),
    }
    return await asyncio.create_subprocess_exec(*(sys.executable, "-m", "services", "deliver"), env=environment)


async def test_webhooks_survive_a_kill_and_what_is_refused_is_set_aside(settings: Settings, tmp_path: Path) -> None:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (tmp_path / "secret").write_text(SECRET)
    webhooks = tmp_path / "webhooks.json"
    entry = {"name": "crm", "url": f"http://127.0.0.1:{port}/hook", "channels": ["manager"], "secret_file": "secret",
             "tries": 2, "first_pause_seconds": 0.05, "at_once": 2}  # fmt: skip
    webhooks.write_text(json.dumps([entry]))
    before = {f"a{n}": f"retail:{n % 4}" for n in range(12)}
    after = {f"b{n}": f"retail:{n % 4}" for n in range(24)}
    receiver.refuse = {"b5"}
    async with server, open_publisher(settings) as publisher:
        await publisher.publish([offer(name, customer) for name, customer in before.items()])
        victim = await start_victim(settings, webhooks)
        await receiver.until(set(before))
        receiver.pause_s = 0.1
        await publisher.publish([offer(name, customer) for name, customer in after.items()])
        async with asyncio.timeout(WAIT_S):
            while sum(name.startswith("b") for name in receiver.ids) < 6:
                await asyncio.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        receiver.pause_s, stop = 0.0, asyncio.Event()
        survivor = asyncio.create_task(deliver(settings, Receivers(webhooks), PrometheusMetrics(METRICS), stop))
        await receiver.until({*before, *after})
        letter = await dead_letter(settings)
        stop.set()
        await asyncio.wait_for(survivor, WAIT_S)
    assert letter["data"]["reason"] == "undeliverable" and letter["id"].endswith("/crm")
    assert orjson.loads(base64.b64decode(letter["data"]["payload_base64"]))["id"] == "b5"
    for customer in set(after.values()):
        own = [name for name, of in {**before, **after}.items() if of == customer]
        assert [name for name in dict.fromkeys(receiver.ids) if name in own] == own
    assert all(receiver.ids.count(name) == 1 for name in before), "what was done before the kill is not sent again"


async def test_receivers_are_followed_while_the_role_runs(settings: Settings, tmp_path: Path) -> None:
    """One moves, one is new, and a file that makes no sense changes nothing."""
    first, second = Receiver(), Receiver()
    servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in (first, second)]
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook" for server in servers]
    (tmp_path / "secret").write_text(SECRET)
    webhooks, stop = tmp_path / "webhooks.json", asyncio.Event()

    def entry(name: str, url: str) -> dict[str, object]:
        return {"name": name, "url": url, "channels": ["manager"], "secret_file": "secret"}

    webhooks.write_text(json.dumps([entry("crm", urls[0])]))
    receivers = Receivers(webhooks)
    async with servers[0], servers[1], open_publisher(settings) as publisher:
        role = asyncio.create_task(deliver(settings, receivers, PrometheusMetrics(METRICS), stop))
        await publisher.publish([offer("a", "retail:1")])
        await first.until({"a"})
        webhooks.write_text("[{")
        assert not receivers.look()
        webhooks.write_text(json.dumps([entry("crm", urls[1]), entry("archive", urls[0])]))
        async with asyncio.timeout(WAIT_S):
            while first.ids.count("a") < 2:
                await asyncio.sleep(0.02)
        await publisher.publish([offer("b", "retail:1")])
        await second.until({"b"})
        await first.until({"b"})
        stop.set()
        await asyncio.wait_for(role, WAIT_S)
    assert first.ids == ["a", "a", "b"], "the new receiver gets what is still valid"
    assert second.ids == ["b"], "the one that moved goes on where it was"


async def dead_letter(settings: Settings) -> Any:
    async with open_event_stream(settings, [DEAD_LETTERS]) as stream, asyncio.timeout(WAIT_S):
        while True:
            for delivery in await stream.poll(10, 0.1):
                assert delivery.value is not None
                return orjson.loads(delivery.value)


@asynccontextmanager
async def node(settings: Settings, **limits: Any) -> AsyncIterator[OutboundFeed]:
    feed = OutboundFeed(
        lambda: open_event_stream(settings, [OUTBOUND]), SystemClock(), PrometheusMetrics(),
        FeedLimits(end_slack=100_000, **limits),
    )  # fmt: skip
    async with feed.following():
        yield feed


async def read(feed: OutboundFeed, cursor: str | None, most: int) -> tuple[list[str], str]:
    """Up to so many offers, and the id to come back with."""
    place = None if cursor is None else read_cursor(cursor)
    session = StreamSession(feed, LogReplay(feed), Audience(channel="manager"), place, 0.3)
    names: list[str] = []
    frames = session.frames()
    async with asyncio.timeout(WAIT_S):
        async for frame in frames:
            fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n") if ": " in line)
            cursor = fields.get("id", cursor)
            if fields.get("event") == "offered":
                names.append(orjson.loads(fields["data"])["outbound_id"])
            if len(names) >= most or frame.startswith(b": alive"):
                break
    await frames.aclose()
    assert cursor is not None
    return names, cursor


async def test_a_stream_goes_on_from_node_to_node_and_back_into_the_log(settings: Settings) -> None:
    async with open_publisher(settings) as publisher:
        await publish(publisher, 0, 40)
        async with node(settings) as roomy, node(settings, messages=10) as narrow:
            got: list[str] = []
            cursor: str | None = None
            for turn in range(8):
                names, cursor = await read((roomy, narrow)[turn % 2], cursor, 5 if turn else 1)
                got += names
                if turn == 2:
                    await publish(publisher, 40, 60)
            for feed in (narrow, roomy):
                names, cursor = await read(feed, cursor, 100)
                got += names
    assert sorted(got) == sorted(f"o{number}" for number in range(60))
    for partition_mate in range(6):
        own = [f"o{number}" for number in range(60) if number % 6 == partition_mate and number % 7]
        assert [name for name in got if name in own] == own, "in order, but for what is urgent"


async def publish(publisher: KafkaEventPublisher, begin: int, end: int) -> None:
    await publisher.publish([offer(f"o{n}", f"retail:{n % 6}", urgent=n % 7 == 0) for n in range(begin, end)])
