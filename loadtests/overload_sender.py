"""A light open-loop sender for `loadtests.overload`: as many requests a second as it takes to drown a server.

Constant rates by class of request, connections kept open, no parser beyond status and length: one request costs it
some 15 microseconds. A latency begins when its request was meant to be sent. Run as a process of its own:
`python -m loadtests.overload_sender '{"port": …}'` prints one JSON line.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

MAX_SECONDS = 60.0
TICK_S = 0.001
CLASSES = ("agent", "interactive", "batch")
_CHANNELS = {"agent": ("contact_centre", "agent_panel")}
_MOBILE = ("mobile", "home_banner")


@dataclass(slots=True)
class Wave:
    """What to send: requests a second by class, `herd` clients more that ask at once `herd_at_s` after the beginning
    and come again as they are told until they are answered."""

    port: int
    rates: dict[str, float]
    seconds: float
    customers: int = 2_000
    connections: int = 512
    deadline_ms: float = 100.0
    herd: int = 0
    herd_at_s: float = 1.0
    first: int = 0
    cpus: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """What came of one class."""

    sent: int = 0
    in_time: int = 0
    degraded: int = 0
    late: int = 0
    refused: int = 0
    without_pause: int = 0
    failed: int = 0
    answered_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way at the most."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._buffer = b""
        self.asked: tuple[str, float, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.find(b"content-length: ", 0, head)
        length = int(self._buffer[at + 16 : self._buffer.find(b"\r", at)])
        if len(self._buffer) < head + 4 + length:
            return
        answer, self._buffer = self._buffer, b""
        asked, self.asked = self.asked, None
        if asked is not None:
            self._sender.answered(self, asked, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.lost(self)

    def ask(self, asked: tuple[str, float, int], request: bytes) -> None:
        self.asked = asked
        self._transport.write(request)

    def close(self) -> None:
        self._transport.abort()


class Sender:
    """Sends one wave and counts what comes of it, by class and by second."""

    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        self.found = {name: Found() for name in (*CLASSES, "herd")}
        self.by_second: dict[int, list[int]] = {}
        self.herd_answered_s: list[float] = []
        self._idle: list[_Connection] = []
        self._all: list[_Connection] = []
        self._waiting: deque[tuple[str, float, int]] = deque()
        self._number = wave.first
        self._begun_s = 0.0

    async def run(self) -> dict[str, Any]:
        """Everything that was found."""
        loop = asyncio.get_running_loop()
        for _ in range(self.wave.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.wave.port)
            self._idle.append(connection)
        self._all = list(self._idle)
        self._begun_s = time.perf_counter()
        await self._send_all()
        await asyncio.sleep(0.5)  # what is later than that is late whatever comes
        for connection in self._all:
            connection.close()
        return self._report()

    async def _send_all(self) -> None:
        rates = {name: rate for name, rate in self.wave.rates.items() if rate > 0}
        sent = dict.fromkeys(rates, 0)
        herd = self.wave.herd
        while (now_s := time.perf_counter() - self._begun_s) < min(self.wave.seconds, MAX_SECONDS):
            due = [
                (name, (number + 0.5) / rate)
                for name, rate in rates.items()
                for number in range(sent[name], int(rate * now_s))
            ]
            for name, _ in due:
                sent[name] += 1
            for name, due_s in sorted(due, key=lambda one: one[1]):
                self._send(name, due_s)
            if herd and now_s >= self.wave.herd_at_s:
                for _ in range(herd):
                    self._send("herd", now_s)
                herd = 0
            await asyncio.sleep(TICK_S)

    def _send(self, name: str, due_s: float) -> None:
        self._number += 1
        self.found[name].sent += 1
        self._begin((name, due_s, self._number))

    def _begin(self, asked: tuple[str, float, int]) -> None:
        if self._idle:
            connection = self._idle.pop()
            connection.ask(asked, self._request(asked))
        else:
            self._waiting.append(asked)

    def _request(self, asked: tuple[str, float, int]) -> bytes:
        name, _, number = asked
        channel, placement = _CHANNELS.get(name, _MOBILE)
        body = (
            f'{{"request_id":"o{number}","customer_id":"retail:{number * 7919 % self.wave.customers + 1}",'
            f'"channel":"{channel}","placements":[{{"id":"{placement}","count":3}}]}}'
        )
        lower = "Kairos-Priority: batch\r\n" if name == "batch" else ""
        return (
            f"POST /v1/decisions HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n{lower}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def answered(self, connection: _Connection, asked: tuple[str, float, int], answer: bytes) -> None:
        """Counts it, and gives the connection to who waits."""
        name, due_s, _ = asked
        now_s = time.perf_counter() - self._begun_s
        latency_ms = (now_s - due_s) * 1000
        found, status = self.found[name], answer[9:12]
        if status == b"200":
            found.answered_ms.append(latency_ms)
            good = latency_ms <= self.wave.deadline_ms
            found.in_time += good
            found.late += not good
            found.degraded += b'"degraded":true' in answer
            row = self.by_second.setdefault(int(now_s), [0, 0, 0])
            row[0] += good
            row[1] += not good
            row[2] += b'"degraded":true' in answer
            if name == "herd":
                self.herd_answered_s.append(now_s)
        elif status in {b"503", b"429"}:
            found.refused += 1
            found.refused_ms.append(latency_ms)
            pause_s = _pause_s(answer)
            found.without_pause += pause_s is None
            if name == "herd":
                # And up to half of it more, as callers are asked to (docs/overload.md).
                wait_s = (pause_s or 1.0) * random.uniform(1.0, 1.5)  # nosec B311 - no secret
                again = (name, now_s + wait_s, asked[2])
                asyncio.get_running_loop().call_later(wait_s, self._begin, again)
        else:
            found.failed += 1
        if self._waiting:
            asked = self._waiting.popleft()
            connection.ask(asked, self._request(asked))
        else:
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection that ends before the wave does is a failure."""
        if connection.asked is not None and self._all:
            self.found[connection.asked[0]].failed += 1
        if connection in self._idle:
            self._idle.remove(connection)

    def _report(self) -> dict[str, Any]:
        classes = {}
        for name, found in self.found.items():
            counts = ("sent", "in_time", "degraded", "late", "refused", "without_pause", "failed")
            classes[name] = {key: getattr(found, key) for key in counts} | {
                "p50_ms": _quantile(found.answered_ms, 0.5),
                "p99_ms": _quantile(found.answered_ms, 0.99),
                "refused_p99_ms": _quantile(found.refused_ms, 0.99),
            }
        everything = [value for found in self.found.values() for value in found.answered_ms]
        refusals = [value for found in self.found.values() for value in found.refused_ms]
        return {
            "classes": classes,
            "p50_ms": _quantile(everything, 0.5),
            "p99_ms": _quantile(everything, 0.99),
            "refused_p99_ms": _quantile(refusals, 0.99),
            "by_second": [[second, *row] for second, row in sorted(self.by_second.items())],
            "herd_s": max(self.herd_answered_s, default=0.0),
            "last_number": self._number,
            "cpu_s": time.process_time(),
        }


def _pause_s(answer: bytes) -> float | None:
    at = answer.find(b"retry-after: ")
    return float(answer[at + 13 : answer.find(b"\r", at)]) if at >= 0 else None


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def main() -> int:
    """Reads a `Wave` as JSON from the command line."""
    import uvloop

    wave = Wave(**json.loads(sys.argv[1]))
    if wave.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, wave.cpus)
    print(json.dumps(uvloop.run(Sender(wave).run())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
