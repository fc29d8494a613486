"""A person's erasure does not wait for the archive's next write."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from decision_engine.identifiers import CustomerId
from event_schemas.codec import encode_trusted
from event_schemas.topics import TRANSACTIONS
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.parquet_archive import ArchiveReader
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import open_publisher
from services.commands import topics
from services.commands.archiver import METRICS, archive
from services.erasure_wiring import erasures_in_store, needed_pseudonyms
from services.ports import OutgoingEvent
from services.settings import Settings
from services.use_cases.erasure.request_erasure import RequestErasure
from services.workers.archiver import FlushPolicy

pytestmark = pytest.mark.servers
WAIT_S = 60
HOURLY = FlushPolicy(rows=1_000_000, seconds=3600.0)
GONE, STAYS = "retail:1787", "retail:2"


def spending(customer: str, number: int) -> OutgoingEvent:
    header = {"id": f"e{number}", "source": "core", "subject": customer, "time": "2026-11-21T09:30:00Z"}
    data = {"account_id": "a", "direction": "debit", "amount": 500, "currency": "CNY", "kind": "card"}
    value = encode_trusted("bank.transaction.posted", header, data)
    return OutgoingEvent(topic=TRANSACTIONS, key=customer, value=value)


async def test_an_erasure_is_carried_out_long_before_the_next_write_is_due(
    tmp_path: Path, servers: EmbeddedServers
) -> None:
    """What was archived before is gone through at once; what still waits of that person is never written."""
    settings = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers, kafka_idempotence=False, kafka_partitions=2,
        redis_url=servers.redis_url, archive_path=tmp_path / "archive", snapshot_path=tmp_path / "snapshots",
        pseudonym_key="a key of this test alone",
    )  # fmt: skip
    await topics.create(settings)
    async with open_publisher(settings) as publisher, RedisClient.open(settings.redis_url) as client:
        progress = erasures_in_store(settings, client)
        erase = RequestErasure(
            publisher=publisher, progress=progress, pseudonyms=needed_pseudonyms(settings), clock=SystemClock(),
            ids=UlidIds(),
        )  # fmt: skip

        async def both_are_kept() -> bool:
            return kept(settings) == {GONE, STAYS}

        await publisher.publish([spending(GONE, 1), spending(STAYS, 2)])
        await archived(settings, replace(HOURLY, rows=1), both_are_kept)
        await publisher.publish([spending(GONE, 3), spending(STAYS, 4)])
        person = await erase(CustomerId(GONE), "test")

        async def told() -> bool:
            known = await progress.progress(person)
            return known is not None and {"archive", "snapshots"} <= known.places.keys()

        await archived(settings, HOURLY, told)
        known = await progress.progress(person)
        assert known is not None
        assert known.places["archive"].removed
        assert not known.places["archive"].left
    assert kept(settings) == {STAYS}


async def archived(settings: Settings, policy: FlushPolicy, until: Callable[[], Awaitable[bool]]) -> None:
    """An archiver runs until that holds."""
    stop, metrics = asyncio.Event(), PrometheusMetrics(METRICS)
    running = asyncio.create_task(archive(settings, settings.archive_path, policy, metrics, stop))
    try:
        async with asyncio.timeout(WAIT_S):
            while not await until():
                assert not running.done(), running.result()
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await running


def kept(settings: Settings) -> set[str]:
    """Whose transactions the archive has."""
    records = ArchiveReader(settings.archive_path).read_events((TRANSACTIONS,))
    return {orjson.loads(record.value)["subject"] for record in records}
