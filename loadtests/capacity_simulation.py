"""API processes simulated event by event, to see whether the capacity model's formulae hold.

Nothing of the model is in here: arrivals are drawn, each goes to a process, does its pieces of work in the process's
turn, and waits for the store between them, as the servers do. Times are simulated seconds; the same seed gives the same
course.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Literal

Balancing = Literal["random", "in_turn", "least_busy"]
"""To which process an arrival goes: any one, the next one round, or the one with the fewest decisions under way."""
_ARRIVES, _DONE, _ANSWERED = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is simulated. The work of a decision is drawn from `work_s` and cut into `bursts` equal pieces; between two
    of them the store is asked, which takes an exponential time; the round trips take `round_trips_s` altogether."""

    processes: int
    work_s: Sequence[float]
    bursts: int
    round_trips_s: float
    balancing: Balancing = "random"


@dataclass(slots=True)
class _Process:
    waiting: "deque[_Decision]" = field(default_factory=deque)
    under_way: int = 0
    busy: bool = False


@dataclass(slots=True)
class _Decision:
    began: float
    piece: float
    left: int
    process: _Process


def latencies(installation: Installation, rate: float, decisions: int, seed: int) -> list[float]:
    """Seconds from arrival to answer, ascending, of so many decisions, behind a tenth as many that fill the queues."""
    return sorted(_Course(installation, rate, decisions + decisions // 10, seed).run()[decisions // 10 :])


def quantile(ascending: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


class _Course:
    """One run."""

    def __init__(self, installation: Installation, rate: float, decisions: int, seed: int) -> None:
        self._of, self._rate, self._left, self._draw = installation, rate, decisions, Random(seed)
        self._processes = [_Process() for _ in range(installation.processes)]
        self._events: list[tuple[float, int, int, _Decision | None]] = []
        self._next = self._number = 0
        self._trip = installation.round_trips_s / max(1, installation.bursts - 1)

    def run(self) -> list[float]:
        """Latencies in the order of answers."""
        found: list[float] = []
        self._push(0.0, _ARRIVES, None)
        while self._events:
            now, _, what, decision = heappop(self._events)
            if decision is None:
                self._arrive(now)
            elif what == _ANSWERED:
                self._queue(now, decision)
            elif (latency := self._finish(now, decision)) is not None:
                found.append(latency)
        return found

    def _arrive(self, now: float) -> None:
        process = self._chosen()
        process.under_way += 1
        work = self._draw.choice(self._of.work_s)
        self._queue(now, _Decision(now, work / self._of.bursts, self._of.bursts, process))
        self._left -= 1
        if self._left:
            self._push(now + self._draw.expovariate(self._rate), _ARRIVES, None)

    def _chosen(self) -> _Process:
        match self._of.balancing:
            case "random":
                return self._draw.choice(self._processes)
            case "in_turn":
                self._next = (self._next + 1) % len(self._processes)
                return self._processes[self._next]
            case "least_busy":
                return min(self._processes, key=lambda process: process.under_way)

    def _queue(self, now: float, decision: _Decision) -> None:
        process = decision.process
        if process.busy:
            process.waiting.append(decision)
        else:
            process.busy = True
            self._push(now + decision.piece, _DONE, decision)

    def _finish(self, now: float, decision: _Decision) -> float | None:
        """A piece of work is done; the latency, if it was the last."""
        process = decision.process
        if process.waiting:
            following = process.waiting.popleft()
            self._push(now + following.piece, _DONE, following)
        else:
            process.busy = False
        decision.left -= 1
        if decision.left:
            self._push(now + self._draw.expovariate(1 / self._trip) if self._trip else now, _ANSWERED, decision)
            return None
        process.under_way -= 1
        return now - decision.began

    def _push(self, at: float, what: int, decision: _Decision | None) -> None:
        self._number += 1
        heappush(self._events, (at, self._number, what, decision))
