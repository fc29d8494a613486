"""One node's view of the outbound topic: it follows the whole of it into a bounded buffer that all streams read.

Streams hold places in the buffer, not queues of their own: a slow reader costs nothing, and falls out when the buffer
has moved on. What a reader wants from before the buffer is read from the log again.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from services.api.stream_waiting import Waiting, Whose
from services.ports import BusUnavailable, Clock, Delivery, Metrics
from services.use_cases.outbound_messages import OutboundMessage, OutboundUnreadable, read_outbound
from services.use_cases.running_beside import running_beside

Partition = tuple[str, int]
"""Topic and partition."""
_POLL_RECORDS = 1_000
_TAKEN_A_TURN = 50
_PARTS = 4
"""Everybody is woken when that part of the buffer is new, whoever it is for."""
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)
Note = TypeVar("Note")


class OutboundLog(Protocol):
    """A reader of all partitions of the outbound topic that nobody shares. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    async def beginning_offsets(self) -> dict[Partition, int]: ...

    async def end_offsets(self) -> dict[Partition, int]: ...

    async def positions(self) -> dict[Partition, int]: ...


Stopped = Callable[[OutboundMessage], bool]
"""Whether a kill switch has stopped what a message offers."""
OpenLog = Callable[[], AbstractAsyncContextManager[OutboundLog]]
"""Opens another reader of the log, at its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLimits:
    """`messages` and `bytes` bound the buffer; at the start so many records of each partition are looked back at.
    `remembered` ids are known as delivered or cancelled. The broker may understate its end by `end_slack`."""

    messages: int = 20_000
    bytes: int = 64 * 1024 * 1024
    look_back: int = 20_000
    remembered: int = 100_000
    end_slack: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A message and where it stands."""

    sequence: int
    partition: int
    offset: int
    message: OutboundMessage


