"""Which of an archive's files are merged, and that their rows are carried over as they are."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.decision_log.archive_files import ARCHIVE_SCHEMA, ArchiveFile, file_name
from services.adapters import archive_merging
from services.adapters.archive_merging import mergeable, write_merged

KB, MB = 1024, 1024 * 1024


def files(folder: Path, sizes: Sequence[int]) -> list[ArchiveFile]:
    made = []
    for number, size in enumerate(sizes):
        path = folder / file_name(0, number, number)
        with path.open("wb") as file:
            file.truncate(size)  # nothing is read of it
        made.append(ArchiveFile(path=path, topic="t", day="d", partition=0, first=number, last=number))
    return made


def merged(folder: Path, sizes: Sequence[int]) -> list[int]:
    return [file.first for file in mergeable(files(folder, sizes))]


def test_few_files_are_left_alone(tmp_path: Path) -> None:
    assert merged(tmp_path, [KB] * 15) == []


def test_many_small_ones_become_one_and_large_ones_before_them_stay(tmp_path: Path) -> None:
    assert merged(tmp_path, [40 * MB, 5 * MB, *[KB] * 16]) == list(range(2, 18))


def test_a_file_of_some_megabytes_waits_for_others_of_its_size(tmp_path: Path) -> None:
    assert merged(tmp_path, [*[3 * MB] * 15, *[KB] * 15]) == []
    assert merged(tmp_path, [40 * MB, *[3 * MB] * 16, *[KB] * 15]) == list(range(1, 17))


def test_a_small_file_between_larger_ones_goes_with_them(tmp_path: Path) -> None:
    assert merged(tmp_path, [*[3 * MB] * 8, KB, *[3 * MB] * 7]) == list(range(16))


def test_however_long_a_day_a_record_is_rewritten_a_few_times(tmp_path: Path) -> None:
    """Flushes of 100 KB until there are 100 MB: a file's size is that of its parts."""
    sizes: list[int] = []
    rewritten = 0
    for number in range(1_000):
        sizes.append(100 * KB)
        folder = tmp_path / str(number)
        folder.mkdir()
        numbers = merged(folder, sizes)
        if numbers:
            first, last = numbers[0], numbers[-1]
            whole = sum(sizes[first : last + 1])
            rewritten += whole
            sizes[first : last + 1] = [whole]
    assert rewritten < 4 * 1_000 * 100 * KB
    assert len(sizes) < 40


def test_rows_keep_their_order_and_old_files_get_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_merging, "_ROWS", 7)
    monkeypatch.setattr(archive_merging, "_GROUP_BYTES", 2_000)
    rows = [
        {"partition": 0, "offset": n, "subject": f"retail:{n}", "key": f"k{n}", "value": "v" * n} for n in range(90)
    ]
    old = pa.Table.from_pylist(rows[:40], schema=ARCHIVE_SCHEMA).drop_columns(["key", "arrived"])
    pq.write_table(old, tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist(rows[40:], schema=ARCHIVE_SCHEMA), tmp_path / "b.parquet")
    write_merged([tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "whole.parquet")
    whole = pq.read_table(tmp_path / "whole.parquet")
    assert whole.schema.equals(ARCHIVE_SCHEMA)
    assert whole.column("offset").to_pylist() == list(range(90))
    assert whole.column("value").to_pylist() == ["v" * n for n in range(90)]
    assert whole.column("key").to_pylist() == [*(f"retail:{n}" for n in range(40)), *(f"k{n}" for n in range(40, 90))]
