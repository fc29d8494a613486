"""The Parquet archive: every record of the bus, written exactly once, readable while it is written.

For each topic and partition a position file says up to where the archive is complete. A flush writes its files under
unfinished names, renames them all, and only then replaces the position file; whatever a crash leaves beyond the
position is deleted at the next start and read again from the bus. So the bus's own commits are not needed.
"""

import fcntl
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from event_schemas.topics import DECISIONS, RESPONSES
from models.decision_log.archive_files import (
    ARCHIVE_SCHEMA,
    EVERYTHING,
    UNREADABLE_DAY,
    ArchiveFile,
    TimeRange,
    archive_files,
    day_folder,
    file_name,
    files_of_day,
    finished_files,
    read_rows,
    without_merged,
)
from services.adapters.archive_merging import mergeable, write_merged
from services.ports import Delivery, ShellError

Partition = tuple[str, int]
"""Topic and partition."""
StepHook = Callable[[str], None]
"""Called with the name of each step of a flush; tests abandon the process there."""

POSITIONS = "_positions"
_log = logging.getLogger(__name__)
_SYNC_THREADS = 16
_LISTINGS = 3


class ArchiveUnusable(ShellError):
    """The archive cannot be written: another archiver holds it, or it does not belong to this log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The next offset to archive, and a mark of the record before it, by which the log is recognised."""

    next_offset: int
    last_mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedEvent:
    """A record as archived; `time` None and `event_id` None where it was unreadable."""

    topic: str
    partition: int
    offset: int
    event_id: str | None
    time: datetime | None
    value: bytes | None


class RecordFilter(Protocol):
    """Which records are archived, and which that are archived already are to be taken out."""

    def open(self) -> None:
        """Called once this process is the archive's writer."""
        ...

    def admits(self, topic: str, row: Mapping[str, object]) -> bool:
        """Asked of every record in the order of its partition."""
        ...

    def carry_out(self) -> None:
        """Called before the position that covers the records asked about is written."""
        ...


