"""Being woken when it is time. Event loops round their timers to whole milliseconds, half of what is to be measured; on
Linux a timer of the kernel's own, which the loop watches like a socket, is exact to some tens of microseconds."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from math import modf
from time import monotonic
from typing import Protocol

_CLOCK_MONOTONIC = 1
_NON_BLOCKING = os.O_NONBLOCK if hasattr(os, "O_NONBLOCK") else 0
_ABSOLUTE = 1


class Timer(Protocol):
    """Calls back once for each `wake_at`."""

    def wake_at(self, moment: float) -> None:
        """At this moment of `monotonic`, or at once where it has passed. A later call takes an earlier one's place."""

    def close(self) -> None:
        """Nothing is called any more."""


def open_timer(callback: Callable[[], None]) -> Timer:
    """The most exact timer there is here, for the running loop."""
    return _KernelTimer(callback) if sys.platform.startswith("linux") else _LoopTimer(callback)


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class _KernelTimer:
    """timerfd on the monotonic clock, which `monotonic` reads on Linux."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NON_BLOCKING)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._fired)
        self._spec = _TimerSpec()

    def wake_at(self, moment: float) -> None:
        fraction, whole = modf(max(moment, 1e-6))  # zero would switch the timer off
        self._spec.value.seconds, self._spec.value.nanoseconds = int(whole), int(fraction * 1e9)
        if self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(self._spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _fired(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:  # set anew between firing and being read
            return
        self._callback()


class _LoopTimer:
    """The loop's own timer, elsewhere: the lag of the schedule, which every run reports, shows what it costs."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def wake_at(self, moment: float) -> None:
        self.close()
        self._handle = self._loop.call_later(max(0.0, moment - monotonic()), self._callback)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
