"""Marks on leads in a real store: one winner, no change unseen, nothing kept for ever."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.redis_client import RedisClient
from services.adapters.redis_lead_marks import CLOSED_MOST, RedisLeadMarks

pytestmark = pytest.mark.servers


@pytest.fixture
async def client(servers: EmbeddedServers) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(servers.redis_url) as opened:
        yield opened


async def test_of_many_at_once_one_sets_the_mark_and_all_see_whose(client: RedisClient) -> None:
    marks = [RedisLeadMarks(client, "kairos") for _ in range(20)]
    wanted = [f"person {number}".encode() for number in range(20)]
    found = await asyncio.gather(*(m.swap("a", None, w, 60) for m, w in zip(marks, wanted, strict=True)))
    assert len(set(found)) == 1
    assert found[0] in wanted
    assert await marks[0].read(["a", "b"]) == [found[0], None]
    assert await marks[0].changes() == 1


async def test_a_mark_is_replaced_or_removed_only_by_who_knows_it(client: RedisClient) -> None:
    marks = RedisLeadMarks(client, "kairos")
    await marks.swap("a", None, b"mine", 60)
    assert await marks.swap("a", b"other", None, 0) == b"mine"
    assert await marks.swap("a", b"mine", b"done", 60) == b"done"
    assert await marks.swap("a", b"mine", None, 0) == b"done"
    assert await marks.swap("a", b"done", None, 0) is None
    assert await marks.read(["a"]) == [None]
    assert await marks.changes() == 3


async def test_marks_lapse_and_lists_are_bounded(client: RedisClient) -> None:
    marks = RedisLeadMarks(client, "kairos")
    await marks.swap("a", None, b"mine", 60)
    assert 0 < int(await client.execute("TTL", "kairos:{leads}:mark:a")) <= 60  # type: ignore[arg-type]
    for number in range(CLOSED_MOST + 5):
        await marks.note("Mei Lin", str(number).encode())
    noted = await marks.noted("Mei Lin")
    assert (len(noted), noted[0]) == (CLOSED_MOST, str(CLOSED_MOST + 4).encode())
    assert await marks.noted("Wang Bo") == []
    assert await marks.read([]) == []
