"""`kairos attribution` prints what the archive holds."""

import argparse
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from event_schemas.codec import decode
from event_schemas.topics import CONVERSIONS
from services.adapters.parquet_archive import ParquetArchive
from services.commands import attribution as command
from services.ports import Delivery

SAMPLE = Path(__file__).parents[2] / "golden" / "events" / "nbo.conversion.attributed.1.json"


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Archives the sample and an outdated account of it, and runs the command."""
    newer = orjson.loads(SAMPLE.read_bytes())
    older = orjson.loads(SAMPLE.read_bytes())
    older["data"] |= {"revision": 1, "credits": older["data"]["credits"][:1]}
    values = [orjson.dumps(newer), orjson.dumps(older)]
    assert all(decode(value).type == "nbo.conversion.attributed" for value in values)
    with ParquetArchive(tmp_path) as archive:
        archive.append([Delivery(CONVERSIONS, 0, offset, b"k", value, ()) for offset, value in enumerate(values)])

    def run(*arguments: str) -> list[str]:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        assert command.run(parser.parse_args(["--archive", str(tmp_path), *arguments])) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_each_conversion_counts_once_as_last_said(printed: Callable[..., list[str]]) -> None:
    lines = printed("--since", "2026-11-01", "--until", "2026-12-01", "--by", "channel", "--model", "shared")
    assert [line.split()[:2] for line in lines[2:]] == [["mobile", "0.55"], ["manager", "0.45"], ["total", "1.00"]]
    assert lines[-1].split()[3] == "5,000"
    (row,) = [line for line in printed("--since", "2026-11-01", "--until", "2026-12-01") if "money_fund" in line]
    assert row.split() == ["money_fund", "1.00", "100.0%", "5,000", "1"]


def test_a_period_without_conversions_has_none(printed: Callable[..., list[str]]) -> None:
    assert printed("--since", "2026-12-01", "--until", "2026-12-02")[-1] == "none"
