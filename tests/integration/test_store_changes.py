"""A server that is another one than before, or was started again, is not relied on until builders have looked: it may
lack the last writes, and with them what was reserved."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from decision_engine.identifiers import CustomerId
from loadtests.faults.proxy import ProxyProcess
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.ports import CustomerReading, StoreUnavailable

pytestmark = pytest.mark.servers

CUSTOMER = CustomerId("retail:1")
PARTITIONS = (("bank.transactions.v1", 0), ("bank.transactions.v1", 1))
KEYS = RedisKeys("kairos", "abc")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Way:
    """A way to one of two servers that hold the same, as a store and its copy do."""

    proxy: ProxyProcess
    port: int
    first: RedisClient
    second: RedisClient
    second_port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def fail_over(self) -> None:
        await self.proxy.retarget(self.port, self.second_port)

    async def cut(self) -> None:
        await self.proxy.cut(self.port)


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Way]:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    async with (
        embedded_valkey(tmp_path / "first") as first,
        embedded_valkey(tmp_path / "second") as second,
        RedisClient.open(f"redis://127.0.0.1:{first.port}", library=FUNCTION_LIBRARY) as to_first,
        RedisClient.open(f"redis://127.0.0.1:{second.port}", library=FUNCTION_LIBRARY) as to_second,
        ProxyProcess.start() as proxy,
    ):
        for client in (to_first, to_second):
            builder = RedisStateStore(client, KEYS)
            await looks(builder, PARTITIONS)
        yield Way(proxy, await proxy.open(first.port), to_first, to_second, second.port)


async def looks(builder: RedisStateStore, share: tuple[tuple[str, int], ...]) -> None:
    """As a builder does with each batch, and each second without one."""
    await builder.begin_batch(share)
    await builder.mark_whole(share, len(PARTITIONS))


async def insisted(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer; the first call after a cut finds it out, on each connection."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                return await call()
            await asyncio.sleep(0.01)


async def read(store: RedisDecisionStore) -> CustomerReading:
    return await insisted(lambda: store.read_for_decision(CUSTOMER, None))


async def test_another_server_is_relied_on_once_a_builder_has_looked_there(way: Way) -> None:
    async with RedisClient.open(way.url) as client:
        node = RedisDecisionStore(client, KEYS)
        assert (await read(node)).complete
        await way.fail_over()
        for _ in range(3):
            assert not (await read(node)).complete, "what stands there was said of another server"
        await looks(RedisStateStore(way.second, KEYS), PARTITIONS)
        assert (await read(node)).complete
        assert (await read(node)).complete


async def test_the_same_server_is_relied_on_after_a_cut(way: Way) -> None:
    async with RedisClient.open(way.url) as client:
        node = RedisDecisionStore(client, KEYS)
        assert (await read(node)).complete
        for _ in range(3):
            await way.cut()
            assert (await read(node)).complete
        assert client.server_changes == 0


async def test_every_builder_has_to_look_at_another_server(way: Way) -> None:
    async with (
        RedisClient.open(way.url, library=FUNCTION_LIBRARY) as mine,
        RedisClient.open(way.url, library=FUNCTION_LIBRARY) as other,
        RedisClient.open(way.url) as api,
    ):
        node = RedisDecisionStore(api, KEYS)
        builders = [RedisStateStore(client, KEYS) for client in (mine, other)]
        for builder, partition in zip(builders, PARTITIONS, strict=True):
            await looks(builder, (partition,))
        assert (await read(node)).complete
        await way.fail_over()
        seen = []
        for _ in range(2):
            for builder, partition in zip(builders, PARTITIONS, strict=True):
                await insisted(partial(looks, builder, (partition,)))
                seen.append((await read(node)).complete)
        assert seen == [False, False, True, True], "each takes away what others said before it looked"


async def test_a_store_filled_by_hand_is_relied_on_whatever_server_holds_it(way: Way) -> None:
    for client in (way.first, way.second):
        await client.execute("SET", KEYS.complete, "1")
    async with RedisClient.open(way.url) as client:
        node = RedisDecisionStore(client, KEYS)
        assert (await read(node)).complete
        await way.fail_over()
        assert (await read(node)).complete


async def test_where_a_server_may_not_say_who_it_is_every_new_connection_may_be_to_another(way: Way) -> None:
    await way.first.execute("ACL", "SETUSER", "few", "on", ">secret", "~*", "+@all", "-info")
    async with RedisClient.open(f"redis://few:secret@127.0.0.1:{way.port}") as client:
        node = RedisDecisionStore(client, KEYS)
        await read(node)
        builder = RedisStateStore(way.first, KEYS)
        await looks(builder, PARTITIONS)
        assert (await read(node)).complete
        await way.cut()
        for _ in range(3):  # each of the client's connections
            assert not (await read(node)).complete
        await looks(builder, PARTITIONS)
        assert (await read(node)).complete
