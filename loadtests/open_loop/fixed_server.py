"""A server that answers everything alike and at once, or stalls when told to: what the generator itself is measured and
tested against. `python -m loadtests.open_loop.fixed_server [PROCESSOR]` prints its port."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import uvloop

BODY = b'{"placements":[{"id":"home_banner","options":[{"tracking_id":"01J.0"}]}],"degraded":false}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
Respond = Callable[[], bytes]


class _Answering(asyncio.Protocol):
    """Knows no more of HTTP than where a request ends; one is answered at a time."""

    def __init__(self, respond: Respond, open_now: set[asyncio.Transport]) -> None:
        self._respond, self._open_now = respond, open_now
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_now.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_now.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head = self._held.find(b"\r\n\r\n")
        if head < 0 or len(self._held) < head + 4 + _content_length(self._held[:head]):
            return
        self._held = b""
        self._transport.write(self._respond())


def _content_length(head: bytes) -> int:
    name = b"Content-Length: "
    begin = head.find(name)
    return 0 if begin < 0 else int(head[begin + len(name) :].split(b"\r\n", 1)[0])


@asynccontextmanager
async def serving(respond: Respond = lambda: OK) -> AsyncIterator[int]:
    """The port of a server in this loop."""
    open_now: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(respond, open_now), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in list(open_now):
            transport.abort()
        for _ in range(2):  # turns of the loop in which they are closed
            await asyncio.sleep(0)


def stalling(after_s: float, for_s: float) -> Respond:
    """Answers at once, but once, so long after the first request, blocks its whole loop for a while."""
    first: list[float] = []
    stalled: list[float] = []

    def respond() -> bytes:
        now = time.monotonic()
        first.append(now) if not first else None
        if not stalled and now - first[0] >= after_s:
            stalled.append(now)
            time.sleep(for_s)
        return OK

    return respond


async def _serve_for_ever() -> None:
    async with serving() as port:
        print(port, flush=True)
        await asyncio.Event().wait()


def main() -> int:
    """Serves until it is ended."""
    if len(sys.argv) > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(sys.argv[1])])
    uvloop.run(_serve_for_ever())
    return 0


if __name__ == "__main__":
    sys.exit(main())
