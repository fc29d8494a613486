"""`kairos experiments report` on an archive."""

from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_schemas.codec import decode
from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import ARCHIVE_SCHEMA, day_folder, file_name
from services.__main__ import main

STRATEGY = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"


def write(root: Path, topic: str, values: list[bytes]) -> None:
    """An archive file as the archiver writes it."""
    rows = []
    for offset, value in enumerate(values):
        event = decode(value)
        data = event.data.model_dump(include={"decision_id", "tracking_id", "outcome"})
        rows.append({"partition": 0, "offset": offset, "time": event.time, "value": value.decode(), **data})
    folder = day_folder(root, topic, "2026-03-02")
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMA), folder / file_name(0, 0, len(values) - 1))


@pytest.fixture
def archive(log: ModuleType, tmp_path: Path) -> Path:
    """Two days of decisions: every fifth customer in the random arm, every other in an experiment's arm; the gold card
    is accepted in both of the latter's arms, more often in `up`."""
    decisions, responses = [], []
    for number in range(400):
        at = log.START + timedelta(minutes=5 * number)
        up = number % 2 == 0
        facts = {
            "arm": "random_eligible" if number % 5 == 0 else "full",
            "experiments": {"push": "up" if up else "control"},
        }
        decisions.append(log.make_decision(number, at, **facts))
        responses.append(log.make_response(number, "impression", at + timedelta(seconds=2)))
        if number % 10 in ((0, 2, 4, 6) if up else (1,)):
            responses.append(log.make_response(number, "accept", at + timedelta(seconds=20)))
    write(tmp_path, DECISIONS, decisions)
    write(tmp_path, RESPONSES, responses)
    return tmp_path


def test_it_prints_every_experiment_from_the_archive(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(STRATEGY))
    assert main(["experiments", "report", "--archive", str(archive), "--attribution-seconds", "60"]) == 0
    shown = capsys.readouterr().out
    assert "the standing experiment, 2 days" in shown
    assert "experiment push, 2 days" in shown
    (up,) = [line for line in shown.splitlines() if line.startswith("up:") and "accept rate" in line]
    assert "+0.5990" in up  # 160 of 200 against 40 of 199: the last decision's window is still open
    assert up.endswith("better since day 1")
    (random,) = [line for line in shown.splitlines() if line.startswith("random_eligible ")]
    assert random.split()[1:4] == ["80", "80", "40"]


def test_an_empty_archive_is_a_plain_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(STRATEGY))
    assert main(["experiments", "report", "--archive", str(tmp_path)]) == 1
    assert "no decision has its attribution window behind it" in capsys.readouterr().err
