"""A Redis Cluster as the store: every key at its master, slots followed while they move, and every master cared for."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from decision_engine.identifiers import CustomerId, DecisionId
from services.adapters.embedded_cluster import (
    EmbeddedCluster,
    embedded_cluster,
    id_of,
    join,
    told,
    until_agreed,
)
from services.adapters.embedded_servers import EmbeddedServer, embedded_cluster_node
from services.adapters.redis_client import ClientLimits, RedisClient, Reply
from services.adapters.redis_cluster_map import ClusterAddress, ClusterMap, redirection
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_erasure_sweep import RedisErasureSweep
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_slots import PARTS, SLOTS, TAGS, part_of, slot_of
from services.adapters.redis_state_store import FUNCTION_LIBRARY, VERSION_PREFIX_BYTES, RedisStateStore
from services.commands.doctor_cluster import cluster as examined
from services.commands.doctor_findings import Finding, Level
from services.ports import IdempotencyClaim, SettingsInvalid, StateWrite, StoreUnavailable

PATIENT = ClientLimits(timeout_s=5.0)
KEYS = RedisKeys("kairos", "a1b2c3d4e5f60718").divided(TAGS)
PEOPLE = [CustomerId(f"retail:{number}") for number in range(400)]
BINARY = os.environ.get("KAIROS_TEST_REDIS_SERVER")
servers_run = pytest.mark.servers


@pytest.fixture
async def client(cluster_of_three: str) -> AsyncIterator[RedisClient]:
    async with RedisClient.open(cluster_of_three, limits=PATIENT, library=FUNCTION_LIBRARY) as opened:
        await opened.execute("FLUSHALL")
        yield opened


def state(version: int, rest: bytes = b"") -> bytes:
    return version.to_bytes(VERSION_PREFIX_BYTES, "little") + rest


def claim(value: bytes) -> IdempotencyClaim:
    return IdempotencyClaim(key="app:1", value=value)


def test_the_url_names_servers_of_the_cluster_and_tells_no_password() -> None:
    address = ClusterAddress.parse("rediss+cluster://bank:s3cret@one:7000,two,three:7002/0?ssl_cert_reqs=none")
    assert address.seeds == (("one", 7000), ("two", 6379), ("three", 7002))
    greeted = address.at(("four", 7003))
    assert (greeted.host, greeted.port, greeted.password) == ("four", 7003, "s3cret")
    assert greeted.tls is not None
    assert "s3cret" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://", "write redis"),
        ("redis+cluster://one:seven", "'one:seven' is no server"),
        ("redis+cluster://one:7000/3", "database 0 alone, not 3"),
        ("redis+cluster://one:7000?colour=red", "unknown options"),
    ],
)
def test_a_url_that_means_no_cluster_is_refused_by_name(url: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        ClusterAddress.parse(url)


def test_parts_lie_evenly_over_equal_shares_of_the_slots() -> None:
    slots = [slot_of(f"kairos:{{{tag}}}:x".encode()) for tag in TAGS]
    for masters in (1, 2, 3, 4, 6, 8, 12, 16, 24, 48):
        counts = [0] * masters
        for slot in slots:
            counts[slot * masters // SLOTS] += 1
        assert counts == [PARTS // masters] * masters
    sizes = [0] * PARTS
    for number in range(48_000):
        sizes[part_of(f"retail:{number}")] += 1
    assert max(sizes) < 1.25 * min(sizes)


def test_every_key_of_a_person_and_what_is_said_of_their_part_lie_in_one_slot() -> None:
    anna = PEOPLE[7]
    own = KEYS.of_part(anna)
    names = [KEYS.state(anna), KEYS.ledger(anna), KEYS.triggers(anna), KEYS.response(anna, "app/1")]
    names += [own.progress, own.whole, own.complete, own.fence("w"), own.due(3), own.matched, own.epoch]
    assert len({slot_of(name.encode()) for name in names}) == 1
    assert KEYS.read(KEYS.state(anna).encode()) == (anna, f"state:{KEYS.layout}")
    assert KEYS.read(KEYS.members("household", "h1").encode()) == (None, "members:household:h1")
    assert KEYS.read(own.due(3).encode()) == (None, "due:3")
    assert KEYS.read(b"kairos:decision:01J") == (None, "decision:01J")


def test_an_account_of_the_cluster_is_believed_by_its_epoch_and_a_broken_one_last() -> None:
    entry: Reply = [0, SLOTS - 1, [b"", 7000, b"id"], [b"10.0.0.2", 7001, b"other"]]
    good = ClusterMap.read([entry], b"cluster_state:ok\r\ncluster_current_epoch:7\r\n", ("10.0.0.1", 7000))
    cut_off = ClusterMap.read([entry], b"cluster_state:fail\r\ncluster_current_epoch:9\r\n", ("10.0.0.9", 7000))
    assert good is not None
    assert cut_off is not None
    assert good.replicas == {("10.0.0.1", 7000): [("10.0.0.2", 7001)]}
    assert good.epoch > cut_off.epoch
    assert redirection("MOVED 3999 :6381", ("10.0.0.1", 7000)) == (3999, ("10.0.0.1", 6381))


@servers_run
async def test_a_call_over_many_slots_is_answered_in_order(client: RedisClient) -> None:
    names = [f"k{number}" for number in range(300)]
    await client.execute_many([("SET", name, name) for name in names])
    replies = await client.execute_many([("MGET", *names, "none"), ("GET", "k7"), ("EXISTS", *names[:9], "none")])
    assert replies == [[*(name.encode() for name in names), None], b"k7", 9]
    walked = [name async for some in client.walk("k*", 50, 5.0) for name in some]
    assert sorted(set(walked)) == sorted(name.encode() for name in names)
    assert await client.execute("DEL", *names) == 300
    sizes = await client.everywhere("DBSIZE")
    assert (len(sizes), set(sizes.values())) == (3, {0})
    assert await client.execute("CLUSTER", "KEYSLOT", KEYS.state(PEOPLE[0])) == slot_of(KEYS.state(PEOPLE[0]).encode())


@servers_run
async def test_one_refused_piece_refuses_the_whole_command(client: RedisClient) -> None:
    with pytest.raises(StoreUnavailable, match="keys of 2 slots"):
        await client.call("kairos_progress", ("one", "two"), ("", "f", 1))
    with pytest.raises(StoreUnavailable, match="a cluster is walked"):
        await client.execute("KEYS", "*")
    await client.execute("LPUSH", "list", "x")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await client.execute_many([("SET", "text", "y"), ("INCR", "list")])
    assert await client.execute("GET", "text") == b"y"


@servers_run
async def test_states_of_all_parts_are_written_and_read_in_one_round_trip_a_master(
    client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RedisStateStore(client, KEYS)
    await store.begin_batch([("t", 0)])
    assert client.cluster is not None
    rounds: list[int] = []
    asked = client.cluster._round

    async def counted(*arguments: object) -> object:
        rounds.append(1)
        return await asked(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(client.cluster, "_round", counted)
    assert await store.save_many([StateWrite(person, None, state(1)) for person in PEOPLE]) == []
    assert await store.load_many(PEOPLE) == [state(1)] * len(PEOPLE)
    reading = await RedisDecisionStore(client, KEYS).read_for_decision(PEOPLE[0], claim(b"claim:"))
    assert (reading.state, reading.complete, reading.claimed) == (state(1), False, None)
    assert sum(rounds) == 3


@servers_run
async def test_a_decision_is_kept_in_full_or_not_at_all_though_its_keys_lie_apart(client: RedisClient) -> None:
    store = RedisDecisionStore(client, KEYS)
    first, second = claim(b"claim:first"), claim(b"claim:second")
    assert await store.claim(first) is None
    held = await store.save(DecisionId("01B"), b"record", [], second, b"answer:second")
    assert held == first.value
    assert await store.record(DecisionId("01B")) is None, "the key is another attempt's"
    assert await store.save(DecisionId("01A"), b"record", [], first, b"answer:first") is None
    assert await store.save(DecisionId("01A"), b"record", [], first, b"answer:first") is None, "once more is as once"
    assert await store.save(DecisionId("01B"), b"other", [], second, b"answer:second") == b"answer:first"
    assert (await store.record(DecisionId("01A")), await store.record(DecisionId("01B"))) == (b"record", None)


@servers_run
async def test_a_part_that_is_lost_is_the_only_one_that_is_not_relied_on(client: RedisClient) -> None:
    store, decisions = RedisStateStore(client, KEYS), RedisDecisionStore(client, KEYS)
    partitions = {("t", 0): 50, ("t", 1): 70}
    await store.begin_namespace()
    await store.begin_batch(partitions)
    await store.record_progress(partitions)
    await store.mark_whole(partitions, of=2)
    lost, kept = PEOPLE[0], next(person for person in PEOPLE if part_of(person) != part_of(PEOPLE[0]))
    gone = [name async for some in client.walk(f"kairos:{{{TAGS[part_of(lost)]}}}:*", 1_000, 5.0) for name in some]
    await client.execute("DEL", *gone)
    with pytest.raises(StoreUnavailable, match="lost writes"):
        await store.record_progress({("t", 0): 60, ("t", 1): 80})
    assert await store.begin_batch(partitions) == {("t", 0): None, ("t", 1): None}
    assert not await store.epoch_present()
    await store.mark_incomplete(partitions)
    assert not (await decisions.read_for_decision(lost, None)).complete
    assert (await decisions.read_for_decision(kept, None)).complete
    await store.record_progress({("t", 0): 60, ("t", 1): 80})
    await store.mark_whole(partitions, of=2)
    assert (await decisions.read_for_decision(lost, None)).complete


@asynccontextmanager
async def traffic(client: RedisClient, people: list[CustomerId]) -> AsyncIterator[list[int]]:
    """Builders and deciders at work on these people while the context lasts; the list counts how often all were
    through. Whatever fails is raised on leaving."""
    states, ledger, rounds, stop = RedisStateStore(client, KEYS), RedisContactLedger(client, KEYS), [0], asyncio.Event()

    async def build() -> None:
        version = 0
        while not stop.is_set():
            await states.begin_batch([("t", 0)])
            before = None if version == 0 else state(version)
            assert await states.save_many([StateWrite(p, before, state(version + 1)) for p in people]) == []
            version += 1
            await states.record_progress({("t", 0): version})
            assert await states.load_many(people) == [state(version)] * len(people)
            rounds[0] += 1

    async def decide() -> None:
        while not stop.is_set():
            await asyncio.gather(*(ledger.release(person, [b"12345678"]) for person in people[:20]))

    working = [asyncio.create_task(build()), asyncio.create_task(decide())]
    try:
        yield rounds
    finally:
        stop.set()
        await asyncio.gather(*working)


async def until_round(rounds: list[int], more: int) -> None:
    wanted = rounds[0] + more
    async with asyncio.timeout(30):
        while rounds[0] < wanted:
            await asyncio.sleep(0.01)


async def move_slot(cluster: EmbeddedCluster, slot: int, source: EmbeddedServer, target: EmbeddedServer) -> None:
    """Key by key, as redis-cli does it."""
    names = {server.port: await id_of(server) for server in (source, target)}
    await told(target, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", names[source.port])
    await told(source, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", names[target.port])
    while keys := await told(source, "CLUSTER", "GETKEYSINSLOT", str(slot), "3"):
        assert isinstance(keys, list)
        moved = [key.decode() for key in keys if isinstance(key, bytes)]
        await told(source, "MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "REPLACE", "KEYS", *moved)
        await asyncio.sleep(0.002)
    for server in (target, source, *cluster.masters):
        await told(server, "CLUSTER", "SETSLOT", str(slot), "NODE", names[target.port])


@pytest.fixture
async def own_cluster(tmp_path: Path) -> AsyncIterator[EmbeddedCluster]:
    async with embedded_cluster(tmp_path, binary=BINARY) as cluster:
        yield cluster


@servers_run
async def test_a_slot_moves_under_load_without_an_error_even_to_a_master_that_has_just_joined(
    own_cluster: EmbeddedCluster, tmp_path: Path
) -> None:
    slot = slot_of(KEYS.of_part(PEOPLE[0]).progress.encode())
    people = [person for person in PEOPLE if part_of(person) == part_of(PEOPLE[0])] + PEOPLE[:30]
    source = own_cluster.masters[slot * 3 // SLOTS]
    second = next(server for server in own_cluster.masters if server is not source)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            RedisClient.open(own_cluster.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY)
        )
        joined = await stack.enter_async_context(embedded_cluster_node(tmp_path, BINARY))
        await told(joined, "CLUSTER", "SET-CONFIG-EPOCH", "9")
        await join(own_cluster.masters[0], [joined])
        await until_agreed([*own_cluster.masters, joined])
        async with traffic(client, list(dict.fromkeys(people))) as rounds:
            await until_round(rounds, 2)
            await move_slot(own_cluster, slot, source, second)
            await until_round(rounds, 2)
            await move_slot(own_cluster, slot, second, joined)
            await until_round(rounds, 2)
        assert client.cluster is not None
        assert ("127.0.0.1", joined.port) in await client.cluster.masters(5.0)
        assert b"kairos_save" in str(await told(joined, "FUNCTION", "LIST")).encode(), "it was given the functions"


@servers_run
async def test_a_sweep_waits_while_keys_go_from_one_master_to_another(own_cluster: EmbeddedCluster) -> None:
    source, target = own_cluster.masters[:2]
    async with RedisClient.open(own_cluster.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client:
        await client.execute("SET", KEYS.tracked("t"), b'{"customer_id": "retail:1", "decided_ms": 1}')
        sweep = RedisErasureSweep(client=client, namespace="kairos", is_outdated=lambda *_: True)
        await told(source, "CLUSTER", "SETSLOT", "0", "MIGRATING", await id_of(target))
        with pytest.raises(StoreUnavailable, match="on its way"):
            await sweep({CustomerId("retail:1"): 5})
        await told(source, "CLUSTER", "SETSLOT", "0", "STABLE")
        swept = await sweep({CustomerId("retail:1"): 5})
        assert swept.removed == {"retail:1": {"tracked_options": 1}}


@servers_run
async def test_a_cluster_without_one_of_its_masters_serves_the_others_people(own_cluster: EmbeddedCluster) -> None:
    limits = replace(PATIENT, timeout_s=1.0)
    async with RedisClient.open(own_cluster.redis_url, limits=limits, library=FUNCTION_LIBRARY) as client:
        store = RedisDecisionStore(client, KEYS)
        findings = {finding.about: finding for finding in await examined(client)}
        assert findings["cluster slots"].level is Level.OK
        assert findings["cluster parts"].said == "48 of people, 16 to 16 a master"
        assert findings["cluster replicas"].level is Level.WARN
        assert findings["cluster functions"].level is Level.OK
        dead = own_cluster.masters[2]
        dead.process.kill()
        await dead.process.wait()
        there = [p for p in PEOPLE if slot_of(KEYS.state(p).encode()) * 3 // SLOTS == 2]
        here = [p for p in PEOPLE if p not in there]
        with pytest.raises(StoreUnavailable):
            await store.read_for_decision(there[0], None)
        await asyncio.gather(*(store.read_for_decision(person, None) for person in here))
        await client.ping()
        async with asyncio.timeout(20):
            while (found := {f.about: f for f in await _findings(client)}).get("cluster masters") is None:
                await asyncio.sleep(0.05)
        assert f"127.0.0.1:{dead.port}" in found["cluster masters"].said


async def _findings(client: RedisClient) -> list[Finding]:
    with suppress(StoreUnavailable):
        return await examined(client)
    return []


@servers_run
async def test_a_client_that_finds_no_cluster_says_so() -> None:
    with pytest.raises(StoreUnavailable, match="tells who has which slots"):
        async with RedisClient.open("redis+cluster://127.0.0.1:1", limits=PATIENT):
            raise AssertionError("nobody listens there")
