"""A simulation as a child process: it reports, says how far it is, can be ended, and says why it failed."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadtests.recorded_day_world import RecordedBank, record_day
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.simulation_process import SimulationProcess
from services.use_cases.governance.simulations import SimulationAsked, SimulationFailed, summary_of

SOURCE = Path(__file__).with_name("small_bank.yaml")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    bank = RecordedBank(strategy=load_strategy_file(SOURCE), customers=60, history_days=3, seed=2, visits=2)
    record_day(bank, root / "archive")
    return root / "archive"


def process(archive: Path) -> SimulationProcess:
    return SimulationProcess(archive=archive, models=archive / "models", attribution_seconds=600, replicates=100)


def asked() -> SimulationAsked:
    text = SOURCE.read_text()
    files = {"bank.yaml": text.replace("lever: 0", "lever: 5", 1)}
    return SimulationAsked(files=files, against={"bank.yaml": text}, actor="wang")


async def test_it_reports_on_the_newest_day_and_says_how_far_it_is(archive: Path) -> None:
    stages: list[tuple[str, int, int]] = []
    report = await process(archive)(asked(), lambda *stage: stages.append(stage))
    summary = summary_of(orjson.loads(report.document), "small", sha256(report.document).hexdigest())
    assert summary.compared_with == load_strategy_file(SOURCE).version
    assert summary.version != summary.compared_with
    assert summary.decisions > 0
    assert {"active.value", "draft.value", "changed"} <= summary.figures.keys()
    assert b"<html" in report.page
    assert stages
    assert all(0 <= done <= total for _, done, total in stages)


async def test_cancelling_ends_the_child(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Any] = []
    start = asyncio.create_subprocess_exec

    async def noted(*command: str, **options: Any) -> Any:
        child = await start(*command, **options)
        children.append(child)
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    running = asyncio.create_task(process(archive)(asked(), lambda *_: None))
    async with asyncio.timeout(30):
        while not children:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert children[0].returncode is not None


async def test_it_says_why_it_failed(archive: Path) -> None:
    with pytest.raises(SimulationFailed, match="no decisions"):
        await process(archive / "nowhere")(asked(), lambda *_: None)
