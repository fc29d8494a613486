"""Reading what the observing pages show: off the event loop, a few at a time, kept for a minute."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from services.ports import Clock, ShellError
from services.use_cases.observing.funnel_log import FunnelLog
from services.use_cases.observing.results_period import Period

if TYPE_CHECKING:  # they bring scipy, which the process that reads needs for neither funnel nor caps
    from models.drift.findings import DriftReport
    from models.evaluation.experiments import ExperimentResult

Found = TypeVar("Found")
KEPT_MS = 60_000
"""How long figures of the log are shown again before they are read anew."""
LONG_KEPT_MS = 300_000
"""The same for what takes long: arms, drift."""
MOST_KEPT = 8


class NothingArchived(ShellError):
    """There is no archive, or it has none of the records that are asked for."""


class NotJudged(ShellError):
    """There is something, but not enough of it to say anything; the text says what is missing."""


class ReadingFailed(ShellError):
    """The archive could not be read for a page; the text says why."""


class LogReading(Protocol):
    """Reads the archive in a process of its own. Raises NothingArchived, NotJudged, LogTooLarge, ArchiveBusy,
    ReadingFailed."""

    async def funnel_log(self, period: Period) -> FunnelLog: ...

    async def experiments(self, period: Period) -> "list[ExperimentResult]": ...

    async def drift(self, version: str) -> "DriftReport": ...


@dataclass(frozen=True, slots=True)
class AsOf(Generic[Found]):
    """What was found, and when it was read (epoch milliseconds)."""

    found: Found
    at_ms: int


class Kept(Generic[Found]):
    """Keeps what was read for a while; whoever asks while it is being read waits for the same reading. A failure is not
    kept."""

    def __init__(self, clock: Clock, kept_ms: int, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._kept_ms = kept_ms
        self._most = most
        self._tasks: OrderedDict[Hashable, tuple[int, asyncio.Task[Found]]] = OrderedDict()

    async def get(self, key: Hashable, read: Callable[[], Awaitable[Found]]) -> AsOf[Found]:
        """What is kept under the key and young enough, or read now. Raises what reading does."""
        known = self._tasks.get(key)
        if known is None or self._is_old(known):
            known = (self._clock.now_ms(), asyncio.ensure_future(_read(read)))
            self._tasks[key] = known
            while len(self._tasks) > self._most:
                self._tasks.popitem(last=False)
        self._tasks.move_to_end(key)
        # Whoever asked may go away; the others, and the next one, still want it.
        return AsOf(await asyncio.shield(known[1]), known[0])

    def _is_old(self, known: tuple[int, asyncio.Task[Found]]) -> bool:
        at_ms, task = known
        if not task.done():
            return False
        failed = task.cancelled() or task.exception() is not None
        return failed or self._clock.now_ms() - at_ms > self._kept_ms


async def _read(read: Callable[[], Awaitable[Found]]) -> Found:
    return await read()
