"""A closed-loop HTTP client: so many connections, each asking again as soon as it is answered, for a bounded time.

Raw asyncio protocols rather than an HTTP library, so that the client costs less than what it measures. It talks to
loopback only. Run as a process of its own: `python -m loadtests.closed_loop '{"port": …}'` prints one JSON line.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field

MAX_SECONDS = 60.0
QUANTILES = 200
"""So many evenly spaced latencies stand for the whole distribution."""


@dataclass(slots=True)
class Load:
    """What to send: bodies with `%d` places for a running number and a customer number."""

    port: int
    path: str
    body: str
    connections: int
    seconds: float
    customers: int
    warmup: float = 1.0
    cpus: list[int] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One keep-alive connection; counts an answer when its whole body is there."""

    def __init__(self, load: Load, number: int, stop_at: float, latencies: list[float], errors: list[int]) -> None:
        self._load, self._number, self._stop_at = load, number, stop_at
        self._latencies, self._errors = latencies, errors
        self._buffer = b""
        self._asked = 0
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _content_length(self._buffer[:head])
        if len(self._buffer) < head + 4 + length:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent_at)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self._errors.append(1)
        self._buffer = b""
        if now < self._stop_at:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._errors.append(1)
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        self._asked += 1
        unique = self._number * 10_000_000 + self._asked
        customer = (unique * 7919) % self._load.customers + 1
        body = (self._load.body % (unique, customer)).encode()
        head = (
            f"POST {self._load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._sent_at = time.perf_counter()
        self._transport.write(head.encode() + body)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def run(load: Load) -> dict[str, float | list[float]]:
    """Requests per second and latency percentiles in milliseconds, after the warm-up; the distribution besides."""
    warm, _ = await _phase(load, load.warmup)
    started = time.perf_counter()
    latencies, errors = await _phase(load, min(load.seconds, MAX_SECONDS))
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "requests_per_s": len(latencies) / took,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "errors": len(errors),
        "requests": len(latencies),
        "sent": len(latencies) + len(warm),
        "latencies_ms": [
            latencies[int(len(latencies) * (place + 0.5) / QUANTILES)] * 1000 for place in range(QUANTILES)
        ],
    }


async def _phase(load: Load, seconds: float) -> tuple[list[float], list[int]]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    errors: list[int] = []
    stop_at = time.perf_counter() + seconds
    offset = int(time.time()) % 100_000  # request ids differ between phases: none is an idempotent repeat
    connections = []
    for i in range(load.connections):
        number = offset * 1000 + i
        _, protocol = await loop.create_connection(
            lambda number=number: _Connection(load, number, stop_at, latencies, errors), "127.0.0.1", load.port
        )
        connections.append(protocol)
    await asyncio.gather(*(connection.done for connection in connections))
    return latencies, errors


def main() -> int:
    """Reads a `Load` as JSON from the command line."""
    import uvloop

    load = Load(**json.loads(sys.argv[1]))
    if load.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, load.cpus)
    print(json.dumps(uvloop.run(run(load))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
