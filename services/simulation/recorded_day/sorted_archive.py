"""The part of the archive that a day needs, sorted by customer into partitions on the local disk.

Which partition a customer is in is a hash, the same whatever the number of processes. Customers that are linked, by a
household or a company, are in one partition, as each is decided with what the others' states say.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from decision_engine.features.linked import Link, LinkKind
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES, STATE_TOPICS
from models.decision_log.archive_files import ArchiveFile, TimeRange, archive_files, read_rows
from services.simulation.recorded_day.failures import SimulationRefused

_TOPICS = (*STATE_TOPICS, DECISIONS)
_SORTED = pa.schema(
    [
        pa.field("offset", pa.int64()),
        pa.field("time", pa.int64()),
        pa.field("subject", pa.string()),
        pa.field("value", pa.large_string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpan:
    """From when until when requests are decided again, epoch milliseconds, the end exclusive; and until when responses
    to them are read."""

    since_ms: int
    until_ms: int
    answers_until_ms: int


class ArchivedRow(NamedTuple):
    """A record: its topic's place in `STATE_TOPICS` (behind them all: a decision), its time, whose it is, its text."""

    topic: int
    time_ms: int
    subject: str
    value: bytes


class SaidLink(NamedTuple):
    """A customer said at a time to have that value of a link's attribute."""

    link: str
    value: str
    customer: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Neighbourhoods:
    """Who is linked to whom: what was said, and of every linked customer the one that all linked with them share."""

    said: tuple[SaidLink, ...]
    first_of: Mapping[str, str]

    def partition_of(self, customer: str, partitions: int) -> int:
        """The number of the customer's partition."""
        return crc32(self.first_of.get(customer, customer).encode()) % partitions


def find_neighbourhoods(archive: Path, links: Sequence[Link], until_ms: int) -> Neighbourhoods:
    """Reads from the profiles who belongs together."""
    if not links:
        return Neighbourhoods((), {})
    said: list[SaidLink] = []
    joined = _Joined()
    for file in archive_files(archive, PROFILE_UPDATES, TimeRange(until_ms=until_ms)):
        for row in read_rows(file, ("subject", "time", "value")):
            text, moment, subject = row["value"], row["time"], row["subject"]
            if not isinstance(text, str) or not isinstance(moment, datetime) or not isinstance(subject, str):
                continue
            for link in links:
                value = _attribute(text, link.attribute)
                if value is None:
                    continue
                said.append(SaidLink(link.name, value, subject, round(moment.timestamp() * 1000)))
                joined.join(subject, value if link.kind is LinkKind.TO else f"{link.name}={value}")
    return Neighbourhoods(tuple(said), joined.first_of())


def needed_files(archive: Path, span: DaySpan) -> list[ArchiveFile]:
    """The archive's files that the day needs. Raises SimulationRefused where there are none for it."""
    if not archive.is_dir():
        raise SimulationRefused(f"there is no archive in {archive}: KAIROS_ARCHIVE_PATH names another folder")
    found: list[ArchiveFile] = []
    for topic in _TOPICS:
        found += archive_files(archive, topic, _wanted(topic, span))
    if not any(file.topic == DECISIONS for file in found):
        kept = sorted({path.name.removeprefix("day=") for path in archive.glob(f"topic={DECISIONS}/day=*")})
        have = f"it has those of {kept[0]} to {kept[-1]}" if kept else "it has none at all"
        day = datetime.fromtimestamp(span.since_ms / 1000, UTC)
        raise SimulationRefused(f"{archive} has no decisions from {day:%Y-%m-%d %H:%M} UTC on; {have}")
    if not any(file.topic in STATE_TOPICS and file.topic != RESPONSES for file in found):
        raise SimulationRefused(f"{archive} has no events of customers: their states cannot be rebuilt")
    return found


class SortedFile(NamedTuple):
    """How many rows of a file are wanted, how many have no time or subject, and the time of the newest response."""

    rows: int
    odd: int
    newest_ms: int


def sort_file(file: ArchiveFile, span: DaySpan, folder: Path, partition_of: Callable[[str], int]) -> SortedFile:
    """Writes the file's wanted rows by partition. Raises SimulationRefused for a file that cannot be read."""
    wanted = _wanted(file.topic, span)
    columns = ["offset", "time", "subject", "value"]
    try:
        table = pq.read_table(file.path, columns=columns, partitioning=None)
    except FileNotFoundError as error:
        raise SimulationRefused(f"{file.path} is gone: the archiver merged it meanwhile; run it again") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise SimulationRefused(f"{file.path} cannot be read: {error}") from error
    sound = pc.and_(pc.is_valid(table["time"]), pc.and_(pc.is_valid(table["subject"]), pc.is_valid(table["value"])))
    odd = table.num_rows - (pc.sum(sound).as_py() or 0)
    table = table.filter(sound)
    times = table["time"].cast(pa.int64())
    inside = pc.less(times, wanted.until_ms)
    if wanted.since_ms is not None:
        inside = pc.and_(inside, pc.greater_equal(times, wanted.since_ms))
    table = table.set_column(1, "time", times).filter(inside).cast(_SORTED)
    numbers = np.array([partition_of(subject) for subject in table["subject"].to_pylist()], np.int64)
    for number in np.unique(numbers).tolist():
        place = folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        name = f"{_TOPICS.index(file.topic)}-{file.partition:05d}-{file.first:015d}-{file.day}.arrow"
        with pa.OSFile(str(place / name), "wb") as sink, pa.ipc.new_stream(sink, _SORTED) as writer:
            writer.write_table(table.take(pa.array(np.flatnonzero(numbers == number))))
    newest_ms = pc.max(table["time"]).as_py() or 0
    return SortedFile(table.num_rows, odd, newest_ms if file.topic == RESPONSES else 0)


def read_partition(folder: Path, number: int) -> Iterator[ArchivedRow]:
    """A partition's rows: topic by topic, those of a log's partition in the order of their offsets."""
    logs: dict[tuple[str, str], list[Path]] = {}
    for path in sorted((folder / str(number)).glob("*.arrow")):
        topic, partition, _ = path.name.split("-", 2)
        logs.setdefault((topic, partition), []).append(path)
    for (topic, _), paths in sorted(logs.items()):
        tables = []
        for path in paths:
            with pa.memory_map(str(path)) as source:
                tables.append(pa.ipc.open_stream(source).read_all())
        rows = pa.concat_tables(tables).sort_by("offset")
        columns = (rows.column(name).to_pylist() for name in ("time", "subject", "value"))
        for time_ms, subject, value in zip(*columns, strict=True):
            yield ArchivedRow(int(topic), time_ms, subject, value.encode())


def _wanted(topic: str, span: DaySpan) -> TimeRange:
    if topic == DECISIONS:
        return TimeRange(since_ms=span.since_ms, until_ms=span.until_ms)
    return TimeRange(until_ms=span.answers_until_ms if topic == RESPONSES else span.until_ms)


def _attribute(text: str, name: str) -> str | None:
    if f'"{name}"' not in text:
        return None
    try:
        value = orjson.loads(text)["data"]["attributes"].get(name)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return value if isinstance(value, str) and value else None


class _Joined:
    """Sets that grow together."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        first, second = self._root(one), self._root(other)
        if first != second:
            self._parent[max(first, second)] = min(first, second)

    def first_of(self) -> dict[str, str]:
        return {name: self._root(name) for name in list(self._parent)}

    def _root(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while self._parent[name] != name:
            self._parent[name] = name = self._parent[self._parent[name]]
        return name
