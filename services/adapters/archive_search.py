"""The archive searched from its newest end: within a time, in a thread that gives way to decisions.

A row group of a file is what one flush of the archiver wrote: its records lie close together in time, and Parquet's
statistics say when. Row groups are read by their newest record, so the search may stop once a page is full and no row
group that is left can hold anything newer. Within a row group a customer is told by a column, everything else by texts
in the record, looked for without reading it; what passes is read and decided upon by the scan itself.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import ArchiveFile, TimeRange, archive_files
from services.use_cases.archive_turns import ArchiveTurns
from services.use_cases.observing.decision_search import FoundDecision, LogScan, Place, ScanAnswer
from services.use_cases.short_turns import short_turns

SECONDS = 4.0
"""What one search may take; people wait for it."""
WAITING = 6
"""Searches that wait for the one under way; more are refused."""
MOST_RESPONSES = 500
_SLICE_ROWS = 256
"""Records are tens of kilobytes: this bounds what is looked at between two looks at the clock."""
_WHOLE_BYTES = 64 * 1024 * 1024
"""Row groups of at most so much are read whole, and from their newest end."""
_COLUMNS = ("time", "subject", "decision_id", "value")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """A row group: when its records are of (epoch milliseconds, both ends included), and how much it is unpacked."""

    path: Path
    number: int
    first_ms: int
    last_ms: int
    size: int


@dataclass(slots=True)
class _Page:
    """The newest found so far, one more than is wanted; the oldest of them is on top."""

    most: int
    heap: list[tuple[Place, int]] = field(default_factory=list)
    by_place: dict[Place, FoundDecision] = field(default_factory=dict)

    @property
    def oldest(self) -> Place | None:
        """What is not newer than this need not be looked at; None while there is room."""
        return self.heap[0][0] if len(self.heap) > self.most else None

    def add(self, place: Place, found: FoundDecision) -> None:
        """A decision that is published twice stands once."""
        if place in self.by_place:
            return
        heapq.heappush(self.heap, (place, 0))
        self.by_place[place] = found
        if len(self.heap) > self.most + 1:
            dropped, _ = heapq.heappop(self.heap)
            del self.by_place[dropped]


class ArchiveSearch:
    """Implements `decision_search.DecisionLog` over the folder of the archive."""

    def __init__(self, root: Path, seconds: float = SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._root = root
        self._seconds = seconds
        self._clock = clock
        self._turns = ArchiveTurns(1, WAITING, "searches of the archive")

    async def newest(self, scan: LogScan) -> ScanAnswer:
        """The newest records that the scan takes. Raises ArchiveBusy."""
        return await self._beside(lambda: self.scan(scan))

    async def responses(self, decision_id: str, since_ms: int, until_ms: int) -> tuple[Sequence[bytes], bool]:
        """The response events to a decision, in no order. Raises ArchiveBusy."""
        return await self._beside(lambda: self.find_responses(decision_id, since_ms, until_ms))

    def scan(self, scan: LogScan) -> ScanAnswer:
        """The same on this thread."""
        ends = self._clock() + self._seconds
        page = _Page(scan.most)
        looked_at, reaches, complete_since = 0, None, None
        for chunk in self._chunks(DECISIONS, scan.since_ms, scan.until_ms):
            reaches = max(reaches or 0, min(chunk.last_ms, scan.until_ms - 1))
            if page.oldest is not None and page.oldest.at_ms > chunk.last_ms:
                break
            for rows in _slices(chunk, scan.subject):
                if self._clock() >= ends:
                    complete_since = chunk.last_ms
                    break
                looked_at += len(rows)
                _examine(rows, scan, page)
            if complete_since is not None:
                break
        places = sorted(page.by_place, reverse=True)
        return ScanAnswer(
            found=tuple(page.by_place[place] for place in places[: scan.most]),
            more=len(places) > scan.most,
            looked_at=looked_at,
            complete_since_ms=complete_since,
            reaches_ms=reaches,
        )

    def find_responses(self, decision_id: str, since_ms: int, until_ms: int) -> tuple[Sequence[bytes], bool]:
        """The same on this thread."""
        ends = self._clock() + self._seconds
        found: list[bytes] = []
        for chunk in self._chunks(RESPONSES, since_ms, until_ms):
            if self._clock() >= ends or len(found) >= MOST_RESPONSES:
                return found[:MOST_RESPONSES], False
            with pq.ParquetFile(chunk.path) as parquet:
                ids = parquet.read_row_group(chunk.number, columns=["decision_id"]).column("decision_id")
                mine = pc.equal(ids, decision_id)
                if pc.any(mine).as_py():
                    values = parquet.read_row_group(chunk.number, columns=["value"]).filter(mine).column("value")
                    found += [value.encode() for value in values.to_pylist() if isinstance(value, str)]
        return found, True

    def _chunks(self, topic: str, since_ms: int, until_ms: int) -> Iterator[_Chunk]:
        """Row groups that can hold records of the period, by their newest record; a day is looked at when it is due."""
        files = archive_files(self._root, topic, TimeRange(since_ms=since_ms, until_ms=until_ms))
        for day in sorted({file.day for file in files}, reverse=True):
            chunks = [chunk for file in files if file.day == day for chunk in _row_groups(file)]
            wanted = [chunk for chunk in chunks if chunk.last_ms >= since_ms and chunk.first_ms < until_ms]
            yield from sorted(wanted, key=lambda chunk: -chunk.last_ms)

    async def _beside(self, work: Callable[[], Done]) -> Done:
        async with self._turns.one():
            with short_turns():
                return await asyncio.to_thread(_patiently, work)


def _patiently(work: Callable[[], Done]) -> Done:
    """Does it; once more where a file was merged into another after it was listed."""
    try:
        return work()
    except FileNotFoundError:
        return work()


def _row_groups(file: ArchiveFile) -> Iterator[_Chunk]:
    with pq.ParquetFile(file.path) as parquet:
        metadata = parquet.metadata
        column = parquet.schema_arrow.get_field_index("time")
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = group.column(column).statistics
            if statistics is None or not statistics.has_min_max:
                continue  # none of its records has a time, so none is of the period
            yield _Chunk(
                path=file.path,
                number=number,
                first_ms=_epoch_ms(statistics.min),
                last_ms=_epoch_ms(statistics.max),
                size=group.total_byte_size,
            )


def _slices(chunk: _Chunk, subject: str) -> Iterator[pa.Table]:
    """The row group in slices, from its newest end where it is small enough to be held; of a customer those rows only,
    and nothing where there are none."""
    with pq.ParquetFile(chunk.path) as parquet:
        if subject:
            subjects = parquet.read_row_group(chunk.number, columns=["subject"]).column("subject")
            if not pc.any(pc.equal(subjects, subject)).as_py():
                return
        if chunk.size <= _WHOLE_BYTES:
            table = parquet.read_row_group(chunk.number, columns=list(_COLUMNS))
            for start in range((len(table) - 1) // _SLICE_ROWS * _SLICE_ROWS, -1, -_SLICE_ROWS):
                yield table.slice(start, _SLICE_ROWS)
            return
        batches = parquet.iter_batches(batch_size=_SLICE_ROWS, row_groups=[chunk.number], columns=list(_COLUMNS))
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _examine(rows: pa.Table, scan: LogScan, page: _Page) -> None:
    """Takes what is wanted of some rows, the newest first."""
    kept = rows.filter(_may_be_wanted(rows, scan, page))
    if not len(kept):
        return
    moments = pc.cast(kept.column("time"), pa.int64()).to_pylist()
    order = sorted(range(len(kept)), key=lambda row: -moments[row])
    ids, values = kept.column("decision_id"), kept.column("value")
    for row in order:
        place = Place(moments[row], str(ids[row].as_py()))
        if page.oldest is not None and place <= page.oldest:
            continue
        if scan.before is not None and place >= scan.before:
            continue
        found = scan.take(str(values[row].as_py()).encode())
        if found is not None:
            page.add(place, found)


def _may_be_wanted(rows: pa.Table, scan: LogScan, page: _Page) -> pa.ChunkedArray:
    """By row whether it is of the period and the customer, has every text, and is new enough for the page."""
    at = pc.cast(rows.column("time"), pa.int64())
    since_ms = scan.since_ms if page.oldest is None else max(scan.since_ms, page.oldest.at_ms)
    mask = pc.and_(pc.greater_equal(at, since_ms), pc.less(at, scan.until_ms))
    if scan.subject:
        mask = pc.and_(mask, pc.equal(rows.column("subject"), scan.subject))
    value = rows.column("value")
    mask = pc.and_(mask, pc.is_valid(value))
    for text in scan.texts:
        mask = pc.and_(mask, pc.match_substring(value, text))
    for pattern in scan.patterns:
        mask = pc.and_(mask, pc.match_substring_regex(value, pattern))
    return mask


def _epoch_ms(moment: object) -> int:
    if not isinstance(moment, datetime):
        raise TypeError(f"a time of the archive is {moment!r}")
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)
