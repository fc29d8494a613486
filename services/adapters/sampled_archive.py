"""Decisions and responses of the archive for reports: only a share of a large period, the same one every time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import ArchiveFile, TimeRange, archive_files, read_rows
from services.use_cases.observing.funnel_log import LogTooLarge, sampled

MOST_BYTES = 4 * 1024**3
"""Of files that are read for one report."""
_BATCH_ROWS = 2_000
_COLUMNS = ("time", "decision_id", "value")


class SampledArchive:
    """The archive under one folder. Raises LogTooLarge."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def decisions_held(self, wanted: TimeRange) -> int:
        """At most so many decisions lie in the range: those of its days."""
        return sum(file.last - file.first + 1 for file in archive_files(self._root, DECISIONS, wanted))

    def decisions(self, wanted: TimeRange, share: float) -> Iterator[bytes]:
        """The decisions of the sample, as published."""
        return self._values(DECISIONS, wanted, share)

    def responses(self, wanted: TimeRange, share: float) -> Iterator[bytes]:
        """The responses to decisions of the sample, as published."""
        return self._values(RESPONSES, wanted, share)

    def _values(self, topic: str, wanted: TimeRange, share: float) -> Iterator[bytes]:
        files = archive_files(self._root, topic, wanted)
        size = sum(_size(file) for file in files)
        if size > MOST_BYTES:
            raise LogTooLarge(
                f"the archive has {size / 1024**3:.0f} GB of {topic} for these days, and a page reads at most "
                f"{MOST_BYTES // 1024**3}: choose fewer days"
            )
        for file in files:
            yield from _sampled_values(file, wanted, share)


def _size(file: ArchiveFile) -> int:
    try:
        return file.path.stat().st_size
    except FileNotFoundError:
        return 0  # merged into another since it was listed


def _sampled_values(file: ArchiveFile, wanted: TimeRange, share: float) -> Iterator[bytes]:
    """Only what is wanted of a file becomes Python's: records are tens of kilobytes."""
    try:
        parquet = pq.ParquetFile(file.path)
    except FileNotFoundError:
        rows = list(read_rows(file, _COLUMNS))
        keep = _wanted([row["time"] for row in rows], [row["decision_id"] for row in rows], wanted, share)
        values: Sequence[object] = [row["value"] for row, kept in zip(rows, keep, strict=True) if kept]
        yield from (value.encode() for value in values if isinstance(value, str))
        return
    with parquet:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=list(_COLUMNS)):
            keep = _wanted(batch.column("time").to_pylist(), batch.column("decision_id").to_pylist(), wanted, share)
            kept = batch.filter(pa.array(keep, pa.bool_())).column("value").to_pylist()
            yield from (value.encode() for value in kept if isinstance(value, str))


def _wanted(times: Sequence[object], ids: Sequence[object], wanted: TimeRange, share: float) -> list[bool]:
    return [
        wanted.includes(moment if isinstance(moment, datetime) else None)
        and isinstance(decision_id, str)
        and sampled(decision_id, share)
        for moment, decision_id in zip(times, ids, strict=True)
    ]