class OutboundFeed:
    """The buffer. Whoever waits is woken by what may be for them; `ending` is set once the node stops."""

    def __init__(
        self,
        open_log: OpenLog,
        clock: Clock,
        metrics: Metrics,
        limits: FeedLimits | None = None,
        stopped: Stopped = lambda _: False,
    ) -> None:
        self.open_log = open_log
        self.is_stopped = stopped
        self.clock = clock
        self.metrics = metrics
        self.limits = limits or FeedLimits()
        self.begins: dict[int, int] = {}
        """By partition the offset from which everything still worth delivering is in the buffer."""
        self.reached: dict[int, int] = {}
        self.caught_up = asyncio.Event()
        self.ending = asyncio.Event()
        self._waiting = Waiting()
        self._arrived: set[Whose] = set()
        """Whom the messages concern that nobody was woken for yet."""
        self._since_all = 0, 0
        """Messages and their bytes since everybody was woken."""
        self._turns = asyncio.Lock()
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._sequence = 0
        self._dropped = 0
        self._seen: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._offers: dict[str, OutboundMessage] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()

    @asynccontextmanager
    async def following(self) -> AsyncIterator["OutboundFeed"]:
        """Follows the topic while the context lasts; leaving ends the streams."""
        async with self.open_log() as log:
            await self._begin(log)
            async with running_beside(self._follow(log), "outbound-feed"):
                try:
                    yield self
                finally:
                    self.end()

    def end(self) -> None:
        """No stream goes on after this."""
        self.ending.set()
        self._waiting.wake_all()

    async def arrival(self, channel: str, recipient: str | None) -> None:
        """Returns with the next arrival that may be for the recipient (None: for anybody of the channel), or the end;
        and before the buffer has moved so far that the reader would fall out of it."""
        if not self.ending.is_set():
            await self._waiting.event(channel, recipient).wait()

    async def turn(self) -> None:
        """Lets everybody else on the loop go first; of all streams that wait here one goes on at a time. So a thousand
        screens that come back at once hold up no decision."""
        async with self._turns:
            await asyncio.sleep(0)

    def after(self, sequence: int) -> list[Entry]:
        """What came after that place, oldest first; the buffer may begin later (see `oldest`)."""
        if not self._entries or self._entries[-1].sequence <= sequence:
            return []
        # From the right: what is new is little, and a deque is slow in its middle.
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.sequence <= sequence:
                break
            found.append(entry)
        found.reverse()
        return found

    @property
    def newest(self) -> int:
        """The place of the newest arrival."""
        return self._sequence

    @property
    def oldest(self) -> int:
        """The place before the oldest message that was not dropped while still worth delivering."""
        return self._dropped

    def is_cancelled(self, outbound_id: str) -> bool:
        """Whether the offer is overtaken."""
        return outbound_id in self._cancelled

    def is_repeat(self, message: OutboundMessage, partition: int, offset: int) -> bool:
        """Whether the same message stands elsewhere in the log, before this one."""
        first = self._seen.get(message.id)
        return first is not None and first != (partition, offset) and first[1] < offset

    def whose(self, message: OutboundMessage) -> tuple[str | None, str | None]:
        """Its channel and recipient; a notice says so through the offer it is about, where that is known."""
        offer = self._offers.get(message.outbound_id) if message.is_cancelled_notice else None
        return (message.channel, message.recipient) if offer is None else (offer.channel, offer.recipient)

    async def _begin(self, log: OutboundLog) -> None:
        beginnings, ends = await log.beginning_offsets(), await log.end_offsets()
        start = {p: max(begin, ends.get(p, 0) - self.limits.look_back) for p, begin in beginnings.items()}
        log.seek(start)
        self.begins = {number: offset for (_, number), offset in start.items()}
        self.reached = dict(self.begins)

    async def _follow(self, log: OutboundLog) -> None:
        while True:
            try:
                deliveries = await log.poll(_POLL_RECORDS, _POLL_SECONDS)
            except BusUnavailable as error:
                _log.warning("the outbound topic cannot be read, trying again: %s", error, extra={"action": "stream"})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except Exception:  # noqa: BLE001 - a node that no longer follows would leave its screens empty for ever
                _log.exception("the outbound topic cannot be read, trying again", extra={"action": "stream"})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for number, delivery in enumerate(deliveries, 1):
                self.take(delivery)
                if number % _TAKEN_A_TURN == 0:
                    await asyncio.sleep(0)
            if deliveries:
                self._notify()
            if len(deliveries) < _POLL_RECORDS:
                self.caught_up.set()

    def take(self, delivery: Delivery) -> None:
        """Puts a record into the buffer, unless it is a repeat, unreadable, or too late to deliver."""
        partition, offset = delivery.partition, delivery.offset
        if offset < self.reached.get(partition, 0):
            return
        self.reached[partition] = offset + 1
        try:
            message = read_outbound(delivery)
        except OutboundUnreadable as error:
            self.metrics.count("stream_dropped_total", reason="unreadable")
            _log.warning("outbound record %d/%d: %s", partition, offset, error, extra={"action": "passed over"})
            return
        if message is None:
            return
        if message.id in self._seen:
            self.metrics.count("stream_dropped_total", reason="repeat")
            return
        _note(self._seen, message.id, (partition, offset), self.limits.remembered)
        if message.is_cancelled_notice:
            _note(self._cancelled, message.outbound_id, None, self.limits.remembered)
        elif message.is_expired(self.clock.now_ms()):
            return
        message = replace(message, value=b"")  # screens get the data; the event as published need not be kept
        self._sequence += 1
        self._entries.append(Entry(self._sequence, partition, offset, message))
        self._bytes += len(message.data)
        self._arrived.add(self.whose(message))
        self._since_all = self._since_all[0] + 1, self._since_all[1] + len(message.data)
        if not message.is_cancelled_notice:
            self._offers[message.outbound_id] = message
        self._bound()

    def _bound(self) -> None:
        now_ms = self.clock.now_ms()
        while self._entries and (
            len(self._entries) > self.limits.messages
            or self._bytes > self.limits.bytes
            or _is_void(self._entries[0].message, now_ms)
        ):
            entry = self._entries.popleft()
            self._bytes -= len(entry.message.data)
            self._offers.pop(entry.message.id, None)
            if not _is_void(entry.message, now_ms):
                self._dropped = entry.sequence
                self.begins[entry.partition] = entry.offset + 1

    def _notify(self) -> None:
        messages, size = self._since_all
        if messages * _PARTS >= self.limits.messages or size * _PARTS >= self.limits.bytes:
            self._since_all = 0, 0
            self._waiting.wake_all()
        else:
            self._waiting.wake(self._arrived)
        self._arrived.clear()


def _is_void(message: OutboundMessage, now_ms: int) -> bool:
    return not message.is_cancelled_notice and message.is_expired(now_ms)


def _note(known: "OrderedDict[str, Note]", name: str, note: Note, most: int) -> None:
    """Remembers a name, and forgets the one remembered longest."""
    known[name] = note
    if len(known) > most:
        known.popitem(last=False)
