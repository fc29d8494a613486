"""Where roles are born: a process that has imported the product once and forks a role whenever it is asked to.

    python -m loadtests.faults.nursery

A role of its own starts in seconds, most of it imports; a campaign starts hundreds. What is forked is as a fresh
process otherwise: a session, an environment, a log and a source of randomness of its own, killed by its own id.
Driven by lines of JSON on standard input; says on standard output who was born (`{"born": id, "for": name}`) and who
ended (`{"ended": id, "status": -9}`).
"""

import asyncio
import importlib
import json
import os
import random
import resource
import select
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from services.adapters.arrow_memory import choose_allocator
from services.adapters.embedded_servers import die_with_parent

COMMANDS = ("api", "state_builder", "pacer", "archiver", "attributor")
_READ_BYTES = 65_536


class Nursery:
    """The nursery as its driver sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._births: dict[str, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._names = 0

    @staticmethod
    @asynccontextmanager
    async def open() -> "AsyncIterator[Nursery]":
        """Runs until left; whoever it bore ends with it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtests.faults.nursery"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        nursery = Nursery(process)
        listening = asyncio.create_task(nursery._listen(), name="nursery")
        try:
            yield nursery
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
            if process.returncode is None:
                process.kill()
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()

    async def bear(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        clock: Path,
        limits: Mapping[str, int] | None = None,
    ) -> "tuple[int, asyncio.Future[int]]":
        """A role with its command line: its process id, and the status it will end with (minus the signal). `limits`
        are what the system lets it have, by their names (`RLIMIT_NOFILE`)."""
        self._names += 1
        name, loop = str(self._names), asyncio.get_running_loop()
        self._births[name] = loop.create_future()
        told = {"for": name, "arguments": list(arguments), "environment": dict(environment), "limits": limits or {}}
        if self._process.stdin is None:
            raise RuntimeError("the nursery was started without pipes")
        self._process.stdin.write(json.dumps({**told, "log": str(log), "clock": str(clock)}).encode() + b"\n")
        await self._process.stdin.drain()
        pid = await self._births[name]
        return pid, self._end(pid)

    def _end(self, pid: int) -> "asyncio.Future[int]":
        if pid not in self._ends:
            self._ends[pid] = asyncio.get_running_loop().create_future()
        return self._ends[pid]

    async def _listen(self) -> None:
        reading = self._process.stdout
        while reading is not None and (line := await reading.readline()):
            told: dict[str, Any] = json.loads(line)
            if "born" in told:
                self._ends.pop(told["born"], None)  # an id may come again
                self._births.pop(told["for"]).set_result(told["born"])
            elif not (ended := self._end(told["ended"])).done():
                ended.set_result(told["status"])


def main() -> None:
    """Bears roles until standard input ends."""
    choose_allocator(os.environ)  # as `kairos` does before it imports a role
    for command in COMMANDS:
        importlib.import_module(f"services.commands.{command}")
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pending = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, _READ_BYTES)
            _bury()
        if 0 in ready:
            read = os.read(0, _READ_BYTES)
            if not read:
                return
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                _bear(json.loads(line))


def _bear(told: Mapping[str, Any]) -> None:
    pid = os.fork()
    if pid == 0:
        _live(told)
    _say({"born": pid, "for": told["for"]})


def _bury() -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            _say({"ended": ended[0], "status": os.waitstatus_to_exitcode(ended[1])})


def _say(told: Mapping[str, object]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def _live(told: Mapping[str, Any]) -> NoReturn:
    """The child: a role, to its end."""
    status = 1
    try:
        os.setsid()
        die_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(source, number)
        for limit, most in told["limits"].items():
            resource.setrlimit(getattr(resource, limit), (most, most))
        os.environ.update(told["environment"])
        random.seed()
        from loadtests.faults.role import run_with_clock

        status = run_with_clock(Path(told["clock"]), told["arguments"])
    except BaseException:  # noqa: BLE001 - whatever it is, the child must not go on as the nursery
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
