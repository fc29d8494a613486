"""The roles as processes that are killed, stopped and brought back, as a cluster's supervisor would bring them back."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.faults.nursery import Nursery
from loadtests.faults.role import write_skew

RESTART_S = 0.2


@dataclass(slots=True, kw_only=True)
class Role:
    """One process of the product. `starts` counts its lives; one that ends by itself is started again."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    nursery: Nursery
    starts: int = 0
    own_ends: list[int] = field(default_factory=list)
    """Statuses with which it ended without being told to."""
    expected: bool = False
    pid: int = 0
    """Of this life; 0 between two."""
    _end: "asyncio.Future[int] | None" = None
    _watch: asyncio.Task[None] | None = None

    @property
    def log(self) -> Path:
        """What it wrote in all its lives."""
        return self.folder / f"{self.name}.log"

    @property
    def clock(self) -> Path:
        """The file by which its wall clock is wrong."""
        return self.folder / f"{self.name}.clock"

    async def start(self) -> None:
        """Starts it, and keeps it running until `stop`."""
        write_skew(self.clock, 0.0)
        await self._spawn()
        self._watch = asyncio.create_task(self._keep(), name=f"watch {self.name}")

    async def kill(self) -> None:
        """SIGKILL; the supervisor starts it again."""
        self.expected = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        await self._ended()

    async def terminate(self) -> float:
        """SIGTERM; the supervisor starts it again. The seconds it took to end."""
        self.expected, began = True, asyncio.get_running_loop().time()
        self.signal(signal.SIGTERM)
        await self._ended()
        return asyncio.get_running_loop().time() - began

    def signal(self, number: signal.Signals) -> None:
        """To this life."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self) -> None:
        """Ends it for good, at once: how roles drain is a fault's to see."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self._end is not None and self.pid:
            self.signal(signal.SIGKILL)
            await self._end

    def tail(self, characters: int = 1500) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    async def _ended(self) -> None:
        if self._end is not None:
            await asyncio.shield(self._end)

    async def _spawn(self) -> None:
        self.starts += 1
        self.pid, self._end = await self.nursery.bear(self.arguments, self.environment, self.log, self.clock)

    async def _keep(self) -> None:
        while self._end is not None:
            code = await asyncio.shield(self._end)
            self.pid = 0
            if not self.expected:
                self.own_ends.append(code)
            self.expected = False
            await asyncio.sleep(RESTART_S)
            await self._spawn()
