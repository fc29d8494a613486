"""The clock of a replay: the newest event time that has been applied, shared through the store."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.ports import StoreUnavailable
from services.use_cases.running_beside import running_beside

_POLL_SECONDS = 0.05
_log = logging.getLogger(__name__)


class RedisClock:
    """Implements `ports.Clock` by following `<ns>:clock`; the wall clock until the first value has been seen."""

    def __init__(self, client: RedisClient, keys: RedisKeys) -> None:
        self._client = client
        self._keys = keys
        self._newest_ms: int | None = None

    @asynccontextmanager
    async def following(self, every_s: float = _POLL_SECONDS) -> AsyncIterator["RedisClock"]:
        """Follows the stored time in the background while the context lasts."""
        with suppress(StoreUnavailable):
            await self._refresh()
        async with running_beside(self._follow(every_s), "clock"):
            yield self

    def now_ms(self) -> int:
        """Epoch milliseconds of the newest event applied."""
        return time.time_ns() // 1_000_000 if self._newest_ms is None else self._newest_ms

    async def advance(self, to_ms: int) -> None:
        """Moves the stored clock forward to `to_ms`; an earlier time changes nothing. Raises StoreUnavailable."""
        self._see(await self._client.call("kairos_advance", (self._keys.clock,), (to_ms,)))

    async def _refresh(self) -> None:
        self._see(await self._client.execute("GET", self._keys.clock))

    def _see(self, reply: object) -> None:
        if isinstance(reply, bytes) and reply.isdigit():
            self._newest_ms = max(int(reply), self._newest_ms or 0)

    async def _follow(self, every_s: float) -> None:
        away = False
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._refresh()
                away = False
            except StoreUnavailable as error:
                if not away:
                    _log.warning("the event clock stands still: %s", error, extra={"action": "wait for the store"})
                away = True
