"""What the screens keep in a real store: sessions that expire, and the customers a person opened last."""

from hashlib import blake2b, sha256
from typing import Any

import pytest

from services.adapters.redis_client import RedisClient
from services.adapters.redis_screens import RECENT_MOST, RedisScreens
from services.use_cases.log_pseudonyms import LogPseudonyms

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


async def test_why_somebody_was_opened_is_found_again_by_who_has_the_key_and_by_nobody_else(servers: Any) -> None:
    async with RedisClient.open(servers.redis_url) as client:
        screens, others = (RedisScreens(client, "ours", LogPseudonyms(key)) for key in ("key", "another"))
        await screens.give_reason("Mei", "retail:1787", "complaint", 60)
        assert await screens.reason("Mei", "retail:1787") == "complaint"
        assert await RedisScreens(client, "ours", LogPseudonyms("key")).reason("Mei", "retail:1787") == "complaint"
        for person, customer in (("Mei", "retail:1788"), ("Li", "retail:1787")):
            assert await screens.reason(person, customer) is None
        assert await others.reason("Mei", "retail:1787") is None
        assert await RedisScreens(client, "ours").reason("Mei", "retail:1787") is None
        keys = await client.execute("KEYS", "ours:reason:*")
        assert isinstance(keys, list) and len(keys) == 1
        guesses = [digest(b"Mei\0retail:1787").hexdigest()[:32] for digest in (sha256, blake2b)]
        assert not any(guess in str(keys[0]) for guess in guesses)
