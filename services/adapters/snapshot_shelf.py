"""Snapshots in a folder, made by `kairos snapshot` in a process of its own: folding the archive would hold up decisions
for minutes."""

import asyncio
import shutil
import sys
from collections.abc import Iterable
from datetime import date, tzinfo
from pathlib import Path

import pyarrow as pa

from models.decision_log.state_snapshots import StateSnapshot, read_states, snapshot_columns, snapshot_days
from models.errors import TrainingRefused
from services.use_cases.customer_map.shelf import Making, SnapshotUnreadable

_MOST_SAID = 400


class FolderShelf:
    """Implements `use_cases.customer_map.shelf.SnapshotShelf`."""

    def __init__(self, folder: Path, zone: tzinfo) -> None:
        self._folder = folder
        self._zone = zone
        self._making: Making | None = None
        self._task: asyncio.Task[None] | None = None

    def days(self) -> list[date]:
        """In order."""
        return snapshot_days(self._folder)

    def stamp(self, day: date) -> int:
        """When it was written, nanoseconds."""
        try:
            return (self._folder / f"{day.isoformat()}.parquet").stat().st_mtime_ns
        except OSError as error:
            raise SnapshotUnreadable(f"there is no snapshot of {day}") from error

    def read(self, day: date, names: Iterable[str]) -> StateSnapshot:
        """The columns of these names alone."""
        try:
            return read_states(self._folder, day, self._zone, names)
        except TrainingRefused as error:
            raise SnapshotUnreadable(str(error)) from error

    def attributes(self, day: date) -> list[str]:
        """By name."""
        try:
            return snapshot_columns(self._folder, day)
        except (OSError, pa.ArrowException) as error:
            raise SnapshotUnreadable(f"there is no snapshot of {day}") from error

    def make(self, day: date) -> bool:
        """At a low priority."""
        if self._task is not None and not self._task.done():
            return False
        self._making = Making(day=day)
        self._task = asyncio.create_task(self._run(day), name="snapshot")
        return True

    def making(self) -> Making | None:
        """What is being made, or could not be."""
        return self._making

    async def close(self) -> None:
        """Ends what is being made."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, day: date) -> None:
        calm = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []  # decisions come first
        command = [*calm, sys.executable, "-m", "services", "snapshot", "--at", day.isoformat()]
        process = await asyncio.create_subprocess_exec(
            *command,
            "--snapshots",
            str(self._folder),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        words = said.decode(errors="replace").strip().rpartition("\n")[2][-_MOST_SAID:]
        self._making = None if process.returncode == 0 else Making(day=day, failed=words or str(process.returncode))
