"""One screen's stream: what it has missed, urgent things first, then whatever arrives, as server-sent events."""

import asyncio
import heapq
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

import orjson

from services.api.customer_scope import CustomerScope
from services.api.stream_cursor import MOST_AHEAD, Cursor
from services.api.stream_feed import Entry, OutboundFeed
from services.api.stream_replay import Gap, LogReplay, ReplayStalled
from services.ports import BusUnavailable, Delivery
from services.use_cases.outbound_messages import OutboundMessage, OutboundUnreadable, read_outbound

_CAUGHT_UP_SECONDS = 5.0
"""How long a new stream waits for a node that has just started, so that what is urgent can come first."""
_LEAST_WAIT_SECONDS = 0.25
_LOOKED_AT = 256
"""Messages of the buffer looked at in one turn of the loop."""
_MOST_OUTSTANDING = 5_000
"""Delivered offers of one stream whose expiry is watched."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who is looking: a channel, and optionally one recipient of it, or one customer. What names no recipient is for
    everyone who serves the channel. `customers` bounds whom it may be about, by their ids: no profile is looked up for
    a message that passes."""

    channel: str
    recipient: str | None = None
    customer_id: str | None = None
    customers: CustomerScope | None = None

    def includes(self, message: OutboundMessage, channel: str | None, recipient: str | None) -> bool:
        """Whether the message is for them, being in that channel and for that recipient."""
        return (
            channel == self.channel
            and (self.recipient is None or recipient in (None, self.recipient))
            and self.customer_id in (None, message.customer_id)
            and (self.customers is None or self.customers.has_id(message.customer_id))
        )


Shown = Callable[[str, bytes], bytes]
"""From an event's name and data to the data as this reader is shown it: one line."""


