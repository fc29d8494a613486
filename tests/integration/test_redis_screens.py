"""What the screens keep in a real store: sessions that expire, and the customers a person opened last."""

from typing import Any

import pytest

from services.adapters.redis_client import RedisClient
from services.adapters.redis_screens import RECENT_MOST, RedisScreens

pytestmark = pytest.mark.servers


async def test_sessions_are_kept_for_their_time_and_forgotten_when_removed(servers: Any) -> None:
    async with RedisClient.open(servers.redis_url) as client:
        screens = RedisScreens(client, "ours")
        await screens.save("digest", b"who", 60)
        assert await screens.load("digest") == b"who"
        seconds = await client.execute("TTL", "ours:session:digest")
        assert isinstance(seconds, int)
        assert 50 <= seconds <= 60
        await screens.remove("digest")
        assert await screens.load("digest") is None


async def test_the_customers_opened_last_come_first_and_only_so_many_are_kept(servers: Any) -> None:
    async with RedisClient.open(servers.redis_url) as client:
        screens = RedisScreens(client, "ours")
        assert await screens.recent("Mei") == []
        for number in range(RECENT_MOST + 5):
            await screens.opened("Mei", f"retail:{number}", 1_795_254_600_000 + number)
        await screens.opened("Mei", "retail:9", 1_795_254_700_000)
        found = await screens.recent("Mei")
        assert found[0] == ("retail:9", 1_795_254_700_000)
        assert len(found) == RECENT_MOST
        assert [at_ms for _, at_ms in found] == sorted((at_ms for _, at_ms in found), reverse=True)
        assert await screens.recent("Li") == []
