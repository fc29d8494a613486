"""Restores the contact ledgers of a store that has lost them: reservations that have not lapsed still count.

What was answered comes back with the states, which are folded from the log again. What was only reserved stands in the
log of decisions alone; until it is in the ledgers again, caps would be given a second time. So decisions do without the
ledger (`state_rebuilding`) until that part of the log was read: as far back as the longest reservation lasts.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from services.ports import BusUnavailable, Clock, Delivery, StoreUnavailable
from services.use_cases.rebuild_ledger import LogReader, Partition, RebuildLedger

SETTLE_SECONDS = 2.0
"""How long after a loss was noticed the log is not read yet: what was decided just before may be on its way onto it."""
LOOK_SECONDS = 0.25
FIRST_SECONDS = 5.0
"""How long a builder waits with its first batch, so that nobody new decides without a ledger that is soon there."""
RETRY_SECONDS = 1.0
_MARGIN_MS = 3_600_000
"""Clocks of nodes and of the bus differ, and a record may have waited for the bus."""
_log = logging.getLogger(__name__)


class LedgerMark(Protocol):
    """Present while the ledgers hold what the log says was reserved. Raises StoreUnavailable."""

    async def is_whole(self) -> bool: ...

    async def begin(self) -> None: ...

    async def whole(self) -> None: ...


class TimedLog(Protocol):
    """A reader of all partitions of a topic that can begin at a moment. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def end_offsets(self) -> Mapping[Partition, int]: ...

    async def seek_to_time(self, since_ms: int) -> Mapping[Partition, int]: ...


@dataclass(frozen=True, slots=True)
class _Since:
    """A log from a moment on, in the shape of a whole one."""

    log: TimedLog
    begins: Mapping[Partition, int]

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        return await self.log.poll(max_records, timeout_s)

    async def beginning_offsets(self) -> Mapping[Partition, int]:
        return self.begins

    async def end_offsets(self) -> Mapping[Partition, int]:
        return await self.log.end_offsets()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRestore:
    """`open_logs` open the topics that tell who was erased, what was answered and what was decided, in this order;
    `lasting_ms` is how long a reservation lasts at the most, by the wall's clock, which records on the bus have."""

    mark: LedgerMark
    rebuild: Callable[[], RebuildLedger]
    open_logs: tuple[Callable[[], AbstractAsyncContextManager[TimedLog]], ...]
    wall_clock: Clock
    lasting_ms: int
    settle_s: float = SETTLE_SECONDS
    _looked: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        """For ever: looks whether the ledgers are whole, and restores them when they are not. A store or a bus that is
        away is waited for."""
        while True:
            try:
                if not await self.mark.is_whole():
                    await self.restore()
                self._looked.set()
            except (StoreUnavailable, BusUnavailable, TimeoutError) as error:
                _log.warning("the ledgers cannot be restored yet: %r", error, extra={"action": "try again"})
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def first(self, within_s: float = FIRST_SECONDS) -> None:
        """Returns when the ledgers are whole for the first time, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._looked.wait()

    async def restore(self) -> None:
        """Merges what the log says into the ledgers, and marks them whole. Raises StoreUnavailable and BusUnavailable;
        running it again is then safe and complete."""
        await self.mark.begin()
        since_ms = self.wall_clock.now_ms() - self.lasting_ms - _MARGIN_MS
        async with self._logs(since_ms) as logs:
            if await _has_records(logs[-1]):  # nothing was decided: nothing is on its way
                await asyncio.sleep(self.settle_s)
            rebuilt = await self.rebuild()(*logs)
        await self.mark.whole()
        if rebuilt.contacts:
            _log.warning(
                "restored %d accounts of contacts of %d customers from the log",
                *(rebuilt.contacts, rebuilt.customers),
                extra={"action": "none; look into why the store lost them, unless it was new"},
            )

    @asynccontextmanager
    async def _logs(self, since_ms: int) -> AsyncIterator[list[LogReader]]:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(opening()) for opening in self.open_logs]
            yield [_Since(log, await log.seek_to_time(since_ms)) for log in opened]


async def _has_records(log: LogReader) -> bool:
    begins, ends = await log.beginning_offsets(), await log.end_offsets()
    return any(end > begins.get(partition, 0) for partition, end in ends.items())
