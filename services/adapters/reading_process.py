"""A process beside this one that reads files and computes, and gives way to decisions: one job after another.

It is started at the first job and ends when nothing was asked for some minutes. A job that takes too long is ended with
its process; the next one gets a new one.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from services.adapters.embedded_servers import die_with_parent
from services.use_cases.archive_turns import ArchiveTurns
from services.use_cases.observing.results_reading import ReadingFailed

NICENESS = 10
WAITING = 7
"""Jobs that wait for the one under way; more are refused."""
IDLE_SECONDS = 300.0
P = ParamSpec("P")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class _Worker:
    executor: ProcessPoolExecutor
    pid: int


class ReadingProcess:
    """Calls functions of modules with arguments that can be pickled. Close it when done."""

    def __init__(self, idle_s: float = IDLE_SECONDS) -> None:
        self._idle_s = idle_s
        self._worker: _Worker | None = None
        self._turns = ArchiveTurns(1, WAITING, "reports")
        self._rest: asyncio.TimerHandle | None = None

    async def run(self, timeout_s: float, function: Callable[P, Done], *args: P.args, **kwargs: P.kwargs) -> Done:
        """What the function answers. Raises what it raises, ArchiveBusy, and ReadingFailed when it takes longer than
        so many seconds or its process ends."""
        async with self._turns.one():
            return await self._run(timeout_s, function, *args, **kwargs)

    async def _run(self, timeout_s: float, function: Callable[P, Done], *args: P.args, **kwargs: P.kwargs) -> Done:
        if self._rest is not None:
            self._rest.cancel()
        worker = None
        try:
            worker = await self._started()
            future = worker.executor.submit(function, *args, **kwargs)
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            self._end(kill=True)
            raise ReadingFailed(f"it took longer than {timeout_s:g} seconds: choose a shorter period") from error
        except BrokenExecutor as error:
            self._end(kill=True)
            raise ReadingFailed("the process that reads the archive ended; try again") from error
        except asyncio.CancelledError:
            self._end(kill=True)
            raise
        finally:
            self._rest = asyncio.get_running_loop().call_later(self._idle_s, self._end)

    async def _started(self) -> _Worker:
        if self._worker is None:
            executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_give_way)
            pid = await asyncio.wrap_future(executor.submit(os.getpid))
            self._worker = _Worker(executor, pid)
        return self._worker

    def _end(self, *, kill: bool = False) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if kill:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        worker.executor.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Ends the process, and with it what it is doing."""
        if self._rest is not None:
            self._rest.cancel()
        worker = self._worker
        self._end(kill=True)
        if worker is not None:
            await asyncio.to_thread(worker.executor.shutdown)


def _give_way() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to handle
    os.nice(NICENESS)
