"""How many options were seen: what counting the whole archive gives, read once, whatever happens to its files."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from models.decision_log import contact_index
from models.decision_log.archive_files import ArchiveFile, TimeRange, archive_files
from models.decision_log.contact_index import ContactIndex
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.records import read_responses
from services.adapters.parquet_archive import ParquetArchive

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class Responses:
    """An archive of responses to which impressions are added, some of them again."""

    def __init__(self, folder: Path, log: ModuleType) -> None:
        self.log, self.written, self.draw = log, 0, random.Random(5)
        self.query = LogQuery(
            model="m", archive=folder, offers={}, zone=ZoneInfo("UTC"), attribution_seconds=3600
        )  # fmt: skip

    def add(self, rows: int) -> None:
        values = []
        for number in range(self.written, self.written + rows):
            at = START + timedelta(minutes=number)
            seen = self.draw.choice((number, self.draw.randrange(number + 1)))  # anew, or again
            again = f"{number}"
            values.append(self.log.make_response(seen, self.draw.choice(("impression", "accept")), at, again))
        with ParquetArchive(self.query.archive) as archive:
            archive.append(self.log.deliveries("nbo.responses.v1", values, self.written))
        self.written += rows

    def counted(self, since_ms: int, window_s: int) -> int:
        first: dict[str, int] = {}
        responses = list(read_responses(self.query.archive))
        for one in responses:
            if one.outcome == "impression":
                first[one.tracking_id] = min(one.at_ms, first.get(one.tracking_id, one.at_ms))
        last = max((one.at_ms for one in responses), default=0) - 1000 * window_s
        return sum(since_ms <= at_ms <= last for at_ms in first.values())


@pytest.fixture
def responses(tmp_path: Path, log: ModuleType) -> Responses:
    return Responses(tmp_path / "archive", log)


def test_the_count_equals_that_of_the_whole_archive_at_every_look(
    responses: Responses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_index, "_MOST_APART", 40)
    index = ContactIndex()
    assert index.closed(responses.query) == 0
    since_ms = round((START + timedelta(hours=3)).timestamp() * 1000)
    for rows in (1, 7, 60, 300, 1, 200):
        responses.add(rows)
        assert index.closed(responses.query) == responses.counted(0, 3600)
        later = LogQuery(
            model="m", archive=responses.query.archive, offers={}, zone=ZoneInfo("UTC"), attribution_seconds=0,
            period=TimeRange(since_ms=since_ms),
        )  # fmt: skip
        assert index.closed(later) == responses.counted(since_ms, 0)
        assert index.seen(later, 1 << 60) == responses.counted(since_ms, 0)
    assert index.seen(responses.query, since_ms) == responses.counted(0, 0) - responses.counted(since_ms, 0)


def test_no_file_is_read_twice(responses: Responses, monkeypatch: pytest.MonkeyPatch) -> None:
    index, read = ContactIndex(), list[ArchiveFile]()
    plain = contact_index.read_rows

    def read_rows(file: ArchiveFile, columns: tuple[str, ...]) -> Iterator[dict[str, object]]:
        read.append(file)
        return plain(file, columns)

    monkeypatch.setattr(contact_index, "read_rows", read_rows)
    for _ in range(3):
        responses.add(50)
        index.closed(responses.query)
        index.closed(responses.query)
    assert len(read) == len(set(read)) == 3


def test_merged_files_change_nothing_and_a_forgotten_day_is_forgotten(responses: Responses) -> None:
    index = ContactIndex()
    for _ in range(25):
        responses.add(50)  # days of sixteen files and more are merged
        assert index.closed(responses.query) == responses.counted(0, 3600)
    days = {file.day for file in archive_files(responses.query.archive, "nbo.responses.v1")}
    assert len(days) > 1 and len(archive_files(responses.query.archive, "nbo.responses.v1")) < 25
    before = index.closed(responses.query)
    folder = responses.query.archive / "topic=nbo.responses.v1" / f"day={min(days)}"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert index.closed(responses.query) == responses.counted(0, 3600) < before
