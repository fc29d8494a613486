"""What is held of volumes, for whoever looks: added up by pool from a real store, or not told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from event_schemas.topics import DECISIONS
from services.adapters import redis_volume_holds
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import VOLUME_LIBRARY, VolumeKeys

pytestmark = pytest.mark.servers


@dataclass(frozen=True, slots=True)
class Hold:
    tracking_id: str
    pool: str
    units: int
    deadline_ms: int | None = 1_000


@pytest.fixture
async def holds(tmp_path: Path) -> AsyncIterator[RedisVolumeHolds]:
    async with (
        embedded_valkey(tmp_path) as server,
        RedisClient.open(f"redis://127.0.0.1:{server.port}/0", library=VOLUME_LIBRARY) as client,
    ):
        yield RedisVolumeHolds(client, VolumeKeys("test"))


async def test_holds_are_added_up_by_pool_and_over_pages(
    holds: RedisVolumeHolds, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await holds.held() is None  # nobody reads the log for holds
    coffee, tea = holds.pool("coffee", "day-1"), holds.pool("tea", "day-1")
    begun = [Hold(f"d{number}.1", coffee if number % 3 else tea, 1 + number % 2) for number in range(9)]
    await holds.apply((DECISIONS, 0), (0, 9), 0, begun, {})
    expected = {pool: sum(hold.units for hold in begun if hold.pool == pool) for pool in (coffee, tea)}
    monkeypatch.setattr(redis_volume_holds, "_HELD_PAGE", 4)
    assert await holds.held() == expected
    monkeypatch.setattr(redis_volume_holds, "_HELD_MOST", 8)
    assert await holds.held() is None  # too many to keep others waiting for
    monkeypatch.undo()
    assert await holds.release(2_000) == 9
    assert await holds.held() == {}
