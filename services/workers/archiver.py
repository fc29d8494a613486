"""The archiver: follows every topic and keeps it in the archive, each record exactly once.

It takes all partitions itself and reads on from the archive's own positions, so a crash at any point neither loses
nor doubles a record. A partition is flushed when it has waited long enough or holds enough.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ports import BusUnavailable, Delivery, ShellError

Partition = tuple[str, int]

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_POLL_RECORDS = 5_000
_MOST_WAITING_BYTES = 256 * 1024 * 1024
"""Everything is flushed early beyond this, so that large decision records cannot fill the memory."""
_RETRY_SECONDS = 1.0
URGENT_REST_SECONDS = 5.0
"""After an urgent write the next one waits so long at least, and ten times as long as it took: going through every file
for an erasure takes at most a tenth of the time, however many are asked for."""
_URGENT_REST = 10


class LogReplaced(ShellError):
    """The bus holds another log than the one that was archived."""


class ReadPosition(Protocol):
    """Up to where a partition is archived."""

    @property
    def next_offset(self) -> int: ...

    @property
    def last_mark(self) -> str: ...


class Archive(Protocol):
    """Where records are kept."""

    def positions(self) -> Mapping[Partition, ReadPosition]: ...

    def append(self, deliveries: Sequence[Delivery]) -> None: ...


class SeekableStream(Protocol):
    """A reader of all partitions of its topics."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    def seek(self, positions: Mapping[Partition, int]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushPolicy:
    """A partition's records are written once there are `rows` of them or the oldest waited `seconds`."""

    rows: int
    seconds: float


@dataclass(slots=True)
class _Waiting:
    since: float
    deliveries: list[Delivery]
    urgent: bool = False


class Archiver:
    """Moves records from a stream into an archive. `mark_of` gives the mark an archived record is recognised by,
    `on_written` is told topic and number of records after each write. A partition with a record that `is_urgent` is
    written at once, if urgent writes have rested long enough."""

    def __init__(
        self,
        stream: SeekableStream,
        archive: Archive,
        policy: FlushPolicy,
        mark_of: Callable[[Delivery], str],
        on_written: Callable[[str, int], None] = lambda _topic, _records: None,
        is_urgent: Callable[[Delivery], bool] = lambda _: False,
    ) -> None:
        self._stream = stream
        self._archive = archive
        self._policy = policy
        self._mark_of = mark_of
        self._on_written = on_written
        self._is_urgent = is_urgent
        self._urgent_from = 0.0
        """When urgent records may be written again, on the loop's clock."""
        self._waiting: dict[Partition, _Waiting] = {}
        self._waiting_bytes = 0
        self._unrecognised: dict[Partition, ReadPosition] = {}
        self._next: dict[Partition, int] = {}
        self.archived = 0
        """Records archived since the start."""

    def waiting_s(self) -> float:
        """How long the record has waited that has waited longest for being written; it grows while nothing can be."""
        if not self._waiting:
            return 0.0
        return asyncio.get_running_loop().time() - min(waiting.since for waiting in self._waiting.values())

    def resume(self) -> None:
        """Reads on from the archive's positions, beginning with the last archived record to recognise the log by."""
        positions = self._archive.positions()
        self._unrecognised = dict(positions)
        self._next = {partition: position.next_offset for partition, position in positions.items()}
        self._stream.seek({partition: position.next_offset - 1 for partition, position in positions.items()})

    async def run(self, stopping: asyncio.Event) -> None:
        """Archives until told to stop, then flushes what waits. Raises LogReplaced and the archive's errors."""
        self.resume()
        while not stopping.is_set():
            await self.step()
        await self.flush()

    async def step(self) -> None:
        """One poll, and the flushes that are due after it. An absent bus is waited for."""
        try:
            deliveries = await self._stream.poll(_POLL_RECORDS, _POLL_SECONDS)
        except BusUnavailable as error:
            _log.warning("the bus cannot be read, trying again: %s", error, extra={"action": "archive"})
            await asyncio.sleep(_RETRY_SECONDS)
            return
        self._take(deliveries)
        await self._flush_due()

    async def flush(self) -> None:
        """Writes everything that waits."""
        for partition in sorted(self._waiting):
            await self._write(partition)

    def _take(self, deliveries: Sequence[Delivery]) -> None:
        now = asyncio.get_running_loop().time()
        fresh: dict[Partition, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            partition = (delivery.topic, delivery.partition)
            if partition in self._unrecognised:
                self._recognise(delivery, self._unrecognised.pop(partition))
            expected = self._next.get(partition, 0)
            if delivery.offset >= expected:
                fresh[partition].append(delivery)
                self._next[partition] = delivery.offset + 1
        for partition, records in fresh.items():
            waiting = self._waiting.setdefault(partition, _Waiting(now, []))
            waiting.deliveries.extend(records)
            waiting.urgent = waiting.urgent or any(map(self._is_urgent, records))
            self._waiting_bytes += sum(len(record.value or b"") for record in records)

    def _recognise(self, delivery: Delivery, position: ReadPosition) -> None:
        """The first record read must be the last archived one, or come after it where that was not retained."""
        same = delivery.offset == position.next_offset - 1 and self._mark_of(delivery) == position.last_mark
        if not same and delivery.offset < position.next_offset:
            raise LogReplaced(
                f"{delivery.topic}/{delivery.partition}: offset {delivery.offset} is not the record that was archived; "
                "the log was recreated. Move the archive away, or set KAIROS_ARCHIVE_PATH to another folder."
            )
        if delivery.offset > position.next_offset:
            _log.error(
                "%s/%d: offsets %d to %d were not retained and are missing from the archive",
                *(delivery.topic, delivery.partition, position.next_offset, delivery.offset - 1),
                extra={"action": "archive"},
            )

    async def _flush_due(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        everything = self._waiting_bytes >= _MOST_WAITING_BYTES
        urgent = {p for p, waiting in self._waiting.items() if waiting.urgent} if now >= self._urgent_from else set()
        for partition in sorted(self._waiting, key=lambda place: (place not in urgent, place)):
            waiting = self._waiting[partition]
            full = len(waiting.deliveries) >= self._policy.rows
            if everything or full or partition in urgent or now - waiting.since >= self._policy.seconds:
                await self._write(partition)
        if urgent:
            took = loop.time() - now
            self._urgent_from = loop.time() + max(URGENT_REST_SECONDS, _URGENT_REST * took)

    async def _write(self, partition: Partition) -> None:
        waiting = self._waiting[partition]
        # Writing blocks on the disk; in a thread it does not hold up the heartbeat of the bus connection.
        await asyncio.to_thread(self._archive.append, waiting.deliveries)
        del self._waiting[partition]
        self._waiting_bytes -= sum(len(record.value or b"") for record in waiting.deliveries)
        self.archived += len(waiting.deliveries)
        self._on_written(partition[0], len(waiting.deliveries))
