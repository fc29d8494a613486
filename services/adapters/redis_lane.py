"""One connection to a server of the store: a write a loop turn, replies in order, a deadline a call."""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol, cast

import hiredis

from services.ports import StoreSlow, StoreUnavailable

Argument = bytes | str | int | float
Command = tuple[Argument, ...]
_NOT_ENOUGH = object()
_NEVER = math.inf
_TIMER_GRAIN_S = 0.001
"""Loops round their timers to it, so one may fire that much too early."""
_IDENTITY: Command = ("INFO", "server")
_MAY_BE_REFUSED = ("CLIENT", "INFO")
"""An account may do without its connection's name, and without the server's."""
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
"""Pause after the first, second, … failed attempt to connect; calls in between fail at once."""


class ReplyError(StoreUnavailable):
    """The server refused one command; its text is the server's. Whatever the reason (too few replicas, a full disk, a
    key of another type, a right withdrawn), to the caller the store did not do its part."""


Reply = bytes | str | int | float | bool | None | list["Reply"] | ReplyError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """`timeout_s` bounds each call, `connect_timeout_s` an attempt to connect. A connection that left a command
    unanswered for `stall_s` is given up. At most `max_in_flight` commands wait at once; more are refused."""

    lanes: int = 2
    timeout_s: float = 0.25
    connect_timeout_s: float = 2.0
    stall_s: float = 5.0
    max_in_flight: int = 20_000


class Address(Protocol):
    """Where a store is; asked again for every new connection."""

    async def connect(self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.BaseProtocol]) -> None: ...

    def greeting(self) -> list[tuple[str | int, ...]]: ...


@dataclass(slots=True, eq=False)
class _Batch:
    """Commands of one call: who waits, how many replies are due, and those that came."""

    future: "asyncio.Future[list[Reply]]"
    due: int
    sent_at: float
    timeout_s: float
    written_at: float = _NEVER
    replies: list[Reply] = field(default_factory=list)


