"""`kairos replay` end to end: from gzip files over a real broker into states, and snapshots read back from them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.bootstrap import load_strategy
from services.commands import topics
from services.commands.replay import ReplayPlan, replay_plan
from services.commands.state_builder import build_states
from services.settings import Settings, read_settings

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def state_builder(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    building = asyncio.create_task(build_states(settings, load_strategy(settings).features, PrometheusMetrics(), stop))
    try:
        yield
    finally:
        stop.set()
        await building


async def settings_for(servers: EmbeddedServers) -> Settings:
    settings = read_settings(
        {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "KAIROS_KAFKA_PARTITIONS": "2",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(ROOT / "deploy" / "strategies" / "berka"),
            "KAIROS_CLOCK": "events",
        }
    )
    await topics.create(settings)
    return settings


async def test_snapshots_hold_what_was_known_at_the_end_of_their_day(
    servers: EmbeddedServers, tiny_berka: Path, tmp_path: Path
) -> None:
    settings = await settings_for(servers)
    days = (date(1993, 2, 10), date(1993, 4, 6))
    plan = ReplayPlan(data=tiny_berka, snapshot_at=days, snapshots=tmp_path / "snapshots")

    async with state_builder(settings):
        published = await replay_plan(settings, plan)

    early, late = (pq.read_table(tmp_path / "snapshots" / f"{day}.parquet").to_pylist() for day in days)
    by_customer = {row["customer_id"]: row for row in late}
    assert published == 17
    assert [row["customer_id"] for row in early] == ["retail:1", "retail:2"]
    assert early[1]["debit_sum_30d"] == 1_460 + 30_000
    assert early[1]["product_count"] == 1
    assert by_customer["retail:2"]["product_count"] == 3
    assert by_customer["retail:2"]["card_type"] == "classic"
    assert by_customer["retail:1"]["card_sum_30d"] == 100_000


async def test_replaying_again_changes_no_aggregate(servers: EmbeddedServers, tiny_berka: Path, tmp_path: Path) -> None:
    settings = await settings_for(servers)
    day = date(1993, 4, 6)
    plans = [ReplayPlan(data=tiny_berka, snapshot_at=(day,), snapshots=tmp_path / name) for name in ("one", "two")]

    async with state_builder(settings):
        for plan in plans:
            await replay_plan(settings, plan)

    one, two = (pq.read_table(plan.snapshots / f"{day}.parquet").to_pylist() for plan in plans)
    assert one == two
