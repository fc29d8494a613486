"""Recorded states of customers by a walk over the store's keys, bounded: all of a small bank, a sample of a large one.

Keys are walked in the order of their hashes, which says nothing about the customers, so the first ones met are a fair
sample.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from services.adapters.redis_client import Command, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import items_of, value_of
from services.use_cases.authoring.matching import SampledStates

MOST_KEYS = 200_000
"""Keys walked for one sample: about a tenth of a second of the server's time, in small steps."""
_AT_ONCE = 1_000
_READ_AT_ONCE = 256
_PAUSE_SECONDS = 0.001
_STEP_SECONDS = 10.0


class RedisCustomerSample:
    """Implements `authoring.matching.CustomerSample`."""

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def sample(self, layout: str, most: int) -> SampledStates:
        """At most so many states of the layout. Raises StoreUnavailable."""
        keys = RedisKeys(self._namespace, layout).divided(self._client.tags)
        names: dict[bytes, None] = {}
        walked, whole = 0, True
        pattern = f"{keys.everything}:state:{keys.layout}"
        async with aclosing(self._client.walk(pattern, _AT_ONCE, _STEP_SECONDS)) as steps:
            async for found in steps:
                if walked and (len(names) >= most or walked >= MOST_KEYS):
                    whole = False
                    break
                names |= dict.fromkeys(found)
                walked += _AT_ONCE
                await asyncio.sleep(_PAUSE_SECONDS)
        population = len(names) if whole else await self._population(len(names), walked)
        return SampledStates(await self._read(keys, list(names)[:most]), population, whole and len(names) <= most)

    async def _population(self, found: int, walked: int) -> int:
        """As many of all keys as of those that were walked."""
        sizes = (await self._client.everywhere("DBSIZE", timeout_s=_STEP_SECONDS)).values()
        return max(found, round(found * sum(size for size in sizes if isinstance(size, int)) / walked))

    async def _read(self, keys: RedisKeys, names: Sequence[bytes]) -> list[tuple[str, bytes]]:
        commands: list[Command] = [
            ("MGET", *names[start : start + _READ_AT_ONCE]) for start in range(0, len(names), _READ_AT_ONCE)
        ]
        replies = await self._client.execute_many(commands, _STEP_SECONDS)
        values = [value_of(value) for reply in replies for value in items_of(reply)]
        owners = [keys.read(name)[0] for name in names]
        return [(o, v) for o, v in zip(owners, values, strict=True) if o is not None and v is not None]
