"""The archive for those who must not wait for a disk: reads in threads, a few at a time."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from event_schemas.topics import CONVERSIONS
from models.decision_log.archive_files import TimeRange
from services.adapters.parquet_archive import ArchivedEvent
from services.use_cases.archive_turns import ArchiveTurns
from services.use_cases.attribution_report import AttributionQuery, AttributionReport, report

Read = TypeVar("Read")
ARCHIVE_READS = 2
"""Reads of the archive at once."""
ARCHIVE_WAITING = 8
"""Reads that wait for one of them to end; more are refused."""


class ArchivedRecords(Protocol):
    """Records by decision id, and by topic and time; reads files, so not for the event loop."""

    def read_decision(self, decision_id: str) -> bytes | None: ...

    def read_events(self, topics: Sequence[str], wanted: TimeRange) -> Iterator[ArchivedEvent]: ...

    def of_person(self, customer_id: str) -> Sequence[tuple[str, bytes]]: ...


class ThreadedArchive:
    """Reads of the archive off the event loop, a few at a time: each goes through many files. Raises ArchiveBusy when
    too many wait already."""

    def __init__(self, reader: ArchivedRecords) -> None:
        self._reader = reader
        self._turns = ArchiveTurns(ARCHIVE_READS, ARCHIVE_WAITING, "reads of the archive")

    async def read_decision(self, decision_id: str) -> bytes | None:
        """The event as published; None where the archive has none."""
        return await self._read(lambda: self._reader.read_decision(decision_id))

    async def attribution(self, query: AttributionQuery) -> AttributionReport:
        """What the conversions of the archive are credited to. Raises ReportTooLarge."""
        return await self._read(lambda: self._attribution(query))

    async def of_person(self, customer_id: str) -> Sequence[tuple[str, bytes]]:
        """Topic and event of everything archived under one person's id, by time."""
        return await self._read(lambda: self._reader.of_person(customer_id))

    def _attribution(self, query: AttributionQuery) -> AttributionReport:
        period = TimeRange(since_ms=query.since_ms, until_ms=query.until_ms)
        events = self._reader.read_events((CONVERSIONS,), period)
        return report((event.value for event in events if event.value is not None), query)

    async def _read(self, read: Callable[[], Read]) -> Read:
        async with self._turns.one():
            return await asyncio.to_thread(read)
