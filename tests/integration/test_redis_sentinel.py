"""A store behind Sentinel: its master is found, and found again after a failover and after a switchover."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from decision_engine.identifiers import CustomerId
from services.adapters.embedded_servers import EmbeddedServer, embedded_sentinel, embedded_valkey
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_sentinel import SentinelAddress
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.ports import SettingsInvalid, StateWrite, StoreUnavailable

WAIT_S = 60
PATIENT = ClientLimits(timeout_s=2.0)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Watched:
    """A master, its replica and the sentinel over both."""

    master: EmbeddedServer
    replica: EmbeddedServer
    sentinel: EmbeddedServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/bank/0"  # the first one is away


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(embedded_valkey(tmp_path))
        replica = await stack.enter_async_context(embedded_valkey(tmp_path))
        async with RedisClient.open(f"redis://127.0.0.1:{replica.port}") as client:
            await client.execute("REPLICAOF", "127.0.0.1", master.port)
        sentinel = await stack.enter_async_context(embedded_sentinel(tmp_path, "bank", master.port))
        await until_replica_known(sentinel)
        yield Watched(master, replica, sentinel)


async def until_replica_known(sentinel: EmbeddedServer) -> None:
    async with RedisClient.open(f"redis://127.0.0.1:{sentinel.port}") as client, asyncio.timeout(WAIT_S):
        while not await _linked(client):
            await asyncio.sleep(0.05)


async def _linked(client: RedisClient) -> bool:
    replicas = await client.execute("SENTINEL", "REPLICAS", "bank")
    if not isinstance(replicas, list) or not replicas or not isinstance(replicas[0], list):
        return False
    flat = replicas[0]
    return dict(zip(flat[::2], flat[1::2], strict=True)).get(b"master-link-status") == b"ok"


async def until_answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Every connection of a client finds the new master by itself, a little after it was refused by the old one."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_the_master_is_found_and_found_again_when_it_dies(watched: Watched) -> None:
    async with RedisClient.open(watched.url, limits=PATIENT, library=FUNCTION_LIBRARY) as client:
        store = RedisStateStore(client, RedisKeys("ns", "0123456789abcdef"))
        await store.begin_batch(())
        assert await store.save_many([StateWrite(CustomerId("retail:1"), None, b"before")]) == []
        assert await client.execute("WAIT", 1, 2000, timeout_s=3.0) == 1
        watched.master.process.kill()
        await until_answered(lambda: client.execute("SET", "k", "after"))
        assert await SentinelAddress.parse(watched.url).master() == ("127.0.0.1", watched.replica.port)
        assert await until_answered(lambda: store.load(CustomerId("retail:1"))) == b"before"
        later = [StateWrite(CustomerId("retail:1"), b"before", b"later")]
        await until_answered(lambda: store.begin_batch(()))
        assert await until_answered(lambda: store.save_many(later)) == []  # the functions came over with the data


async def test_a_switchover_is_followed(watched: Watched) -> None:
    """The old master takes writes until it is told; from then on every write goes to the new one."""
    async with (
        RedisClient.open(watched.url, limits=PATIENT) as client,
        RedisClient.open(f"redis://127.0.0.1:{watched.sentinel.port}") as sentinel,
    ):
        await client.execute("SET", "k", "before")
        assert await sentinel.execute("SENTINEL", "FAILOVER", "bank") == b"OK"
        async with asyncio.timeout(WAIT_S):
            while await SentinelAddress.parse(watched.url).master() != ("127.0.0.1", watched.replica.port):
                await asyncio.sleep(0.05)
        async with RedisClient.open(f"redis://127.0.0.1:{watched.replica.port}") as new, asyncio.timeout(WAIT_S):
            while await new.execute("GET", "k") != b"after":
                await until_answered(lambda: client.execute("SET", "k", "after"))


async def test_without_a_master_the_store_is_away_and_says_who_was_asked() -> None:
    with pytest.raises(StoreUnavailable, match="no master of bank"):
        async with RedisClient.open("redis+sentinel://127.0.0.1:1/bank", limits=PATIENT):
            pass


@pytest.mark.parametrize("url", ["redis+sentinel://h:1", "redis+sentinel:///bank", "redis+sentinel://h:x/bank"])
def test_what_is_no_sentinel_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="store URL"):
        SentinelAddress.parse(url)


def test_passwords_are_in_no_text() -> None:
    address = SentinelAddress.parse("redis+sentinel://user:secret@a:1,b/bank/2?sentinel_password=hidden")
    assert address.sentinels == (("a", 1), ("b", 26_379))
    assert (address.name, address.store.database, address.store.username) == ("bank", 2, "user")
    assert "secret" not in repr(address)
    assert "hidden" not in repr(address)
    assert str(address) == "bank by a:1, b:26379"