class Lane(asyncio.Protocol):
    """One connection: an outbox written once a loop turn, and the batches that wait for replies in order."""

    def __init__(
        self, address: Address, limits: ClientLimits, on_ready: "Callable[[Lane], None]" = lambda _: None
    ) -> None:
        self._address = address
        self._limits = limits
        self._on_ready = on_ready
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._outbox: list[bytes] = []
        self._unwritten: list[_Batch] = []
        self._batches: deque[_Batch] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last_failure: BaseException | None = None
        self._watcher: asyncio.TimerHandle | None = None
        self._watch_at = _NEVER
        self.ready = False
        self.waiting = 0
        self.server: bytes | None = None
        """Which life of which server it is connected to; None where the server does not say."""

    async def connect(self, timeout_s: float) -> None:
        """Returns when connected; concurrent callers share the attempt, and one that gives up does not stop it."""
        loop = asyncio.get_running_loop()
        if self._connecting is None:
            if loop.time() < self._not_before:
                raise StoreUnavailable(f"store at {self._address} is away") from self._last_failure
            self._connecting = loop.create_task(self._attempt())
        attempt = self._connecting
        done, _ = await asyncio.wait({attempt}, timeout=max(timeout_s, 0.001))
        if not done:
            raise StoreSlow(f"store at {self._address} did not accept a connection within {timeout_s:.3f} s")
        if not self.ready:
            raise StoreUnavailable(f"store at {self._address} is away: {self._last_failure}") from self._last_failure

    def send(self, commands: Sequence[Command], timeout_s: float) -> "asyncio.Future[list[Reply]]":
        """The replies to come; the write happens at the end of this loop turn together with everyone else's."""
        if not self.ready:
            raise StoreUnavailable(f"store at {self._address} went away") from self._last_failure
        return self._exchange(commands, timeout_s)

    def _exchange(self, commands: Sequence[Command], timeout_s: float) -> "asyncio.Future[list[Reply]]":
        loop = asyncio.get_running_loop()
        if not self._outbox:
            loop.call_soon(self._flush)
        self._outbox.extend([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        now = loop.time()
        batch = _Batch(loop.create_future(), len(commands), now, timeout_s)
        if now + timeout_s < self._watch_at:
            self._watch(loop, now + timeout_s)
        self._batches.append(batch)
        self._unwritten.append(batch)
        self.waiting += batch.due
        return batch.future

    def overdue_s(self, now_s: float) -> float:
        """How long the server has owed a reply to the oldest command."""
        return now_s - self._batches[0].written_at if self._batches else 0.0

    async def close(self) -> None:
        """Drops the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._transport is not None:
            self._transport.abort()
        self._drop(ConnectionError("closed"))

    def give_up(self) -> None:
        """Ends the connection; the next call makes another."""
        if self._transport is not None:
            self._transport.abort()

    async def _attempt(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                await self._address.connect(loop, lambda: self)
                greeting = [*self._address.greeting(), _IDENTITY]
                replies = await self._exchange(greeting, self._limits.connect_timeout_s)
                for (verb, *_), reply in zip(greeting, replies, strict=True):
                    if isinstance(reply, ReplyError) and verb not in _MAY_BE_REFUSED:
                        raise reply
            self._failures = 0
            self.server = _run_id(replies[-1])
            self.ready = True
            self._on_ready(self)
        except (OSError, TimeoutError, StoreUnavailable) as error:
            if self._transport is not None:
                self._transport.abort()
            self._drop(error)
            self._not_before = loop.time() + _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
            self._failures += 1
        finally:
            self._connecting = None

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        now = asyncio.get_running_loop().time()
        for batch in self._unwritten:
            batch.written_at = now
        self._unwritten.clear()
        if self._transport is not None and outbox:
            self._transport.write(outbox[0] if len(outbox) == 1 else b"".join(outbox))

    def _watch(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        """One timer for the earliest deadline of all: most calls are answered long before, and then cost none."""
        if self._watcher is not None:
            self._watcher.cancel()
        self._watch_at = at
        self._watcher = loop.call_at(at, self._expire)

    def _expire(self) -> None:
        """Tells the callers whose time is up. Their replies are still due and will be thrown away when they come."""
        loop = asyncio.get_running_loop()
        self._watcher, self._watch_at = None, _NEVER
        now, earliest = loop.time(), _NEVER
        for batch in self._batches:
            if batch.future.done():
                continue
            deadline = batch.sent_at + batch.timeout_s
            if deadline <= now + _TIMER_GRAIN_S:
                batch.future.set_exception(
                    StoreSlow(f"store at {self._address} did not answer within {batch.timeout_s:.3f} s")
                )
            else:
                earliest = min(earliest, deadline)
        if earliest < _NEVER:
            self._watch(loop, earliest)
        if self._batches and self._transport is not None and now - self._batches[0].sent_at > self._limits.stall_s:
            self._transport.abort()

    def _drop(self, error: BaseException) -> None:
        self.ready = False
        self._transport = None
        self._last_failure = error
        self._outbox.clear()
        self._unwritten.clear()
        batches, self._batches = self._batches, deque()
        self.waiting = 0
        if self._watcher is not None:
            self._watcher.cancel()
        self._watcher, self._watch_at = None, _NEVER
        for batch in batches:
            if not batch.future.done():
                failure = StoreUnavailable(f"connection to the store at {self._address} was lost: {error}")
                failure.__cause__ = error
                batch.future.set_exception(failure)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A fresh connection starts with a fresh parser."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases
        self._reader = hiredis.Reader(protocolError=ConnectionError, replyError=ReplyError, notEnoughData=_NOT_ENOUGH)

    def data_received(self, data: bytes) -> None:
        """Hands each reply to the batch at the head."""
        reader, batches = self._reader, self._batches
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOT_ENOUGH:
                batch = batches[0]
                batch.replies.append(reply)
                if len(batch.replies) == batch.due:
                    batches.popleft()
                    self._settle(batch)
        except (ConnectionError, IndexError) as error:
            if self._transport is not None:
                self._transport.abort()
            self._drop(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        if self._transport is not None:
            self._drop(exc or ConnectionError("closed by the server"))

    def _settle(self, batch: _Batch) -> None:
        self.waiting -= batch.due
        if not batch.future.done():
            batch.future.set_result(batch.replies)


class Lanes:
    """A few connections to one server, taken in turn."""

    def __init__(self, address: Address, limits: ClientLimits) -> None:
        self._lanes = [Lane(address, limits, self._connected) for _ in range(limits.lanes)]
        self._turn = count()
        self._server: bytes | None = None
        self._connections = 0
        self.changes = 0
        """How often a new connection came to another server, or to another life of the same one, than those before."""

    @property
    def waiting(self) -> int:
        """Replies that are due, those of callers that gave up among them."""
        return sum([lane.waiting for lane in self._lanes])

    def overdue_s(self, now_s: float) -> float:
        """How long the server has owed a reply on the connection where that is longest."""
        return max([lane.overdue_s(now_s) for lane in self._lanes])

    def next(self) -> Lane:
        """The next connection in turn, unless it is busier than another."""
        preferred = self._lanes[next(self._turn) % len(self._lanes)]
        return preferred if not preferred.waiting else min(self._lanes, key=lambda lane: lane.waiting)

    async def close(self) -> None:
        """Gives up every connection; waiting calls fail."""
        for lane in self._lanes:
            await lane.close()

    def _connected(self, new: Lane) -> None:
        """Where a server does not say who it is, any connection may be to another one."""
        self._connections += 1
        if self._connections > 1 and (new.server is None or new.server != self._server):
            self.changes += 1
            for lane in self._lanes:  # those to the server before would go on telling what was
                if lane is not new and lane.ready and lane.server != new.server:
                    lane.give_up()
        self._server = new.server


def _run_id(reply: Reply) -> bytes | None:
    found = _RUN_ID.search(reply) if isinstance(reply, bytes) else None
    return None if found is None else found[1]


def not_serving(reply: ReplyError) -> bool:
    """Refusals that are about the server's condition, not about the command."""
    return str(reply).startswith(("LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "OOM", "BUSY "))
