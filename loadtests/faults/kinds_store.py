"""Faults of the store: killed with and without its file, emptied, paused, filled up, replaced by a stale copy."""

import asyncio
import random
import signal

from decision_engine.identifiers import CustomerId
from loadtests.faults.battle import Battle
from loadtests.faults.servers import direct

PAUSES_S = (0.3, 0.8, 2.0)
SOME_EVENTS = 200
AT_ONCE = 500
APPLIED_S = 60.0


async def store_killed_with_file(battle: Battle, draw: random.Random) -> None:
    """SIGKILL; it comes back with its append-only file."""
    await asyncio.sleep(draw.uniform(0.0, 0.3))
    await battle.system.store.kill(keep=True)


async def store_killed_without_file(battle: Battle, draw: random.Random) -> None:
    """SIGKILL; it comes back empty, and is rebuilt from the log."""
    await asyncio.sleep(draw.uniform(0.0, 0.3))
    await battle.system.store.kill(keep=False)


async def store_flushed(battle: Battle, draw: random.Random) -> None:
    """FLUSHALL in the midst of things, functions and all."""
    await asyncio.sleep(draw.uniform(0.0, 0.3))
    await battle.system.store.execute("FUNCTION", "FLUSH")
    await battle.system.store.execute("FLUSHALL")


async def store_paused(battle: Battle, draw: random.Random) -> None:
    """CLIENT PAUSE: reads and writes wait, or writes alone."""
    seconds = draw.choice(PAUSES_S)
    await battle.system.store.execute("CLIENT", "PAUSE", int(seconds * 1000), draw.choice(("ALL", "WRITE")))
    await asyncio.sleep(seconds)


async def store_stopped(battle: Battle, draw: random.Random) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    battle.system.store.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(draw.choice(PAUSES_S))
    finally:
        battle.system.store.signal(signal.SIGCONT)


async def store_out_of_memory(battle: Battle, draw: random.Random) -> None:
    """No memory for any write, while reads go on."""
    await battle.system.store.execute("CONFIG", "SET", "maxmemory", "1mb")
    try:
        await asyncio.sleep(draw.uniform(0.3, 1.0))
    finally:
        await battle.system.store.execute("CONFIG", "SET", "maxmemory", "0")


async def store_refuses_writes(battle: Battle, draw: random.Random) -> None:
    """Too few replicas: every write is refused, every read answered."""
    await battle.system.store.execute("CONFIG", "SET", "min-replicas-to-write", "1")
    try:
        await asyncio.sleep(draw.uniform(0.3, 1.0))
    finally:
        await battle.system.store.execute("CONFIG", "SET", "min-replicas-to-write", "0")


async def store_cut(battle: Battle, draw: random.Random) -> None:
    """Every connection is reset, a few times over."""
    for _ in range(draw.randrange(1, 4)):
        await battle.system.proxy.cut(battle.system.store.port)
        await asyncio.sleep(draw.uniform(0.05, 0.2))


async def progress_key_deleted(battle: Battle, draw: random.Random) -> None:
    """The key that says how far the states have come is deleted: what is read again changes nothing."""
    key = draw.choice((battle.system.keys.progress, battle.system.keys.complete, battle.system.keys.whole))
    await battle.system.store.execute("DEL", key)


async def idempotency_lost(battle: Battle, draw: random.Random) -> None:
    """Decision records and tracked options of one decision vanish: its responses are refused by name, not lost."""
    answer = await battle.load.decide(draw.choice(battle.load.customers), draw.choice(battle.system.nodes))
    if answer is None or answer.status_code != 200 or answer.json()["degraded"]:
        return
    told = battle.load.note_answer(answer)
    for offer, tracking in told.options[:1]:
        await battle.system.store.execute("DEL", battle.system.keys.tracked(tracking))
        said = f"{tracking}-vanished"
        taken = await battle.load.respond(tracking, "impression", draw.choice(battle.system.nodes), said)
        battle.expect(not taken or said in battle.load.refused, f"an unknown option of {offer} was answered for")


async def stale_replica_promoted(battle: Battle, draw: random.Random) -> None:
    """The store dies, and a copy takes its place that is some hundreds of writes behind."""
    await promoted_behind(battle, draw, SOME_EVENTS)


async def promoted_behind(battle: Battle, draw: random.Random, events: int) -> None:
    """The store dies, and a copy takes its place that lacks what so many events wrote."""
    copy = await battle.system.store.replica()
    async with direct(copy) as client:
        await client.execute("REPLICAOF", "NO", "ONE")
    customers = list(battle.load.customers)
    for at in range(0, events, AT_ONCE):
        some = range(min(AT_ONCE, events - at))
        await battle.load.send(*(battle.system.transaction(draw.choice(customers), 3) for _ in some))
    async with asyncio.timeout(APPLIED_S):
        await battle.system.until_applied(dict(battle.system.acknowledged))
    await battle.system.store.fail_over(copy)


async def ledger_spoilt(battle: Battle, draw: random.Random) -> None:
    """A ledger that makes no sense lets nothing through that has a cap."""
    customer = f"retail:spoilt-{battle.system.number()}"
    await battle.load.send(battle.system.transaction(customer))
    await battle.system.store.execute("SET", battle.system.keys.ledger(CustomerId(customer)), "nonsense")
    answer = await battle.load.decide(customer, draw.choice(battle.system.nodes))
    if answer is not None and answer.status_code == 200:
        offered = battle.load.note_answer(answer).options
        battle.expect(not offered, "something with a cap was offered over a spoilt ledger")
    await battle.system.store.execute("DEL", battle.system.keys.ledger(CustomerId(customer)))
