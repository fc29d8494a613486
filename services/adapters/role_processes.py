"""The roles as child processes under a small supervisor that restarts one that dies."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from services.adapters.embedded_servers import die_with_parent

_log = logging.getLogger(__name__)

STOP_SECONDS = 16.0
"""An API node gives notice for two seconds, drains requests for four at most and late saves for three, others finish a
batch within eight; after this a role is killed."""
RESTART_SECONDS = 1.0
"""Pause before a role that died is started again, so that a broken one does not burn the machine."""


@dataclass(slots=True, kw_only=True)
class RoleProcess:
    """One role: `python -m services <arguments>` with these settings, its output in a log file."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    _watch: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The role's name."""
        return self.arguments[0]

    async def start(self) -> None:
        """Starts it and keeps it running until `stop`."""
        self.process = await self._spawn()
        self._watch = asyncio.create_task(self._keep_running(), name=f"watch {self.name}")

    async def stop(self) -> None:
        """Asks it to drain and end; kills it when it does not within its time."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self.process is None or self.process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            _log.warning("%s did not drain in %g s and is killed", self.name, STOP_SECONDS, extra={"action": "stop"})
            self.process.kill()
            await self.process.wait()

    def log_tail(self, characters: int = 2000) -> str:
        """The end of its log, for an error message."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    async def _spawn(self) -> asyncio.subprocess.Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as sink:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services", *self.arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **self.environment},
                preexec_fn=die_with_parent,
                start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's to handle
            )

    async def _keep_running(self) -> None:
        while self.process is not None:
            code = await self.process.wait()
            self.restarts += 1
            _log.error("%s ended with status %d; started again", self.name, code, extra={"action": "restart"})
            await asyncio.sleep(RESTART_SECONDS)
            self.process = await self._spawn()
