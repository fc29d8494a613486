"""Recorded states of customers by a walk over the store's keys, bounded: all of a small bank, a sample of a large one.

Keys are walked in the order of their hashes, which says nothing about the customers, so the first ones met are a fair
sample.
"""

import asyncio
from collections.abc import Sequence

from decision_engine.identifiers import CustomerId
from services.adapters.redis_client import Command, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import items_of, value_of
from services.ports import StoreUnavailable
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
        keys = RedisKeys(self._namespace, layout)
        names: dict[bytes, None] = {}
        walked, cursor = 0, b"0"
        while True:
            cursor, found = await self._walk(keys, cursor)
            names |= dict.fromkeys(found)
            walked += _AT_ONCE
            whole = cursor == b"0"
            if whole or len(names) >= most or walked >= MOST_KEYS:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        whole = whole and len(names) <= most
        population = len(names) if cursor == b"0" else await self._population(len(names), walked)
        return SampledStates(await self._read(list(names)[:most]), population, whole)

    async def _walk(self, keys: RedisKeys, cursor: bytes) -> tuple[bytes, list[bytes]]:
        reply = await self._client.execute(
            *("SCAN", cursor, "MATCH", f"{keys.everything}:state:{keys.layout}", "COUNT", _AT_ONCE),
            timeout_s=_STEP_SECONDS,
        )
        following, names = items_of(reply)
        if not isinstance(following, bytes):
            raise StoreUnavailable("the store's walk over its keys has no cursor")
        return following, [name for name in items_of(names) if isinstance(name, bytes)]

    async def _population(self, found: int, walked: int) -> int:
        """As many of all keys as of those that were walked."""
        size = await self._client.execute("DBSIZE")
        return max(found, round(found * size / walked)) if isinstance(size, int) else found

    async def _read(self, names: Sequence[bytes]) -> list[tuple[str, bytes]]:
        commands: list[Command] = [
            ("MGET", *names[start : start + _READ_AT_ONCE]) for start in range(0, len(names), _READ_AT_ONCE)
        ]
        replies = await self._client.execute_many(commands, _STEP_SECONDS)
        values = [value_of(value) for reply in replies for value in items_of(reply)]
        return [(_customer_of(name), value) for name, value in zip(names, values, strict=True) if value is not None]


def _customer_of(name: bytes) -> CustomerId:
    """The id between the braces of a key."""
    return CustomerId(name[name.index(b"{") + 1 : name.rindex(b"}")].decode())