class ParquetArchive:
    """The writer. One process at a time, held by a lock; use as a context manager."""

    def __init__(self, root: Path, on_step: StepHook = lambda _: None, *, erasures: RecordFilter | None = None) -> None:
        self._root = root
        self._on_step = on_step
        self._erasures = erasures
        self._positions: dict[Partition, Position] = {}
        self._lock: int | None = None

    def __enter__(self) -> Self:
        (self._root / POSITIONS).mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._root / POSITIONS / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._release()
            raise ArchiveUnusable(f"another archiver is writing to {self._root}") from error
        self._positions = _read_positions(self._root)
        self._delete_orphans()
        if self._erasures is not None:
            self._erasures.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def positions(self) -> dict[Partition, Position]:
        """Up to where every partition is archived; those never archived are absent."""
        return dict(self._positions)

    def append(self, deliveries: Sequence[Delivery]) -> None:
        """Archives records of one partition, in offset order and following the position; durable on return.

        Raises ArchiveUnusable when they do not follow what is archived.
        """
        if not deliveries:
            return
        partition = (deliveries[0].topic, deliveries[0].partition)
        known = self._positions.get(partition)
        if known is not None and deliveries[0].offset < known.next_offset:
            raise ArchiveUnusable(f"{partition}: offset {deliveries[0].offset} is already archived")
        days = self._admitted(partition[0], _rows_by_day(deliveries))
        staged = [self._stage(partition, day, rows) for day, rows in days.items()]
        _sync([unfinished for unfinished, _ in staged])
        self._on_step("files staged")
        for unfinished, finished in staged:
            unfinished.rename(finished)
            self._on_step("file renamed")
        _sync({finished.parent for _, finished in staged})
        self._on_step("files renamed")
        if self._erasures is not None:
            self._erasures.carry_out()
            self._on_step("erasures carried out")
        last = deliveries[-1]
        position = Position(next_offset=last.offset + 1, last_mark=record_mark(last))
        _write_position(self._root, partition, position)
        self._positions[partition] = position
        self._on_step("position written")
        for day in {finished.parent.name.removeprefix("day=") for _, finished in staged}:
            self._merge_small_files(partition, day)

    def _admitted(self, topic: str, days: dict[str, list[dict[str, object]]]) -> dict[str, list[dict[str, object]]]:
        if self._erasures is None:
            return days
        ordered = sorted((row for rows in days.values() for row in rows), key=_offset)
        admitted = {_offset(row) for row in ordered if self._erasures.admits(topic, row)}
        kept = {day: [row for row in rows if _offset(row) in admitted] for day, rows in days.items()}
        return {day: rows for day, rows in kept.items() if rows}

    def _stage(self, partition: Partition, day: str, rows: list[dict[str, object]]) -> tuple[Path, Path]:
        topic, number = partition
        folder = day_folder(self._root, topic, day)
        folder.mkdir(parents=True, exist_ok=True)
        finished = folder / file_name(number, _offset(rows[0]), _offset(rows[-1]))
        unfinished = folder / f".{finished.name}"
        pq.write_table(pa.Table.from_pylist(rows, schema=ARCHIVE_SCHEMA), unfinished, compression="zstd")
        return unfinished, finished

    def _merge_small_files(self, partition: Partition, day: str) -> None:
        """Rewrites a day's small files of a partition as one, once there are many: readers open fewer files.

        The merged file contains the offsets of its parts, so readers pass over parts that a crash leaves behind.
        """
        topic, number = partition
        parts = mergeable([f for f in files_of_day(self._root, topic, day) if f.partition == number])
        if not parts:
            return
        finished = parts[0].path.with_name(file_name(number, parts[0].first, parts[-1].last))
        unfinished = finished.with_name(f".{finished.name}")
        write_merged([part.path for part in parts], unfinished)
        _sync([unfinished])
        self._on_step("merge staged")
        unfinished.rename(finished)
        _sync([finished.parent])
        self._on_step("merge renamed")
        for part in parts:
            part.path.unlink()
            self._on_step("part deleted")

    def _delete_orphans(self) -> None:
        for path in self._root.glob("topic=*/day=*/.p*.parquet"):
            path.unlink()
        for topic_folder in self._root.glob("topic=*"):
            files = finished_files(self._root, topic_folder.name.removeprefix("topic="))
            kept = set(without_merged(files))
            for file in files:
                position = self._positions.get((file.topic, file.partition))
                if file not in kept or position is None or file.first >= position.next_offset:
                    _log.info("deleting %s, beyond the position or merged", file.path, extra={"action": "archive"})
                    file.path.unlink()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class ArchiveReader:
    """Finds archived events. Files that appear or vanish while reading are a restart of the archiver, not an error."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read_events(self, topics: Sequence[str], wanted: TimeRange = EVERYTHING) -> Iterator[ArchivedEvent]:
        """Every wanted record of these topics: topic by topic, by day, partition and offset."""
        for topic in topics:
            for file in archive_files(self._root, topic, wanted):
                for row in read_rows(file, ("partition", "offset", "event_id", "time", "value")):
                    event = _archived_event(topic, row)
                    if wanted.includes(event.time):
                        yield event

    def iter_decisions(self, wanted: TimeRange = EVERYTHING) -> Iterator[bytes]:
        """Every wanted decision event, as published."""
        return (event.value for event in self.read_events((DECISIONS,), wanted) if event.value is not None)

    def iter_responses(self, wanted: TimeRange = EVERYTHING) -> Iterator[bytes]:
        """Every wanted response event, as published."""
        return (event.value for event in self.read_events((RESPONSES,), wanted) if event.value is not None)

    def of_person(self, customer_id: str) -> list[tuple[str, bytes]]:
        """Topic and event of every record that is about one person, by time; those without a time come first. Reads
        whose record it is of every file, and the rest of those that hold one."""
        found: list[tuple[float, str, bytes]] = []
        wanted = (pc.field("subject") == customer_id) | (pc.field("key") == customer_id)
        for folder in sorted(self._root.glob("topic=*")):
            topic = folder.name.removeprefix("topic=")
            for file in archive_files(self._root, topic):
                for row in _matching(file, customer_id, wanted):
                    moment, value = row["time"], row["value"]
                    if isinstance(value, str):
                        found.append(
                            (moment.timestamp() if isinstance(moment, datetime) else 0.0, topic, value.encode())
                        )
        return [(topic, value) for _, topic, value in sorted(found, key=lambda one: one[0])]

    def read_decision(self, decision_id: str) -> bytes | None:
        """The decision event of that id as published, None when it is not archived; recent days are read first."""
        for _ in range(_LISTINGS):
            try:
                return self._find_decision(decision_id)
            except FileNotFoundError:
                continue  # merged into another file after it was listed
        return None

    def _find_decision(self, decision_id: str) -> bytes | None:
        for file in reversed(archive_files(self._root, DECISIONS)):
            table = pq.read_table(
                file.path, columns=["value"], filters=[("decision_id", "==", decision_id)], partitioning=None
            )
            for value in table.column("value").to_pylist():
                if isinstance(value, str):
                    return value.encode()
        return None


def _matching(file: ArchiveFile, customer_id: str, wanted: pc.Expression) -> Iterator[dict[str, object]]:
    """The time and value of a file's wanted records; a file that was merged into another meanwhile is read there."""
    try:
        table = pq.read_table(
            file.path, columns=["time", "value"], filters=wanted, schema=ARCHIVE_SCHEMA, partitioning=None
        )
        yield from table.to_pylist()
    except FileNotFoundError:
        for row in read_rows(file, ("time", "value", "subject")):
            if row["subject"] == customer_id:
                yield row


