"""The consumer loop: poll, prepare, apply, commit; the same batch again while the store is away."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.ports import BusUnavailable, Delivery, StoreUnavailable

Partition = tuple[str, int]
"""Topic and partition."""
Batch = TypeVar("Batch")
_log = logging.getLogger(__name__)


class EventStream(Protocol):
    """Records in order, and how far they have been dealt with. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def commit(self, positions: Mapping[Partition, int]) -> None: ...


class Work(Protocol[Batch]):
    """What is done with the records of one poll."""

    async def prepare(self, deliveries: Sequence[Delivery]) -> Batch:
        """Once a batch, before it is applied."""
        ...

    async def apply(self, batch: Batch) -> Mapping[Partition, int]:
        """The next offsets to commit; none where the batch was left and will be read again. Repeatable: raises
        StoreUnavailable or BusUnavailable to be called again with the same batch."""
        ...

    async def idle(self) -> None:
        """What is due when nothing came for a while."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is taken at once, and how long to pause after failures: from `first_pause_s`, doubled each time up to
    `longest_pause_s`, times a factor between 0.5 and 1 drawn by `jitter` (which yields 0 to 1)."""

    jitter: Callable[[], float]
    max_records: int = 4_000
    poll_s: float = 0.2
    first_pause_s: float = 0.05
    longest_pause_s: float = 5.0
    drain_s: float = 8.0
    """Longest time the batch in hand may take after a stop."""
    hand_over_s: float = 3.0
    """Longest time it may take before partitions are given up; below the group's session timeout."""
    bus_s: float = 5.0
    """Longest time a commit may take. During a rebalance a coordinator may leave it unanswered."""
    idle_s: float = 1.0
    """Longest time work may take that is done while nothing comes in."""

    def pause_s(self, failures: int) -> float:
        """The pause after so many failures in a row."""
        longest = min(self.longest_pause_s, self.first_pause_s * (1 << min(failures - 1, 16)))
        return longest * (0.5 + 0.5 * self.jitter())


class BatchConsumer(Generic[Batch]):
    """Runs one batch at a time. Offsets are committed only after `apply`; whatever is interrupted comes again."""

    def __init__(self, stream: EventStream, work: Work[Batch], pace: Pace) -> None:
        self._stream = stream
        self._work = work
        self._pace = pace
        self._idle = asyncio.Event()
        self._idle.set()
        self._giving_up = asyncio.Event()
        """Set when the batch in hand should be left to whoever owns its partitions next."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; the batch in hand is then finished and committed within the drain time, or left.
        Raises what neither the store's nor the bus's return can mend."""
        loop = asyncio.create_task(self._loop(stop), name="consumer")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({loop, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._giving_up.set()
            await asyncio.wait({loop}, timeout=self._pace.drain_s)
            if not loop.done():
                _log.warning("the batch in hand did not finish in time", extra={"action": "it will be read again"})
        finally:
            stopping.cancel()
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    async def revoked(self, partitions: set[Partition]) -> None:
        """Called before partitions are given up: lets the batch in hand finish and commit, within its time. A
        batch that waits for the store is dropped; its records come again, here or elsewhere."""
        if self._idle.is_set():
            return
        self._giving_up.set()
        try:
            await asyncio.wait_for(self._idle.wait(), self._pace.hand_over_s)
        except TimeoutError:
            _log.warning(
                "%d partitions are given up while their batch is still written", len(partitions),
                extra={"action": "none: versions and positions keep the states exact"},
            )  # fmt: skip
        finally:
            self._giving_up.clear()

    async def _loop(self, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                deliveries = await self._stream.poll(self._pace.max_records, self._pace.poll_s)
                failures = 0
            except BusUnavailable as error:
                failures += 1
                _log.warning("the bus cannot be read: %s", error, extra={"action": "try again"})
                await self._pause(failures, stop)
                continue
            if not deliveries:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._work.idle(), self._pace.idle_s)
                continue
            self._idle.clear()
            try:
                await self._handle(deliveries)
            finally:
                self._idle.set()

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        positions = await self._applied(await self._work.prepare(deliveries))
        if not positions:
            return
        try:
            async with asyncio.timeout(self._pace.bus_s):
                await self._stream.commit(positions)
        except (BusUnavailable, TimeoutError) as error:
            _log.warning("offsets were not committed: %r", error, extra={"action": "the next commit covers them"})

    async def _applied(self, batch: Batch) -> Mapping[Partition, int]:
        """What to commit once the batch is applied, tried again while the store is away; nothing when it is left."""
        failures = 0
        while True:
            try:
                return await self._work.apply(batch)
            except (StoreUnavailable, BusUnavailable) as error:
                failures += 1
                level = logging.ERROR if failures == 1 else logging.WARNING
                _log.log(level, "a batch could not be applied: %s", error, extra={"action": "the same batch again"})
            if await self._pause(failures, self._giving_up):
                return {}

    async def _pause(self, failures: int, cut_short: asyncio.Event) -> bool:
        """Waits; True when cut short."""
        try:
            await asyncio.wait_for(cut_short.wait(), self._pace.pause_s(failures))
        except TimeoutError:
            return False
        return True
