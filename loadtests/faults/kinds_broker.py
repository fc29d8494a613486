"""Faults of the broker: stopped, cut off, killed where its log lasts."""

import asyncio
import random
import signal

from loadtests.faults.battle import Battle


async def broker_stopped(battle: Battle, draw: random.Random) -> None:
    """SIGSTOP, and SIGCONT after a while: decisions go on, responses are refused with Retry-After or wait."""
    battle.system.broker.signal(signal.SIGSTOP)
    try:
        before = len(battle.load.answers)
        await asyncio.sleep(draw.uniform(0.5, 2.5))
        battle.note_figure("decided_while_the_broker_was_away", len(battle.load.answers) - before)
    finally:
        battle.system.broker.signal(signal.SIGCONT)


async def broker_cut(battle: Battle, draw: random.Random) -> None:
    """Every connection is reset, a few times over."""
    for _ in range(draw.randrange(1, 3)):
        await battle.system.proxy.cut(battle.system.broker.port)
        await asyncio.sleep(draw.uniform(0.05, 0.3))


async def broker_killed(battle: Battle, draw: random.Random) -> None:
    """SIGKILL, and back on its log: only where that lasts."""
    await asyncio.sleep(draw.uniform(0.0, 0.3))
    await battle.system.broker.kill()
