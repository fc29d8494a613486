"""Reading the log again for a reader whose place lies before the buffer, and saying so where the log has it no more."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from services.api.stream_cursor import Cursor
from services.api.stream_feed import OutboundFeed, OutboundLog, Partition
from services.ports import Delivery, ShellError

_POLL_RECORDS = 500
_POLL_SECONDS = 0.5
_STALL_SECONDS = 30.0


class ReplayStalled(ShellError):
    """The log did not come forth with what it should hold."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets a reader has missed for good, by partition; `to` is exclusive. With `from` beyond `to` the reader comes
    from another log than this one."""

    ranges: tuple[Mapping[str, int], ...]


class LogReplay:
    """Replays for the streams of one node, a few at a time."""

    def __init__(self, feed: OutboundFeed, at_once: int = 4) -> None:
        self._feed = feed
        self._slots = asyncio.Semaphore(at_once)

    async def since(self, cursor: Cursor) -> AsyncGenerator[Delivery | Gap, None]:
        """Everything from the reader's place up to where the buffer begins, which may move on meanwhile. The reader
        moves its cursor over what it is given. Raises BusUnavailable, ReplayStalled."""
        begins = self._feed.begins
        # Of partitions that this node does not know yet another node may have sent something: their places stay.
        reached = self._feed.reached
        doubtful = any(offset > reached.get(partition, offset) for partition, offset in cursor.next.items())
        while doubtful or any(cursor.next.get(partition, 0) < begin for partition, begin in begins.items()):
            doubtful = False
            async with self._slots, self._feed.open_log() as log:
                if (gap := await self._gap(log, cursor)) is not None:
                    yield gap
                async with aclosing(self._between(log, cursor)) as deliveries:
                    async for delivery in deliveries:
                        yield delivery

    async def _gap(self, log: OutboundLog, cursor: Cursor) -> Gap | None:
        """What the log has no more; the cursor is moved to what it has."""
        beginnings, ends = await log.beginning_offsets(), await log.end_offsets()
        ranges = []
        for (_, partition), begin in sorted(beginnings.items()):
            place = cursor.next.get(partition, 0)
            end = max(ends[_topic_of(beginnings), partition], self._feed.reached.get(partition, 0))
            if place > end + self._feed.limits.end_slack:
                ranges.append({"partition": partition, "from": place, "to": begin})
                cursor.next[partition] = begin
            elif place < begin:
                ranges.append({"partition": partition, "from": place, "to": begin})
                cursor.skip_to({partition: begin})
        cursor.ahead = {(p, offset) for p, offset in cursor.ahead if offset >= cursor.next.get(p, 0)}
        return Gap(tuple(ranges)) if ranges else None

    async def _between(self, log: OutboundLog, cursor: Cursor) -> AsyncGenerator[Delivery, None]:
        topic = _topic_of(await log.beginning_offsets())
        until = {
            partition: begin for partition, begin in self._feed.begins.items() if cursor.next.get(partition, 0) < begin
        }
        # Partitions that lack nothing are read from where they will say nothing.
        start = {p: cursor.next.get(p, 0) if p in until else self._feed.reached[p] for p in self._feed.begins}
        log.seek({(topic, partition): offset for partition, offset in start.items()})
        last_progress = asyncio.get_running_loop().time()
        while until:
            deliveries = await log.poll(_POLL_RECORDS, _POLL_SECONDS)
            now = asyncio.get_running_loop().time()
            for delivery in deliveries:
                if delivery.offset < until.get(delivery.partition, 0):
                    last_progress = now
                    yield delivery
            for (_, partition), position in (await log.positions()).items():
                if position >= until.get(partition, position + 1):
                    cursor.skip_to({partition: until.pop(partition)})
            if until and now - last_progress > _STALL_SECONDS:
                raise ReplayStalled(f"nothing came for {_STALL_SECONDS:g} s of {len(until)} partitions")


def _topic_of(offsets: Mapping[Partition, int]) -> str:
    return next((topic for topic, _ in offsets), "")
