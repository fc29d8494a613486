"""Connections to one server: a request takes a free one, else a new one, else it waits until one comes free.

Waiting is counted in its latency, like everything that happens after a request was meant to be sent.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from time import monotonic

from loadtests.open_loop.http_connection import HttpAnswer, HttpConnection
from loadtests.open_loop.tally import BROKEN, NOT_SENT, TIMED_OUT, UNREACHABLE

SWEEP_S = 0.05
"""How exactly a time-out is kept."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request under way: what it is of, when it was meant to be sent (in seconds of the run, and as a moment of
    `monotonic`), and the moment at which it was."""

    step: int
    at_s: float
    intended: float
    request: bytes
    sent_at: float = 0.0


Done = Callable[[Exchange, HttpAnswer | str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where requests go. `most_connections` bounds what one process holds open; `timeout_s` is when a request is given
    up, from when it was meant to be sent."""

    host: str
    port: int
    tls: SSLContext | None = None
    most_connections: int = 512
    timeout_s: float = 5.0


class ConnectionPool:
    """Sends exchanges; each ends in one call of `done`, with its answer or with what became of it instead."""

    def __init__(self, server: Server, done: Done) -> None:
        self._server, self._done = server, done
        self._idle: list[HttpConnection] = []
        self._busy: dict[HttpConnection, Exchange] = {}
        self._waiting: deque[Exchange] = deque()
        self._opening = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    @property
    def under_way(self) -> int:
        """Exchanges that have not ended."""
        return len(self._busy) + len(self._waiting)

    async def warm(self, connections: int) -> None:
        """Opens so many beforehand. Raises OSError where the server is not there."""
        for _ in range(connections):
            self._idle.append(await self._connected())

    def send(self, exchange: Exchange) -> None:
        """Sends it now or as soon as there is a connection."""
        if self._idle:
            self._start(self._idle.pop(), exchange)
            return
        self._waiting.append(exchange)
        self._open_for_waiting()

    def close(self) -> None:
        """Ends everything; what is under way ends as broken."""
        self._sweeper.cancel()
        for task in self._tasks:
            task.cancel()
        for connection in (*self._idle, *self._busy):
            connection.abort()

    def _open_for_waiting(self) -> None:
        """As many connections as wait for one, as far as that is allowed."""
        room = self._server.most_connections - len(self._busy)
        while self._opening < min(len(self._waiting), room):
            self._opening += 1
            task = asyncio.get_running_loop().create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connected(self) -> HttpConnection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: HttpConnection(self._answered, self._lost),
            self._server.host,
            self._server.port,
            ssl=self._server.tls,
        )
        return connection

    async def _open(self) -> None:
        try:
            connection = await asyncio.wait_for(self._connected(), self._server.timeout_s)
        except (OSError, TimeoutError):
            self._opening -= 1
            if self._waiting:
                self._done(self._waiting.popleft(), UNREACHABLE)
            self._open_for_waiting()
            return
        self._opening -= 1
        self._free(connection)

    def _start(self, connection: HttpConnection, exchange: Exchange) -> None:
        self._busy[connection] = exchange
        exchange.sent_at = monotonic()
        connection.send(exchange.request)

    def _free(self, connection: HttpConnection) -> None:
        if self._waiting:
            self._start(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _answered(self, connection: HttpConnection, answer: HttpAnswer) -> None:
        exchange = self._busy.pop(connection, None)
        if exchange is None:  # an answer to nothing: the server ends an idle connection in words
            return
        self._done(exchange, answer)
        if answer.kept_alive:
            self._free(connection)
        else:
            connection.abort()
            self._open_for_waiting()

    def _lost(self, connection: HttpConnection) -> None:
        exchange = self._busy.pop(connection, None)
        if exchange is not None:
            self._done(exchange, BROKEN)
            self._open_for_waiting()
        elif connection in self._idle:
            self._idle.remove(connection)

    def _sweep(self) -> None:
        """Gives up what has taken too long. Those that wait were meant to be sent one after another."""
        given_up_before = monotonic() - self._server.timeout_s
        while self._waiting and self._waiting[0].intended < given_up_before:
            self._done(self._waiting.popleft(), NOT_SENT)
        for connection, exchange in list(self._busy.items()):
            if exchange.intended < given_up_before:
                del self._busy[connection]
                self._done(exchange, TIMED_OUT)
                connection.abort()
                self._open_for_waiting()
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
