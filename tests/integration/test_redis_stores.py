"""States, decisions and the event clock in a real store: versions, fences, retention, idempotency."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from decision_engine.identifiers import CustomerId, DecisionId
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_clock import RedisClock
from services.adapters.redis_decision_store import DecisionRetention, RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_library import FunctionLibrary
from services.adapters.redis_state_store import FUNCTION_LIBRARY, VERSION_PREFIX_BYTES, RedisStateStore
from services.ports import IdempotencyClaim, StateWrite, StoreUnavailable, TrackedOption
from services.use_cases.record_keeping import LATE_SECONDS

pytestmark = pytest.mark.servers
KEYS = RedisKeys("kairos", "a1b2c3d4e5f60718")
ANNA, BEN = CustomerId("retail:1"), CustomerId("retail:2")


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(store_url, library=FUNCTION_LIBRARY) as opened:
        yield opened


@pytest.fixture
def store(client: RedisClient) -> RedisStateStore:
    return RedisStateStore(client, KEYS)


def state(version: int, rest: bytes = b"") -> bytes:
    return version.to_bytes(VERSION_PREFIX_BYTES, "little") + rest


async def test_states_come_back_in_the_order_asked_and_missing_ones_are_none(store: RedisStateStore) -> None:
    writes = [StateWrite(CustomerId(f"retail:{i}"), None, state(1, b"%d" % i)) for i in range(1500)]
    assert await store.save_many(writes) == []
    asked = [CustomerId("corp:9"), *(w.customer_id for w in reversed(writes))]
    assert await store.load_many(asked) == [None, *(w.value for w in reversed(writes))]
    assert await store.load(ANNA) == state(1, b"1")


async def test_only_the_version_a_state_was_folded_from_is_replaced(store: RedisStateStore) -> None:
    await store.save_many([StateWrite(ANNA, None, state(1)), StateWrite(BEN, None, state(1))])
    stale = StateWrite(ANNA, state(0), state(1, b"stale"))
    assert await store.save_many([stale, StateWrite(BEN, state(1), state(2, b"ben"))]) == [ANNA]
    assert await store.save_many([StateWrite(ANNA, None, state(9))]) == [ANNA]
    assert await store.load_many([ANNA, BEN]) == [state(1), state(2, b"ben")]


async def test_of_many_writers_of_one_version_exactly_one_wins(store: RedisStateStore) -> None:
    await store.save_many([StateWrite(ANNA, None, state(1))])
    writes = [StateWrite(ANNA, state(1), state(2, b"%d" % i)) for i in range(200)]
    lost = await asyncio.gather(*(store.save_many([write]) for write in writes))
    winner = [write for write, conflicts in zip(writes, lost, strict=True) if not conflicts]
    assert len(winner) == 1
    assert await store.load(ANNA) == winner[0].value


async def test_progress_moves_forward_only(store: RedisStateStore) -> None:
    assert await store.begin_batch([("t", 0), ("t", 1)]) == {("t", 0): None, ("t", 1): None}
    await store.record_progress({("t", 0): 7})
    await store.record_progress({("t", 0): 3, ("t", 1): 1})
    assert await store.begin_batch([("t", 0), ("t", 1)]) == {("t", 0): 7, ("t", 1): 1}


async def test_nothing_is_written_when_the_server_lost_writes_since_the_batch_began(tmp_path: Path) -> None:
    async with (
        embedded_valkey(tmp_path) as first,
        RedisClient.open(f"redis://127.0.0.1:{first.port}", library=FUNCTION_LIBRARY) as client,
    ):
        store = RedisStateStore(client, KEYS)
        await store.begin_batch([("t", 0)])
        assert await store.save_many([StateWrite(ANNA, None, state(1))]) == []
        os.kill(first.pid, signal.SIGKILL)
        await first.process.wait()
        async with embedded_valkey(tmp_path, first.port):
            await until_answering(client)
            with pytest.raises(StoreUnavailable, match="lost writes"):
                await store.save_many([StateWrite(BEN, None, state(1))])
            with pytest.raises(StoreUnavailable, match="lost writes"):
                await store.record_progress({("t", 0): 5})
            assert await store.load_many([ANNA, BEN]) == [None, None]
            assert await store.begin_batch([("t", 0)]) == {("t", 0): None}
            assert await store.save_many([StateWrite(BEN, None, state(1))]) == []


async def until_answering(client: RedisClient) -> None:
    for _ in range(200):
        try:
            return await client.ping()
        except StoreUnavailable:
            await asyncio.sleep(0.02)
    raise AssertionError("the server never came back")


async def test_a_namespace_once_begun_is_present_until_it_is_lost(store: RedisStateStore, client: RedisClient) -> None:
    assert not await store.epoch_present()
    await store.begin_namespace()
    began = [await client.execute("GET", own.epoch) for own in KEYS.divided(client.tags).parts]
    await store.begin_namespace()
    assert await store.epoch_present()
    assert [await client.execute("GET", own.epoch) for own in KEYS.divided(client.tags).parts] == began
    await client.execute("FLUSHALL")
    assert not await store.epoch_present()


def option(tracking_id: str = "01J.0") -> TrackedOption:
    return TrackedOption(
        tracking_id=tracking_id,
        decision_id=DecisionId("01J"),
        customer_id=ANNA,
        offer="gold_card",
        group="cards",
        issue="acquire",
        treatment="gold_card.mobile.banner",
        channel="mobile",
        placement="home_banner",
        decided_ms=1_700_000_000_000,
    )


async def test_a_reading_brings_state_ledger_and_claim_at_once(client: RedisClient, store: RedisStateStore) -> None:
    decisions = RedisDecisionStore(client, KEYS)
    await store.save_many([StateWrite(ANNA, None, state(1))])
    await client.execute("SET", KEYS.divided(client.tags).ledger(ANNA), b"ledger")
    first = await decisions.read_for_decision(ANNA, claim("one"))
    assert (first.state, first.ledger, first.claimed) == (state(1), b"ledger", None)
    assert (await decisions.read_for_decision(ANNA, claim("two"))).claimed == b"one"
    assert await decisions.save(DecisionId("01J"), b"record", [option()], claim("one"), b"the answer") is None
    assert (await decisions.read_for_decision(ANNA, claim("three"))).claimed == b"the answer"
    assert await decisions.claimed("app:r1") == b"the answer"
    nobody = await decisions.read_for_decision(BEN, None)
    assert (nobody.state, nobody.ledger, nobody.claimed) == (None, None, None)


def claim(value: str) -> IdempotencyClaim:
    return IdempotencyClaim(key="app:r1", value=value.encode())


async def test_of_many_equal_requests_exactly_one_gets_the_claim(client: RedisClient) -> None:
    decisions = RedisDecisionStore(client, KEYS)
    readings = await asyncio.gather(*(decisions.read_for_decision(ANNA, claim(str(n))) for n in range(100)))
    assert sum(reading.claimed is None for reading in readings) == 1


async def test_an_answer_takes_the_place_of_its_own_claim_or_of_nothing(client: RedisClient) -> None:
    decisions = RedisDecisionStore(client, KEYS)
    assert await decisions.claim(claim("one")) is None
    assert await decisions.claim(claim("one")) is None, "an attempt may ask again whether the key is its own"
    assert await decisions.claim(claim("two")) == b"one"
    assert await decisions.keep_answer(claim("two"), b"another") == b"one"
    for _ in range(2):
        assert await decisions.keep_answer(claim("one"), b"answer") is None
    assert await decisions.claim(claim("one")) == b"answer"
    assert await decisions.save(DecisionId("01J"), b"record", [], claim("two"), b"another") == b"answer"
    await client.execute("DEL", KEYS.idempotency("app:r1"))
    assert await decisions.keep_answer(claim("two"), b"another") is None


async def test_of_two_attempts_at_one_decision_nothing_of_the_later_answer_is_kept(client: RedisClient) -> None:
    """Two owners that decide one firing give its decision the same id."""
    decisions = RedisDecisionStore(client, KEYS)
    other = replace(option(), offer="travel_insurance", treatment="travel_insurance.mobile.banner")
    assert await decisions.claim(claim("one")) is None
    assert await decisions.save(DecisionId("01J"), b"other record", [other], claim("two"), b"other answer") == b"one"
    assert await decisions.record(DecisionId("01J")) is None
    assert await decisions.tracked(["01J.0"]) == [None]
    for _ in range(2):
        assert await decisions.save(DecisionId("01J"), b"record", [option()], claim("one"), b"answer") is None
    assert await decisions.save(DecisionId("01J"), b"other record", [other], claim("two"), b"other answer") == b"answer"
    assert await decisions.record(DecisionId("01J")) == b"record"
    assert await decisions.tracked(["01J.0"]) == [option()]


async def test_what_triggers_have_seen_belongs_to_no_layout(store: RedisStateStore, client: RedisClient) -> None:
    coming = RedisStateStore(client, RedisKeys(KEYS.namespace, "0123456789abcdef"))
    here, there = ("t", 0), ("t", 1)
    await store.begin_batch([here])
    await store.record_matched({here: 7})
    await coming.begin_batch([here])
    await coming.mark_unmatched({here: 9, there: 2})
    await coming.record_progress({here: 8})
    assert await coming.matched([here, there]) == {here: 7, there: None}
    assert await coming.unmatched([here, there]) == {here: 9, there: 2}
    assert await store.unmatched([here]) == {here: None}
    await coming.record_matched({here: 3})
    assert await store.matched([here]) == {here: 7}, "it moves forward only"
    await client.execute("FLUSHALL")
    with pytest.raises(StoreUnavailable):
        await store.record_matched({here: 11})
    assert await store.matched([here]) == {here: None}


async def test_a_claim_whose_process_died_stands_in_the_way_for_a_short_while_only(client: RedisClient) -> None:
    decisions = RedisDecisionStore(client, KEYS, DecisionRetention(idempotency_s=3600))
    await decisions.read_for_decision(ANNA, claim("one"))
    claimed = await client.execute("TTL", KEYS.idempotency("app:r1"))
    assert isinstance(claimed, int)
    assert LATE_SECONDS < claimed <= 15, "longer than its process goes on trying to keep the answer"
    await decisions.keep_answer(claim("one"), b"answer")
    kept = await client.execute("TTL", KEYS.idempotency("app:r1"))
    assert isinstance(kept, int)
    assert kept > 3500


async def test_an_answer_is_kept_by_a_store_that_lost_its_functions(client: RedisClient) -> None:
    decisions = RedisDecisionStore(client, KEYS)
    await client.execute("FUNCTION", "FLUSH")
    assert await decisions.save(DecisionId("01J"), b"record", [option()], claim("one"), b"answer") is None
    assert await decisions.claimed("app:r1") == b"answer"
    assert await decisions.record(DecisionId("01J")) == b"record"


async def test_records_options_and_answers_are_kept_for_their_time(client: RedisClient) -> None:
    retention = DecisionRetention(idempotency_s=60, record_s=3600, tracked_s=7200)
    decisions = RedisDecisionStore(client, KEYS, retention)
    await decisions.save(DecisionId("01J"), b"record", [option("01J.0"), option("01J.1")], claim("one"), b"answer")
    assert await decisions.record(DecisionId("01J")) == b"record"
    assert await decisions.record(DecisionId("other")) is None
    assert await decisions.tracked(["01J.1", "unknown", "01J.0"]) == [option("01J.1"), None, option("01J.0")]
    names = (KEYS.decision(DecisionId("01J")), KEYS.tracked("01J.0"), KEYS.idempotency("app:r1"))
    kept = await client.execute_many([("TTL", name) for name in names])
    for seconds, expected in zip(kept, (3600, 7200, 60), strict=True):
        assert isinstance(seconds, int)
        assert expected - 5 <= seconds <= expected


async def test_the_event_clock_moves_forward_only_and_is_followed(client: RedisClient) -> None:
    writer, reader = RedisClock(client, KEYS), RedisClock(client, KEYS)
    assert abs(reader.now_ms() - writer.now_ms()) < 5_000
    async with reader.following(every_s=0.005):
        await writer.advance(800_000_000_000)
        await writer.advance(700_000_000_000)
        assert writer.now_ms() == 800_000_000_000
        async with asyncio.timeout(5):
            while reader.now_ms() != 800_000_000_000:
                await asyncio.sleep(0.005)


async def test_two_releases_side_by_side_each_call_the_functions_they_were_written_with(
    client: RedisClient, store_url: str
) -> None:
    """Whoever loads a library last, as in a rolling upgrade: the other goes on with its own."""
    earlier = f"{FUNCTION_LIBRARY}\n-- as the release before has it"
    clock = RedisClock(client, KEYS)
    async with RedisClient.open(store_url, library=earlier) as before:
        await RedisClock(before, KEYS).advance(5)
        await clock.advance(7)
        await RedisClock(before, KEYS).advance(6)
        assert await client.execute("GET", KEYS.clock) == b"7"
        loaded = await client.execute("FUNCTION", "LIST")
        assert isinstance(loaded, list)
        assert len(loaded) == 2


def test_what_is_no_library_is_refused_where_it_is_opened() -> None:
    for source in ("", "#!lua name=kairos\nreturn 1", "redis.register_function('f', f)"):
        with pytest.raises(ValueError, match="function library"):
            FunctionLibrary.of(source)
