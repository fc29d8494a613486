"""A simulation as a child process that gives way to everything else on the machine: `kairos simulate strategy`."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.adapters.embedded_servers import die_with_parent
from services.use_cases.governance.simulations import OnStage, Report, SimulationAsked, SimulationFailed

NICENESS = 15
_STAGE = re.compile(r"(?P<stage>[^:]{1,80}): (?P<done>[0-9,]+) of (?P<total>[0-9,]+)$")
_SHOWN_LINES = 5
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationProcess:
    """Implements `governance.simulations.SimulationWork`. `processes` is over how many the child spreads."""

    archive: Path
    models: Path
    attribution_seconds: int
    processes: int = 1
    replicates: int | None = None

    async def __call__(self, asked: SimulationAsked, on_stage: OnStage) -> Report:
        """Raises SimulationFailed with what the child said last."""
        with tempfile.TemporaryDirectory(prefix="simulation-") as name:
            folder = Path(name)
            active, draft = await asyncio.to_thread(_write, folder, asked)
            page, answer = folder / "report.html", folder / "report.json"
            with answer.open("wb") as out:
                child = await asyncio.create_subprocess_exec(
                    *self._command(asked, active, draft, page),
                    stdout=out,
                    stderr=asyncio.subprocess.PIPE,
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                    preexec_fn=_give_way,
                )
            try:
                said = await _followed(child, on_stage)
                status = await child.wait()
            finally:
                await _ended(child)
            if status != 0:
                raise SimulationFailed("; ".join(said) or f"the simulation ended with status {status}")
            return await asyncio.to_thread(lambda: Report(answer.read_bytes(), page.read_bytes()))

    def _command(self, asked: SimulationAsked, active: Path, draft: Path, page: Path) -> Sequence[str]:
        command = [sys.executable, "-m", "services", "simulate", "strategy", "--strategy", str(active)]
        command += ["--draft", str(draft), "--archive", str(self.archive.resolve())]
        command += ["--models", str(self.models.resolve()), "--processes", str(self.processes)]
        command += ["--attribution-seconds", str(self.attribution_seconds), "--json", "--html", str(page)]
        command += [] if asked.day is None else ["--day", asked.day.isoformat()]
        command += [] if self.replicates is None else ["--replicates", str(self.replicates)]
        return [*command, "--day-count", str(asked.day_count)]


async def _followed(child: asyncio.subprocess.Process, on_stage: OnStage) -> list[str]:
    """Passes on how far the child says it is; answers its last lines."""
    said: list[str] = []
    if child.stderr is None:
        return said
    async for line in child.stderr:
        text = line.decode(errors="replace").strip()
        found = _STAGE.search(text)
        if found is not None:
            done, total = (int(found[part].replace(",", "")) for part in ("done", "total"))
            on_stage(found["stage"].strip(), done, total)
        elif text:
            said = [*said[-_SHOWN_LINES + 1 :], text[:400]]
    return said


async def _ended(child: asyncio.subprocess.Process) -> None:
    """The child and all of its own children are gone."""
    if child.returncode is not None:
        return
    for signal_number in (15, 9):
        try:
            os.killpg(child.pid, signal_number)
        except ProcessLookupError:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                await child.wait()
        except TimeoutError:
            continue
        return


def _write(folder: Path, asked: SimulationAsked) -> tuple[Path, Path]:
    return _files(folder / "active", asked.against), _files(folder / "draft", asked.files)


def _files(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def _give_way() -> None:
    die_with_parent()
    os.nice(NICENESS)
