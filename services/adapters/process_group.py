"""Several processes of one role, forked from one that has loaded what they share and then only watches over them.

Memory that nobody writes stays one copy for all (`gc.freeze` keeps the collector from touching it). Linux alone.
"""

import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from services.adapters.embedded_servers import die_with_parent
from services.ports import ShellError

FIRST_SECONDS = 5.0
"""Whoever fails so soon after the first start would fail again: the settings are wrong, not the moment."""
RESTART_SECONDS = 1.0
"""Pause before one that died is started again; doubled for each that dies young, up to `MOST_RESTART_SECONDS`."""
MOST_RESTART_SECONDS = 30.0
YOUNG_SECONDS = 10.0
_STOPS = (signal.SIGTERM, signal.SIGINT)
_WATCHED = {*_STOPS, signal.SIGCHLD}
_log = logging.getLogger(__name__)


class ProcessesUnsupported(ShellError):
    """This system cannot run a role in several processes; run one, several times."""


@dataclass(slots=True)
class _Place:
    """One of the processes, whoever it is at the moment."""

    number: int
    pid: int = 0
    started_s: float = 0.0
    pause_s: float = RESTART_SECONDS
    due_s: float = 0.0
    """When it is started again, while it has none."""


@dataclass(slots=True)
class ProcessGroup:
    """`work` is done in each of `count` processes, with its number from 0, and answers the process' exit status."""

    count: int
    work: Callable[[int], int]
    monotonic_s: Callable[[], float] = time.monotonic
    _places: list[_Place] = field(default_factory=list, init=False)
    _stopping: bool = field(default=False, init=False)
    _status: int = field(default=0, init=False)

    def run(self) -> int:
        """Starts all and keeps them running until SIGTERM or SIGINT, which are passed on; answers the exit status.

        In each of the processes it returns what `work` does there: to its caller a process of the group is one that
        never had another. Raises ProcessesUnsupported.
        """
        if not hasattr(signal, "sigtimedwait"):
            raise ProcessesUnsupported("several processes need Linux")
        gc.collect()
        gc.freeze()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        self._places = [_Place(number) for number in range(self.count)]
        begun_s = self.monotonic_s()
        while not self._done():
            for place in self._due():
                if self._fork(place):
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)
                    return self.work(place.number)
            self._wait(begun_s)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._status

    def _done(self) -> bool:
        return self._stopping and not any(place.pid for place in self._places)

    def _due(self) -> list[_Place]:
        now_s = self.monotonic_s()
        return [] if self._stopping else [p for p in self._places if not p.pid and p.due_s <= now_s]

    def _fork(self, place: _Place) -> bool:
        """Whether this is the new process."""
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            if os.getppid() != parent:  # it ended before we could ask
                raise SystemExit(1)
            return True
        place.pid, place.started_s = pid, self.monotonic_s()
        return False

    def _wait(self, begun_s: float) -> None:
        """Until a signal comes or one is to be started again, and answers to it."""
        pauses = [place.due_s for place in self._places if not place.pid]
        wait_s = MOST_RESTART_SECONDS if self._stopping or not pauses else max(0.0, min(pauses) - self.monotonic_s())
        caught = signal.sigtimedwait(_WATCHED, wait_s)
        if caught is not None and caught.si_signo in _STOPS:
            self._stop()
        self._bury(begun_s)

    def _stop(self) -> None:
        self._stopping = True
        for place in self._places:
            if place.pid:
                os.kill(place.pid, signal.SIGTERM)

    def _bury(self, begun_s: float) -> None:
        """Takes note of every process that ended: one signal may stand for several."""
        now_s = self.monotonic_s()
        for place in [place for place in self._places if place.pid]:
            pid, wait_status = os.waitpid(place.pid, os.WNOHANG)
            if not pid:
                continue
            place.pid = 0
            if self._stopping:
                continue
            status = os.waitstatus_to_exitcode(wait_status)
            if status > 0 and now_s - begun_s < FIRST_SECONDS:
                self._status = status
                self._stop()
                continue
            young = now_s - place.started_s < YOUNG_SECONDS
            place.pause_s = min(2 * place.pause_s, MOST_RESTART_SECONDS) if young else RESTART_SECONDS
            place.due_s = now_s + place.pause_s
            text = "process %d ended with %d and is started again in %g s"
            _log.error(text, place.number, status, place.pause_s, extra={"action": "restart"})
