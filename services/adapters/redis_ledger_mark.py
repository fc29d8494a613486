"""Whether the contact ledgers hold what the log says was reserved: lost with them, put down when they are restored.

States are folded again from the log by whoever builds them, reservations are not: so the ledgers have a mark of their
own, which a store that was emptied has lost, too; in a cluster one in each part, for any may be lost alone.
"""

from secrets import token_hex

from services.adapters.redis_client import Command, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.ports import StoreUnavailable

_FENCE_SECONDS = 3_600
_FIELD = "reservations"


class RedisLedgerMark:
    """Implements `ledger_restore.LedgerMark` for one deployment."""

    def __init__(self, client: RedisClient, keys: RedisKeys) -> None:
        self._client = client
        self._parts = keys.divided(client.tags).parts
        self._writer = f"ledger-{token_hex(8)}"
        self._fence = ""

    async def is_whole(self) -> bool:
        """Raises StoreUnavailable."""
        asked: list[Command] = [("EXISTS", keys.ledger_whole) for keys in self._parts]
        return all(reply == 1 for reply in await self._client.execute_many(asked))

    async def lost(self) -> None:
        """The store has lost what it held. Raises StoreUnavailable."""
        await self._client.execute_many([("DEL", keys.ledger_whole) for keys in self._parts])

    async def begin(self) -> None:
        """What is restored from now on stands if the store loses nothing until `whole`. Raises StoreUnavailable."""
        self._fence = token_hex(8)
        fences: list[Command] = [
            ("SET", keys.fence(self._writer), self._fence, "EX", _FENCE_SECONDS) for keys in self._parts
        ]
        await self._client.execute_many(fences)

    async def whole(self) -> None:
        """Everything was restored. Raises StoreUnavailable, also where the store has lost something since `begin`."""
        calls = [
            ("kairos_progress", (keys.fence(self._writer), keys.ledger_whole), (self._fence, _FIELD, 1))
            for keys in self._parts
        ]
        if -1 in await self._client.call_many(calls):
            raise StoreUnavailable("the store has lost writes since the ledgers began to be restored")
