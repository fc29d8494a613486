"""Faults of the product's own processes: killed, stopped past the session time-out, restarted, clocks set wrong."""

import asyncio
import random
import signal

from loadtests.faults.battle import Battle
from loadtests.faults.role import write_skew

SESSION_S = 2.0
MOST_DELAY_S = 0.6


async def api_killed(battle: Battle, draw: random.Random) -> None:
    """An API node dies under load."""
    await _at_some_moment(draw)
    await battle.system.roles[draw.choice(battle.system.nodes)].kill()


async def builder_killed(battle: Battle, draw: random.Random) -> None:
    """A state builder dies somewhere between reading, writing and committing."""
    await _flood(battle, draw)
    await battle.system.roles[draw.choice(battle.named("builder"))].kill()


async def all_builders_killed(battle: Battle, draw: random.Random) -> None:
    """Nobody is left who would take the partitions over."""
    await _flood(battle, draw)
    await asyncio.gather(*(battle.system.roles[name].kill() for name in battle.named("builder")))


async def pacer_killed(battle: Battle, draw: random.Random) -> None:
    """Volumes go on without the pacer."""
    await _at_some_moment(draw)
    await battle.system.roles["pacer"].kill()


async def archiver_killed(battle: Battle, draw: random.Random) -> None:
    """The archive is being written."""
    await _at_some_moment(draw)
    await battle.system.roles["archiver"].kill()


async def attributor_killed(battle: Battle, draw: random.Random) -> None:
    """Credit is being given."""
    await _at_some_moment(draw)
    await battle.system.roles["attributor"].kill()


async def builder_zombie(battle: Battle, draw: random.Random) -> None:
    """A builder is stopped past the session time-out with a batch in hand, loses its partitions, and goes on."""
    zombie = battle.system.roles[draw.choice(battle.named("builder"))]
    await _flood(battle, draw)
    zombie.signal(signal.SIGSTOP)
    try:
        await battle.load.send(*(battle.system.transaction(draw.choice(battle.load.customers)) for _ in range(20)))
        # The other member can only apply them once the group has given the stopped one up: that is the event awaited.
        async with asyncio.timeout(SESSION_S * 10):
            await battle.system.until_applied(dict(battle.system.acknowledged))
    except TimeoutError:
        pass
    finally:
        zombie.signal(signal.SIGCONT)


async def api_frozen(battle: Battle, draw: random.Random) -> None:
    """An API node stands still for a while, and goes on with what it had in hand."""
    frozen = battle.system.roles[draw.choice(battle.system.nodes)]
    frozen.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(draw.uniform(0.5, 1.5))
    finally:
        frozen.signal(signal.SIGCONT)


async def api_terminated(battle: Battle, draw: random.Random) -> None:
    """A rolling restart: SIGTERM under load drains, and ends within ten seconds."""
    took = await battle.system.roles[draw.choice(battle.system.nodes)].terminate()
    battle.note_figure("drain_s", took)


async def builder_terminated(battle: Battle, draw: random.Random) -> None:
    """A state builder is asked to end under load."""
    await _flood(battle, draw)
    took = await battle.system.roles[draw.choice(battle.named("builder"))].terminate()
    battle.note_figure("drain_s", took)


async def clock_jump(battle: Battle, draw: random.Random) -> None:
    """One node's wall clock jumps by up to five minutes, either way, and back."""
    role = battle.system.roles[draw.choice([*battle.system.nodes, *battle.named("builder")])]
    write_skew(role.clock, draw.choice((-300.0, -60.0, 60.0, 240.0)))
    try:
        for _ in range(5):
            customer = draw.choice(battle.load.customers)
            await battle.load.send(battle.system.transaction(customer, at_ms=battle.load.now_ms()))
            await battle.load.decide(customer, draw.choice(battle.system.nodes))
    finally:
        write_skew(role.clock, 0.0)


async def _flood(battle: Battle, draw: random.Random) -> None:
    """Work for the builders, which the fault then meets at a random point."""
    customers = list(battle.load.customers)
    await battle.load.send(*(battle.system.transaction(draw.choice(customers), 7) for _ in range(120)))
    await asyncio.sleep(draw.uniform(0.0, 0.15))


async def _at_some_moment(draw: random.Random) -> None:
    await asyncio.sleep(draw.uniform(0.0, MOST_DELAY_S))
