"""Trigger memories stand and fall with the states they were computed beside, and the due index misses nobody."""

from collections.abc import AsyncIterator

import pytest

from decision_engine.identifiers import CustomerId
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, VERSION_PREFIX_BYTES, RedisStateStore
from services.adapters.redis_trigger_store import RedisTriggerStore
from services.ports import DueCustomer, MemoryWrite, StateWrite

pytestmark = pytest.mark.servers
KEYS = RedisKeys("kairos", "0" * 16)
ANNA, BEN = CustomerId("retail:1"), CustomerId("retail:2")


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(store_url, library=FUNCTION_LIBRARY) as client:
        yield client


def state(version: int) -> bytes:
    return version.to_bytes(VERSION_PREFIX_BYTES, "little") + b"rest"


def memory(
    expected: bytes | None, value: bytes | None, due_ms: int | None = None, customer: CustomerId = ANNA
) -> MemoryWrite:
    return MemoryWrite(customer, expected, value, 3, due_ms)


async def test_state_and_memory_are_written_together_or_not_at_all(client: RedisClient) -> None:
    states, triggers = RedisStateStore(client, KEYS), RedisTriggerStore(client, KEYS)
    first = [
        StateWrite(ANNA, None, state(1), memory(None, b"a1", 500)),
        StateWrite(BEN, None, state(1)),
    ]
    assert await states.save_many(first) == []
    stale_memory = StateWrite(ANNA, state(1), state(2), memory(b"other", b"a2", 100))
    stale_state = StateWrite(ANNA, state(7), state(2), memory(b"a1", b"a2", 100))
    assert await states.save_many([stale_memory]) == [ANNA]
    assert await states.save_many([StateWrite(BEN, state(1), state(2)), stale_state]) == [ANNA]
    assert await triggers.load_watched([ANNA, BEN], [BEN, ANNA]) == ([state(1), state(2)], [None, b"a1"])
    assert await triggers.due(3, 1_000, 10) == [DueCustomer(ANNA, 500)], "what was not written makes nothing due"
    assert await states.save_many([StateWrite(ANNA, state(1), state(2), memory(b"a1", None))]) == []
    assert await triggers.load_watched([ANNA], [ANNA]) == ([state(2)], [None])


async def test_a_memory_alone_is_written_over_what_it_was_computed_from(client: RedisClient) -> None:
    triggers = RedisTriggerStore(client, KEYS)
    assert await triggers.remember([memory(None, b"a1"), memory(None, b"b1", customer=BEN)]) == []
    assert await triggers.remember([memory(None, b"a2"), memory(b"b1", b"b2", customer=BEN)]) == [ANNA]
    assert await triggers.load_watched([], [ANNA, BEN]) == ([], [b"a1", b"b2"])


async def test_a_memory_that_will_be_worth_nothing_lapses(client: RedisClient) -> None:
    triggers = RedisTriggerStore(client, KEYS)
    await triggers.remember([MemoryWrite(ANNA, None, b"a1", 3, None, 60_000)])
    assert 0 < int(str(await client.execute("PTTL", KEYS.divided(client.tags).triggers(ANNA)))) <= 60_000
    await triggers.remember([memory(b"a1", b"a2")])
    assert await client.execute("PTTL", KEYS.divided(client.tags).triggers(ANNA)) == -1


async def test_the_due_index_keeps_the_earliest_moment_until_whoever_read_it_moves_it(client: RedisClient) -> None:
    triggers = RedisTriggerStore(client, KEYS)
    await triggers.remember([memory(None, b"a1", 500)])
    await triggers.remember([memory(b"a1", b"a2", 900)])
    (read,) = await triggers.due(3, 1_000, 10)
    assert read == DueCustomer(ANNA, 500)
    await triggers.remember([memory(b"a2", b"a3", 200)])
    await triggers.postpone(3, [(read, 900)])
    (sooner,) = await triggers.due(3, 1_000, 10)
    assert sooner == DueCustomer(ANNA, 200), "noted meanwhile"
    await triggers.postpone(3, [(sooner, 900)])
    assert await triggers.due(3, 899, 10) == []
    await triggers.postpone(3, [(DueCustomer(ANNA, 900), None)])
    assert await client.execute("EXISTS", KEYS.divided(client.tags).of_part(ANNA).due(3)) == 0


async def test_memories_know_since_when_they_are(client: RedisClient) -> None:
    triggers = RedisTriggerStore(client, KEYS)
    assert [await triggers.begun(now) for now in (100, 200, 50)] == [100, 100, 100]
