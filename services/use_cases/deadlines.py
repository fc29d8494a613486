"""`within(seconds)`: as `asyncio.timeout`, at a fraction of its cost where nearly nothing is ever late.

A decision has four deadlines on its way, and each timer of its own costs as much as a stage of the engine. Here all
deadlines of a loop share one timer, set for the earliest that is still waited for.
"""

import asyncio
import math
from heapq import heapify, heappop, heappush
from types import TracebackType
from typing import Self

_GRAIN_S = 0.001
"""Loops round their timers to it, so one may fire that much too early."""
_LEAST_KEPT = 1_024
"""Deadlines that were met stay in the heap until their time; beyond twice those left the last time they are cleared."""


class within:  # noqa: N801 - reads as what it does, as asyncio.timeout
    """`with within(seconds):` cancels what is awaited in it when the time is up, and raises TimeoutError then."""

    __slots__ = ("_cancelling", "_expired", "_seconds", "at", "task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._expired = False
        self._cancelling = 0
        self.at = 0.0
        self.task: asyncio.Task[object] | None = None
        """Who waits; None when nobody does any more."""

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task")
        loop = asyncio.get_running_loop()
        self.task, self._cancelling = task, task.cancelling()
        self.at = loop.time() + self._seconds
        _timer_of(loop).watch(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self.task = self.task, None
        if not self._expired or task is None:
            return
        # Who was cancelled by somebody else as well stays cancelled.
        if task.uncancel() <= self._cancelling and exc_type is asyncio.CancelledError:
            raise TimeoutError from exc

    def expire(self) -> None:
        """The time is up."""
        if self.task is not None:
            self._expired = True
            self.task.cancel()


class _SharedTimer:
    """All deadlines of one loop, the earliest first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: list[tuple[float, int, within]] = []
        self._number = 0
        self._room = 2 * _LEAST_KEPT
        self._handle: asyncio.TimerHandle | None = None
        self._set_for = math.inf

    def watch(self, deadline: within) -> None:
        """Expires it in time, unless nobody waits any more."""
        self._number += 1  # so that equal times are told apart
        heappush(self._waiting, (deadline.at, self._number, deadline))
        if deadline.at < self._set_for:
            self._set(deadline.at)
        if len(self._waiting) > self._room:
            self._waiting = [entry for entry in self._waiting if entry[2].task is not None]
            heapify(self._waiting)
            self._room = 2 * max(_LEAST_KEPT, len(self._waiting))

    def _set(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._set_for = at
        self._handle = self.loop.call_at(at, self._fire)

    def _fire(self) -> None:
        now, waiting = self.loop.time() + _GRAIN_S, self._waiting
        self._handle, self._set_for = None, math.inf
        while waiting and (waiting[0][0] <= now or waiting[0][2].task is None):
            heappop(waiting)[2].expire()
        if waiting:
            self._set(waiting[0][0])


_current: _SharedTimer | None = None
"""The running loop's; a process has one loop at a time, and a new loop begins a new timer."""


def _timer_of(loop: asyncio.AbstractEventLoop) -> _SharedTimer:
    global _current  # noqa: PLW0603
    if _current is None or _current.loop is not loop:
        _current = _SharedTimer(loop)
    return _current
