"""Faults of the network before the store and the broker, by the suite's own proxy."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from loadtests.faults.battle import Battle
from loadtests.faults.proxy import Condition

Fault = Callable[[Battle, random.Random], Awaitable[None]]
CONDITIONS = {
    "slow_50ms": Condition(latency_s=0.05),
    "slow_200ms": Condition(latency_s=0.2, jitter_s=0.1),
    "slow_1s": Condition(latency_s=1.0),
    "jitter": Condition(jitter_s=0.15),
    "black_hole": Condition(black_hole=True),
    "refused": Condition(refuse=True),
    "trickle": Condition(bytes_per_s=1024),
}
"""As reliability.md has them: milliseconds to a second, jitter, silence, refusal, a kilobyte a second."""
LONG_CONDITIONS = {"slow_5s": Condition(latency_s=5.0)}
"""Those that take longer to show than the others last."""
A_WHILE_S = (0.5, 1.5)
LONG_S = (20.0, 30.0)


def spoilt(place: str, condition: str) -> Fault:
    """The way to the place (`store`, `broker`) in that condition for a while, then sound again."""
    is_long = condition in LONG_CONDITIONS
    spoiling, lasting_s = (LONG_CONDITIONS if is_long else CONDITIONS)[condition], LONG_S if is_long else A_WHILE_S

    async def fault(battle: Battle, draw: random.Random) -> None:
        port = battle.system.store.port if place == "store" else battle.system.broker.port
        await battle.system.proxy.spoil(port, spoiling)
        if condition == "refused":
            await battle.system.proxy.cut(port)
        try:
            await asyncio.sleep(draw.uniform(*lasting_s))
        finally:
            await battle.system.proxy.spoil(port, Condition())
            if condition in ("trickle", "black_hole"):
                await battle.system.proxy.cut(port)  # what was held back is as lost as what a cut wire held

    fault.__doc__ = f"The way to the {place}: {condition.replace('_', ' ')}."
    return fault
