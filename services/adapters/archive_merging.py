"""Merging an archive's small files, so that readers open fewer of them.

Files of like sizes are merged, as in a log-structured tree: flushes into files of some megabytes, those into files that
are left alone. So a record is rewritten a few times however long its day grows, and rows are carried over a portion at
a time, so that the archiver needs no more memory for a large file than for a small one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.decision_log.archive_files import ARCHIVE_SCHEMA, ArchiveFile

MERGE_FILES = 16
_MIDDLING_BYTES = 2 * 1024 * 1024
_LARGE_BYTES = 32 * 1024 * 1024
"""Larger files are never rewritten."""
_ROWS = 2_000
"""Read at a time: decision records are tens of kilobytes."""
_GROUP_BYTES = 2 * 1024 * 1024
"""Of rows in memory that are written as one row group."""


def mergeable(files: Sequence[ArchiveFile]) -> list[ArchiveFile]:
    """Neighbours that are to become one file, of the files of a partition's day by offset; none while there are few."""
    sizes = [file.path.stat().st_size for file in files]
    small = _begin(sizes, len(sizes), _MIDDLING_BYTES)
    if len(files) - small >= MERGE_FILES:
        return list(files[small:])
    middling = _begin(sizes, small, _LARGE_BYTES)
    return list(files[middling:small]) if small - middling >= MERGE_FILES else []


def write_merged(parts: Sequence[Path], to: Path) -> None:
    """Writes the rows of these files, in their order, as one. Files written before keys were kept get the column: only
    events whose key was their subject counted then; when their records arrived nobody knows any more."""
    with pq.ParquetWriter(to, ARCHIVE_SCHEMA, compression="zstd") as writer:
        for group in _groups(parts):
            writer.write_table(pa.Table.from_batches(group, ARCHIVE_SCHEMA))
    pa.default_memory_pool().release_unused()  # a merge needs much, and the next one may be hours away


def _begin(sizes: Sequence[int], end: int, limit: int) -> int:
    """Where the files begin that end before `end` and are all smaller than the limit."""
    begin = end
    while begin > 0 and sizes[begin - 1] < limit:
        begin -= 1
    return begin


def _groups(parts: Sequence[Path]) -> Iterator[list[pa.RecordBatch]]:
    group: list[pa.RecordBatch] = []
    size = 0
    for part in parts:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
                group.append(_whole(batch))
                size += batch.nbytes
                if size >= _GROUP_BYTES:
                    yield group
                    group, size = [], 0
    if group:
        yield group


def _whole(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in the present columns."""
    known = {name: batch.column(name) for name in batch.schema.names}
    known.setdefault("key", known["subject"])
    columns = [known.get(field.name, pa.nulls(batch.num_rows, field.type)) for field in ARCHIVE_SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=ARCHIVE_SCHEMA)
