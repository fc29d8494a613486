"""Where tasks are done: in this process, or shared out to several. What they answer does not depend on where."""

import gc
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from services.adapters.embedded_servers import die_with_parent
from services.ports import ShellError
from services.simulation.recorded_day.failures import SimulationCancelled, SimulationRefused
from services.simulation.recorded_day.workbench import BenchTerms, Task, Tell, Workbench

Stopped = Callable[[], bool]
CALM = (200_000, 50, 1_000)
"""How seldom a process of its own collects garbage: events that stay would be looked through again and again."""
_LOOK_SECONDS = 0.2
_END_SECONDS = 5.0


class Workers(Protocol):
    """Do tasks. `own` says for each task which of the workers must do it, counted from 0; None: whoever is free."""

    def run(self, tasks: Sequence[Task], own: Sequence[int | None], tell: Tell) -> list[object]:
        """The answers in the order of the tasks. Raises what a task raises, and SimulationCancelled."""
        ...


@contextmanager
def open_workers(terms: BenchTerms, processes: int, stopped: Stopped) -> Iterator[Workers]:
    """So many processes, or this one alone; they end with the context, whatever they are doing."""
    if processes <= 1:
        yield _Here(Workbench(terms), stopped)
        return
    context = get_context("spawn")
    connections: list[Connection] = []
    started: list[BaseProcess] = []
    try:
        for number in range(processes):
            mine, theirs = context.Pipe()
            process: BaseProcess = context.Process(
                target=_serve, args=(theirs, terms), name=f"simulate-{number}", daemon=True
            )
            process.start()
            theirs.close()
            connections.append(mine)
            started.append(process)
        yield _Elsewhere(connections, stopped)
    finally:
        for connection in connections:
            connection.close()
        for each in started:
            each.terminate()
        for each in started:
            each.join(_END_SECONDS)
            if each.is_alive():
                each.kill()


class _Here:
    """All tasks at one workbench in this process."""

    def __init__(self, bench: Workbench, stopped: Stopped) -> None:
        self._bench, self._stopped = bench, stopped

    def run(self, tasks: Sequence[Task], own: Sequence[int | None], tell: Tell) -> list[object]:
        """One after the other."""

        def told(done: int) -> None:
            tell(done)
            if self._stopped():
                raise SimulationCancelled("the simulation was stopped before its end")

        return [task(self._bench, told) for task, _ in zip(tasks, own, strict=True)]


class _Elsewhere:
    """Each process has one task at a time."""

    def __init__(self, connections: Sequence[Connection], stopped: Stopped) -> None:
        self._connections, self._stopped = connections, stopped

    def run(self, tasks: Sequence[Task], own: Sequence[int | None], tell: Tell) -> list[object]:
        """All of them, each by the next who is free and may."""
        count = len(self._connections)
        anyones = deque(number for number, owner in enumerate(own) if owner is None)
        queues = [
            deque(n for n, owner in enumerate(own) if owner is not None and owner % count == w) for w in range(count)
        ]
        answers: list[object] = [None] * len(tasks)
        busy: dict[int, int] = {}
        for worker in range(count):
            self._give(worker, queues[worker] or anyones, tasks, busy)
        while busy:
            if self._stopped():
                raise SimulationCancelled("the simulation was stopped before its end")
            for ready in wait([self._connections[worker] for worker in busy], _LOOK_SECONDS):
                worker = next(n for n, connection in enumerate(self._connections) if connection is ready)
                kind, answer = self._received(worker)
                if kind == "told":
                    tell(int(str(answer)))
                    continue
                if kind == "failed":
                    raise answer if isinstance(answer, Exception) else SimulationRefused(str(answer))
                answers[busy.pop(worker)] = answer
                self._give(worker, queues[worker] or anyones, tasks, busy)
        return answers

    def _give(self, worker: int, queue: "deque[int]", tasks: Sequence[Task], busy: dict[int, int]) -> None:
        if queue:
            busy[worker] = queue.popleft()
            self._connections[worker].send(tasks[busy[worker]])

    def _received(self, worker: int) -> tuple[str, object]:
        try:
            kind, answer = self._connections[worker].recv()
        except (EOFError, OSError) as error:
            raise SimulationRefused(
                "a process of the simulation ended without a word; the machine may be short of memory: "
                "try fewer processes"
            ) from error
        return str(kind), answer


def _serve(connection: Connection, terms: BenchTerms) -> None:
    """Does what comes until nobody asks any more. Who asked is interrupted by Ctrl-C, not we."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    gc.set_threshold(*CALM)
    bench = Workbench(terms)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                answer = task(bench, lambda done: connection.send(("told", done)))
            except ShellError as error:
                connection.send(("failed", error))
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked has to know
                connection.send(("failed", f"{type(error).__name__}: {error}"))
            else:
                connection.send(("done", answer))