class StreamSession:
    """The frames of one stream. `cursor` is where the reader says it stands, None for one that comes new; `shown` what
    its screen makes of the data, which is sent as it is otherwise."""

    def __init__(
        self,
        feed: OutboundFeed,
        replay: LogReplay,
        audience: Audience,
        cursor: Cursor | None,
        heartbeat_s: float,
        *,
        shown: Shown = lambda _, data: data,
    ) -> None:
        self._feed = feed
        self._replay = replay
        self._audience = audience
        self._resumed = cursor is not None
        self._cursor = cursor or Cursor()
        self._heartbeat_s = heartbeat_s
        self._shown = shown
        self._alive_until_s = asyncio.get_running_loop().time() + heartbeat_s
        self._place = 0
        self._left: set[str] = set()
        """Offers that were cancelled before their turn; their notices are left too."""
        self._outstanding: list[tuple[int, str]] = []

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Until the node stops, the reader falls behind the buffer, or the log cannot be read."""
        yield b"retry: 2000\n\n"
        with suppress(TimeoutError):
            await asyncio.wait_for(self._feed.caught_up.wait(), _CAUGHT_UP_SECONDS)
        try:
            async with aclosing(self._missed()) as missed:
                async for frame in missed:
                    yield frame
        except (BusUnavailable, ReplayStalled) as error:
            _log.warning("a stream could not be resumed: %s", error, extra={"action": "it is ended, to be tried again"})
            return
        async with aclosing(self._urgent()) as urgent:
            async for frame in urgent:
                yield frame
        while not self._feed.ending.is_set():
            if self._place < self._feed.oldest and self._lost_some():
                self._feed.metrics.count("stream_cut_off_total", reason="behind")
                return
            async with aclosing(self._arrived()) as arrived:
                async for frame in arrived:
                    yield frame
            for frame in self._expired():
                yield frame
            if self._is_quiet():
                yield self._heartbeat()
            if self._feed.newest == self._place:
                await self._something_new()

    async def _missed(self) -> AsyncGenerator[bytes, None]:
        """What lies between the reader's place and the buffer."""
        if not self._resumed:
            self._cursor.skip_to(self._feed.begins)
            return
        async with aclosing(self._replay.since(self._cursor)) as found:
            async for one in found:
                if isinstance(one, Gap):
                    yield self._event("gap", orjson.dumps({"gaps": one.ranges}))
                elif (frame := self._replayed(one)) is not None:
                    yield frame

    def _replayed(self, delivery: Delivery) -> bytes | None:
        partition, offset = delivery.partition, delivery.offset
        if not self._cursor.wants(partition, offset):
            self._cursor.ahead.discard((partition, offset))
            return None
        self._cursor.pass_over(partition, offset)
        try:
            message = read_outbound(delivery)
        except OutboundUnreadable:
            return None
        if message is None or self._feed.is_repeat(message, partition, offset):
            return None
        return self._frame(message)

    async def _urgent(self) -> AsyncGenerator[bytes, None]:
        """What is urgent of all that waits, before its turn."""
        if self._feed.newest - self._place > _LOOKED_AT:
            await self._feed.turn()
        for number, entry in enumerate(self._feed.after(self._place), 1):
            if number % _LOOKED_AT == 0:
                await self._feed.turn()
            message = entry.message
            if not message.urgent or not self._cursor.wants(entry.partition, entry.offset):
                continue
            if len(self._cursor.ahead) >= MOST_AHEAD or self._feed.is_cancelled(message.outbound_id):
                continue
            self._cursor.ahead.add((entry.partition, entry.offset))
            if (frame := self._frame(message)) is not None:
                yield frame
            else:
                self._cursor.ahead.discard((entry.partition, entry.offset))

    def _lost_some(self) -> bool:
        """Whether the buffer dropped something this reader has not passed."""
        return any(self._cursor.next.get(partition, 0) < begin for partition, begin in self._feed.begins.items())

    async def _arrived(self) -> AsyncGenerator[bytes, None]:
        if self._feed.newest - self._place > _LOOKED_AT:
            await self._feed.turn()
        entries, reached = self._feed.after(self._place), dict(self._feed.reached)
        for number, entry in enumerate(entries, 1):
            if number % _LOOKED_AT == 0:
                await self._feed.turn()
            self._place = entry.sequence
            if (frame := self._in_turn(entry)) is not None:
                yield frame
        self._cursor.skip_to(reached)

    def _in_turn(self, entry: Entry) -> bytes | None:
        if not self._cursor.wants(entry.partition, entry.offset):
            self._cursor.pass_over(entry.partition, entry.offset)
            return None
        self._cursor.pass_over(entry.partition, entry.offset)
        return self._frame(entry.message)

    def _frame(self, message: OutboundMessage) -> bytes | None:
        """The event of a message; None where it is not for this reader, or too late."""
        if not self._audience.includes(message, *self._feed.whose(message)):
            return None
        if message.is_cancelled_notice:
            if message.outbound_id in self._left:
                self._left.discard(message.outbound_id)
                return None
            return self._event("cancelled", message.data)
        if self._feed.is_cancelled(message.outbound_id) or self._feed.is_stopped(message):
            self._left.add(message.outbound_id)
            return None
        if message.is_expired(self._feed.clock.now_ms()):
            return None
        if message.expires_ms is not None:
            heapq.heappush(self._outstanding, (message.expires_ms, message.outbound_id))
            if len(self._outstanding) > _MOST_OUTSTANDING:
                heapq.heappop(self._outstanding)
        return self._event("offered", message.data)

    def _expired(self) -> list[bytes]:
        """Notices of what this stream delivered and nobody needs to act on any more."""
        now_ms, frames = self._feed.clock.now_ms(), []
        while self._outstanding and self._outstanding[0][0] <= now_ms:
            _, outbound_id = heapq.heappop(self._outstanding)
            if not self._feed.is_cancelled(outbound_id):
                frames.append(self._event("expired", orjson.dumps({"outbound_id": outbound_id})))
        return frames

    async def _something_new(self) -> None:
        """Waits for an arrival, an expiry, or the time to say that the line is alive."""
        wait_s = self._alive_until_s - asyncio.get_running_loop().time()
        if self._outstanding:
            until_s = (self._outstanding[0][0] - self._feed.clock.now_ms()) / 1000
            wait_s = min(wait_s, max(until_s, _LEAST_WAIT_SECONDS))
        with suppress(TimeoutError):
            arrival = self._feed.arrival(self._audience.channel, self._audience.recipient)
            await asyncio.wait_for(arrival, max(wait_s, 0.0))

    def _is_quiet(self) -> bool:
        """Whether the reader should hear that the line is alive; what it is sent otherwise does not count."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._alive_until_s:
            return False
        self._alive_until_s = now_s + self._heartbeat_s
        return True

    def _heartbeat(self) -> bytes:
        """A comment, and where the reader stands: on a quiet channel it moves on with the log."""
        return b": alive\nid: " + self._cursor.text().encode() + b"\n\n"

    def _event(self, name: str, data: bytes) -> bytes:
        """JSON has no line breaks of its own, so one data line holds it."""
        shown = self._shown(name, data)
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (self._cursor.text().encode(), name.encode(), shown)
