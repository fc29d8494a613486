"""The archive's events sorted by customer: bundles on the local disk, each holding everything of its customers.

The archive is by topic, day and partition. Folding from it in that order would touch every state once for every few
events; sorted first, a state is made once from all its customer has ever done and written once, which is also all that
the store sees of it. Sorting keeps the order of each partition, on which exactness rests: offsets rise.

`<folder>/<topic>.p<partition>.v2/<bundle>.arrow` holds one partition's part of a bundle. A partition's folder appears
whole or not at all, so sorting goes on where it was interrupted.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.decision_log.archive_files import ArchiveFile, archive_files, files_of_day
from services.ports import Delivery

Partition = tuple[str, int]
"""Topic and partition."""

BUNDLE_EVENTS = 100_000
MOST_BUNDLES = 250
"""Each is an open file while a partition is sorted; with more events than these hold in small bundles, bundles grow."""
_BATCH_ROWS = 20_000
_BUFFERED_ROWS = 100_000
_CHUNK_EVENTS = 10_000
_SORTED = pa.schema(
    [
        pa.field("offset", pa.int64()),
        pa.field("key", pa.string()),
        pa.field("value", pa.large_string()),
        pa.field("arrived_ms", pa.int64()),
    ]
)
_LAYOUT = "v2"
"""Of these files: what another release has sorted half is sorted anew."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBundles:
    """Bundles of an archive up to `positions` (exclusive, by topic and partition), kept in `folder`."""

    root: Path
    folder: Path
    positions: Mapping[Partition, int]
    bundles: int

    def sort(self, partition: Partition, on_sorted: Callable[[int], None] = lambda _: None) -> int:
        """Sorts one partition, unless it is sorted already; tells after each step how many events are. Answers how many
        there are in all. What `on_sorted` raises leaves it to be sorted anew."""
        finished = self._folder_of(partition)
        if finished.is_dir():
            return int((finished / "events").read_text())
        unfinished = finished.with_name(f".{finished.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        done = 0
        with _BundleFiles(unfinished, self.bundles) as files:
            for rows in _in_offset_order(self._files(partition), self.positions[partition]):
                files.append(rows)
                done += rows.num_rows
                on_sorted(done)
        (unfinished / "events").write_text(str(done))
        unfinished.rename(finished)
        return done

    def read(self, bundle: int, topics: Sequence[str]) -> Iterator[list[Delivery]]:
        """A bundle's events in portions that each hold whole customers; of each customer by topic and offset."""
        tables: list[pa.Table] = []
        origins: list[Partition] = []
        for partition in sorted(self.positions, key=lambda p: (topics.index(p[0]), p[1])):
            path = self._folder_of(partition) / f"{bundle}.arrow"
            if path.is_file():
                with pa.memory_map(str(path)) as source:
                    tables.append(pa.ipc.open_stream(source).read_all())
                origins += [partition] * tables[-1].num_rows
        if not tables:
            return
        table = pa.concat_tables(tables).combine_chunks()
        codes = pc.fill_null(table.column("key"), "").combine_chunks().dictionary_encode().indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        for start, end in _portions(codes[order]):
            chosen = order[start:end]
            portion = table.take(pa.array(chosen))
            yield [
                Delivery(origins[row][0], origins[row][1], offset, _bytes(key), _bytes(value), (), arrived_ms or 0)
                for row, offset, key, value, arrived_ms in zip(
                    chosen.tolist(), *(portion.column(name).to_pylist() for name in _SORTED.names), strict=True
                )
            ]

    def remove(self) -> None:
        """Frees the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, partition: Partition) -> list[ArchiveFile]:
        topic, number = partition
        files = [f for f in archive_files(self.root, topic) if f.partition == number]
        return sorted((f for f in files if f.first < self.positions[partition]), key=lambda f: f.first)

    def _folder_of(self, partition: Partition) -> Path:
        return self.folder / f"{partition[0]}.p{partition[1]}.{_LAYOUT}"


class _BundleFiles:
    """The files of one partition while it is sorted, one a bundle, made when the first event comes."""

    def __init__(self, folder: Path, bundles: int) -> None:
        self._folder = folder
        self._bundles = bundles
        self._files = ExitStack()
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.close()

    def append(self, rows: pa.Table) -> None:
        """Gives every row to its customer's bundle, keeping their order."""
        keys = rows.column("key").to_pylist()
        numbers = np.fromiter((crc32((key or "").encode()) % self._bundles for key in keys), np.int64, len(keys))
        by_bundle = rows.take(pa.array(np.argsort(numbers, kind="stable")))
        counts = np.bincount(numbers, minlength=self._bundles)
        at = 0
        for bundle in np.flatnonzero(counts).tolist():
            count = int(counts[bundle])
            self._writer(bundle).write_table(by_bundle.slice(at, count))
            at += count

    def _writer(self, bundle: int) -> "pa.ipc.RecordBatchStreamWriter":
        found = self._writers.get(bundle)
        if found is None:
            sink = self._files.enter_context(pa.OSFile(str(self._folder / f"{bundle}.arrow"), "wb"))
            found = self._files.enter_context(pa.ipc.new_stream(sink, _SORTED, options=_OPTIONS))
            self._writers[bundle] = found
        return found


class _Cursor:
    """A file being read: the rows at hand that were not taken yet, by offset."""

    def __init__(self, file: ArchiveFile) -> None:
        self._file = file
        self._parquet = _opened(file)
        kept = self._parquet.schema_arrow.names
        self._key = "key" if "key" in kept else "subject"
        self._batches = self._parquet.iter_batches(
            batch_size=_BATCH_ROWS, columns=["offset", self._key, "value", *({"arrived"} & {*kept})]
        )
        self._rows = _SORTED.empty_table()
        self._offsets: NDArray[np.int64] = np.empty(0, np.int64)
        self.advance()

    @property
    def at_hand(self) -> bool:
        """Whether there are rows."""
        return len(self._offsets) > 0

    @property
    def last(self) -> int:
        """The last offset at hand."""
        return int(self._offsets[-1])

    def take(self, until: int) -> pa.Table:
        """The rows up to that offset, inclusive."""
        count = int(np.searchsorted(self._offsets, until, side="right"))
        taken, self._rows = self._rows.slice(0, count), self._rows.slice(count)
        self._offsets = self._offsets[count:]
        if not self.at_hand:
            self.advance()
        return taken

    def advance(self) -> None:
        """Reads on; at the end of the file nothing is at hand and it is closed."""
        for batch in self._batches:
            rows = _sortable(batch, self._key)
            offsets = rows.column("offset").to_numpy()
            inside = (offsets >= self._file.first) & (offsets <= self._file.last)
            if not inside.all():  # of a file that this one was merged into
                rows, offsets = rows.filter(pa.array(inside)), offsets[inside]
            if len(offsets):
                self._rows, self._offsets = rows, offsets
                return
        self._parquet.close()


def _sortable(batch: pa.RecordBatch, key: str) -> pa.Table:
    """The rows as bundles have them. When a record arrived is not known of files written before that was kept."""
    known = "arrived" in batch.schema.names
    arrived = batch.column("arrived").cast(pa.int64()) if known else pa.nulls(batch.num_rows, pa.int64())
    value = batch.column("value").cast(pa.large_string())
    return pa.Table.from_arrays([batch.column("offset"), batch.column(key), value, arrived], schema=_SORTED)


def _in_offset_order(files: Sequence[ArchiveFile], end: int) -> Iterator[pa.Table]:
    """The rows of one partition below `end`. Days overlap in the log where events came late, so files are read side by
    side: as many as overlap at one place, a batch of each at a time."""
    waiting, cursors = list(reversed(files)), list[_Cursor]()
    buffered: list[pa.Table] = []
    while waiting or cursors:
        if not cursors:
            cursors.append(_Cursor(waiting.pop()))
            cursors = [cursor for cursor in cursors if cursor.at_hand]
            continue
        cut = min(cursor.last for cursor in cursors)
        if waiting and waiting[-1].first <= cut:
            cursors += [cursor for cursor in (_Cursor(waiting.pop()),) if cursor.at_hand]
            continue
        buffered.append(_ordered([cursor.take(cut) for cursor in cursors]))
        cursors = [cursor for cursor in cursors if cursor.at_hand]
        if sum(rows.num_rows for rows in buffered) >= _BUFFERED_ROWS:
            yield _below(pa.concat_tables(buffered), end)
            buffered = []
    if buffered:
        yield _below(pa.concat_tables(buffered), end)


def _ordered(parts: Sequence[pa.Table]) -> pa.Table:
    rows = pa.concat_tables([part for part in parts if part.num_rows])
    return rows if len(parts) == 1 else rows.sort_by("offset")


def _below(rows: pa.Table, end: int) -> pa.Table:
    return rows.filter(pc.less(rows.column("offset"), end))


def _opened(file: ArchiveFile) -> pq.ParquetFile:
    """The file, or the one it was merged into since it was listed."""
    try:
        return pq.ParquetFile(file.path)
    except FileNotFoundError:
        for whole in files_of_day(file.path.parents[2], file.topic, file.day):
            if whole.partition == file.partition and whole.first <= file.first and file.last <= whole.last:
                return pq.ParquetFile(whole.path)
        raise


def _portions(codes: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Stretches of about so many events that end where a customer's end."""
    ends = np.append(np.flatnonzero(np.diff(codes)) + 1, len(codes))
    start = 0
    while start < len(codes):
        end = int(ends[np.searchsorted(ends, min(start + _CHUNK_EVENTS, len(codes)))])
        yield start, end
        start = end


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