def archived_positions(root: Path) -> dict[Partition, Position]:
    """Up to where the archive holds every partition; those never archived are absent. Raises ArchiveUnusable where what
    says so is damaged or there is no archive at all."""
    if not (root / POSITIONS).is_dir():
        raise ArchiveUnusable(
            f"there is no archive in {root}: KAIROS_ARCHIVE_PATH names another folder, or none was kept"
        )
    return _read_positions(root)


def record_mark(delivery: Delivery) -> str:
    """What a record is recognised by: its event id, or its size where it has none."""
    text = _structured_text(delivery)
    event_id = _event_fields(text).get("event_id")
    return str(event_id) if event_id is not None else f"{0 if text is None else len(text)} bytes"


def _rows_by_day(deliveries: Sequence[Delivery]) -> dict[str, list[dict[str, object]]]:
    days: dict[str, list[dict[str, object]]] = defaultdict(list)
    for delivery in deliveries:
        text = _structured_text(delivery)
        row = _event_fields(text)
        moment = row.get("time")
        day = moment.strftime("%Y-%m-%d") if isinstance(moment, datetime) else UNREADABLE_DAY
        row["partition"], row["offset"] = delivery.partition, delivery.offset
        row["value"] = None if text is None else text.decode(errors="backslashreplace")
        row["key"] = None if delivery.key is None else delivery.key.decode(errors="backslashreplace")
        row["arrived"] = delivery.timestamp_ms if delivery.timestamp_ms > 0 else None
        days[day].append(row)
    return days


def _structured_text(delivery: Delivery) -> bytes | None:
    """The event as structured JSON: binary mode, whose envelope is in headers, is put together."""
    header = {name[3:]: text.decode(errors="replace") for name, text in delivery.headers if name.startswith("ce_")}
    if delivery.value is None or "type" not in header:
        return delivery.value
    try:
        return orjson.dumps({**header, "data": orjson.loads(delivery.value)})
    except ValueError:
        return delivery.value


def _event_fields(value: bytes | None) -> dict[str, object]:
    """The searchable columns of a structured event; what is not there or not text stays empty."""
    try:
        event = orjson.loads(value or b"null")
    except ValueError:
        return {}
    if not isinstance(event, dict):
        return {}
    data = event.get("data")
    row: dict[str, object] = {
        "event_id": _text(event, "id"),
        "type": _text(event, "type"),
        "subject": _text(event, "subject"),
        "time": _moment(_text(event, "time")),
    }
    if isinstance(data, dict):
        row |= {name: _text(data, name) for name in ("decision_id", "tracking_id", "outcome")}
    return row


def _text(mapping: Mapping[str, object], name: str) -> str | None:
    value = mapping.get(name)
    return value if isinstance(value, str) else None


def _moment(text: str | None) -> datetime | None:
    with suppress(ValueError, OverflowError):
        if text is not None and (moment := datetime.fromisoformat(text)).tzinfo is not None:
            return moment.astimezone(UTC)
    return None


def _archived_event(topic: str, row: Mapping[str, object]) -> ArchivedEvent:
    moment, value, event_id, partition = row["time"], row["value"], row["event_id"], row["partition"]
    return ArchivedEvent(
        topic=topic,
        partition=partition if isinstance(partition, int) else 0,
        offset=_offset(row),
        event_id=event_id if isinstance(event_id, str) else None,
        time=moment if isinstance(moment, datetime) else None,
        value=value.encode() if isinstance(value, str) else None,
    )


def _offset(row: Mapping[str, object]) -> int:
    offset = row["offset"]
    if not isinstance(offset, int):
        raise ArchiveUnusable(f"an archived row has no offset: {offset!r}")
    return offset


def _position_path(root: Path, partition: Partition) -> Path:
    return root / POSITIONS / f"{partition[0]}.p{partition[1]}.json"


def _write_position(root: Path, partition: Partition, position: Position) -> None:
    path = _position_path(root, partition)
    body = {
        "topic": partition[0],
        "partition": partition[1],
        "next_offset": position.next_offset,
        "last_mark": position.last_mark,
    }
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(json.dumps(body), encoding="utf-8")
    _sync([unfinished])
    unfinished.rename(path)
    _sync([path.parent])


def _read_positions(root: Path) -> dict[Partition, Position]:
    positions: dict[Partition, Position] = {}
    for path in (root / POSITIONS).glob("*.json"):
        if path.name.startswith("."):
            continue
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            partition = (str(body["topic"]), int(body["partition"]))
            positions[partition] = Position(next_offset=int(body["next_offset"]), last_mark=str(body["last_mark"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveUnusable(f"{path} is damaged: restore it, or move the archive away and start anew") from error
    return positions


def _sync(paths: Collection[Path]) -> None:
    """Returns when these files and folders are on the disk. Waits for many at once: a replay touches hundreds of
    days in one flush, and the disk takes some milliseconds for each."""
    with ThreadPoolExecutor(max(1, min(len(paths), _SYNC_THREADS))) as threads:
        for _ in threads.map(_sync_one, paths):
            pass  # passes on the first failure


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
