"""The layout of the Parquet archive, for those who write it and those who learn from it.

`<root>/topic=<topic>/day=<YYYY-MM-DD>/p<partition>-<first offset>-<last offset>.parquet`; the day is the event's own
UTC day, `unreadable` where a record has none. Names starting with a dot are unfinished and never read. Small files
are merged in time; a file whose offsets lie within another's of the same day and partition has been merged into it and
is not read either.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import ArchiveDamaged

ARCHIVE_SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("event_id", pa.string()),
        pa.field("type", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("time", pa.timestamp("ms", tz="UTC")),
        pa.field("decision_id", pa.string()),
        pa.field("tracking_id", pa.string()),
        pa.field("outcome", pa.string()),
        pa.field("value", pa.string()),
        pa.field("key", pa.string()),
        pa.field("arrived", pa.timestamp("ms", tz="UTC")),
    ]
)
"""One row a record; `value` is the event as structured JSON, null for a tombstone. `key` is the record's,
`arrived` when the bus took it, null where it did not say; files written before they were kept do not have the
columns."""

UNREADABLE_DAY = "unreadable"

_FILE = re.compile(r"p(?P<partition>\d+)-(?P<first>\d+)-(?P<last>\d+)\.parquet")
_BATCH_ROWS = 2_000
"""Decision records are tens of kilobytes: this bounds a reader's memory to some tens of megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFile:
    """One finished file and the range of records it holds (offsets inclusive)."""

    path: Path
    topic: str
    day: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """Event times in epoch milliseconds, `until_ms` exclusive; None is unbounded."""

    since_ms: int | None = None
    until_ms: int | None = None

    def includes(self, moment: datetime | None) -> bool:
        """Whether a record of that time is wanted; one without a time only when everything is."""
        if moment is None:
            return self.since_ms is None and self.until_ms is None
        at_ms = round(moment.timestamp() * 1000)
        return (self.since_ms is None or at_ms >= self.since_ms) and (self.until_ms is None or at_ms < self.until_ms)

    def includes_day(self, day: str) -> bool:
        """Whether a day's folder can hold wanted records."""
        if day == UNREADABLE_DAY:
            return self.since_ms is None and self.until_ms is None
        first = round(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp() * 1000)
        after = self.since_ms is not None and first + 86_400_000 <= self.since_ms
        return not after and (self.until_ms is None or first < self.until_ms)


EVERYTHING = TimeRange()


def file_name(partition: int, first: int, last: int) -> str:
    """The name of the file holding these offsets of a partition."""
    return f"p{partition}-{first}-{last}.parquet"


def day_folder(root: Path, topic: str, day: str) -> Path:
    """Where the files of a topic's day are."""
    return root / f"topic={topic}" / f"day={day}"


def archive_files(root: Path, topic: str, wanted: TimeRange = EVERYTHING) -> list[ArchiveFile]:
    """The finished files that can hold wanted records, by day, partition and offset, each record in one of them."""
    return without_merged(finished_files(root, topic, wanted))


def finished_files(root: Path, topic: str, wanted: TimeRange = EVERYTHING) -> list[ArchiveFile]:
    """The same with files that were merged into others and not yet deleted."""
    days = sorted(path.name.removeprefix("day=") for path in (root / f"topic={topic}").glob("day=*"))
    return [file for day in days if wanted.includes_day(day) for file in files_of_day(root, topic, day)]


def files_of_day(root: Path, topic: str, day: str) -> list[ArchiveFile]:
    """A day's finished files by partition and offset, merged ones after the file they were merged into."""
    folder = day_folder(root, topic, day)
    found = [_archive_file(path, topic, day) for path in folder.iterdir() if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda file: (file.partition, file.first, -file.last))


def without_merged(files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
    """The files, in their order, that are not contained in the one kept before them."""
    kept: list[ArchiveFile] = []
    for file in files:
        before = kept[-1] if kept else None
        merged = (
            before is not None
            and (before.path.parent, before.partition) == (file.path.parent, file.partition)
            and file.last <= before.last
        )
        if not merged:
            kept.append(file)
    return kept


def read_rows(file: ArchiveFile, columns: Sequence[str]) -> Iterator[dict[str, object]]:
    """The rows of one file in offset order, as mappings of these columns.

    A file that was merged into another since it was listed is read there; one deleted for good has no rows. Raises
    ArchiveDamaged.
    """
    try:
        with pq.ParquetFile(file.path) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                yield from batch.to_pylist()
    except FileNotFoundError:
        yield from _rows_merged(file, columns)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise ArchiveDamaged(f"{file.path} cannot be read: {error}") from error


def _rows_merged(file: ArchiveFile, columns: Sequence[str]) -> Iterator[dict[str, object]]:
    beside = files_of_day(file.path.parents[2], file.topic, file.day) if file.path.parent.is_dir() else []
    for whole in beside:
        if whole.partition == file.partition and whole.first <= file.first and file.last <= whole.last:
            for row in read_rows(whole, (*columns, "offset")):
                offset = row["offset"]
                if isinstance(offset, int) and file.first <= offset <= file.last:
                    yield {name: row[name] for name in columns}
            return


def _archive_file(path: Path, topic: str, day: str) -> ArchiveFile:
    match = _FILE.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not an archive file")
    numbers = {name: int(text) for name, text in match.groupdict().items()}
    return ArchiveFile(
        path=path, topic=topic, day=day, partition=numbers["partition"], first=numbers["first"], last=numbers["last"]
    )
