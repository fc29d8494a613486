"""A receiver of webhooks that can misbehave, outbound records, and a log in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from event_schemas.topics import OUTBOUND
from services.ports import BusUnavailable, Delivery
from services.use_cases.wire_time import rfc3339

NOW = 1_795_254_600_000
HOUR = 3_600_000


@dataclass
class Request:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Answers by script: `answer` gives a status with headers and body, `drop` or `hang`."""

    answer: Callable[[Request], Any] = lambda _request: 200
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.requests]

    async def until(self, wanted: int) -> None:
        async with asyncio.timeout(20):
            while len(self.requests) < wanted:
                self.arrived.clear()
                await self.arrived.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await _read(reader)
                self.requests.append(request)
                self.arrived.set()
                answer = self.answer(request)
                if isinstance(answer, Awaitable):
                    answer = await answer
                if answer == "drop":
                    return
                if answer == "hang":
                    await reader.read(1)  # nothing more comes: returns when the caller gives up
                    return
                writer.write(_response(answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)
    }
    return Request(headers, await reader.readexactly(int(headers["content-length"])))


def _response(answer: Any) -> bytes:
    status, headers, body = answer if isinstance(answer, tuple) else (answer, {}, b"{}")
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join((*lines, "", "")).encode() + body


@pytest.fixture
async def open_receiver() -> AsyncIterator[Callable[..., Awaitable[Receiver]]]:
    servers = []

    async def open_one(answer: Callable[[Request], Any] = lambda _request: 200) -> Receiver:
        receiver = Receiver(answer)
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
        receiver.port = server.sockets[0].getsockname()[1]
        servers.append(server)
        return receiver

    yield open_one
    for server in servers:
        server.close()


@dataclass
class OutboundLogInMemory:
    """One partition or more of the outbound topic; what was committed is remembered."""

    records: list[Delivery] = field(default_factory=list)
    begins: dict[int, int] = field(default_factory=dict)
    next: dict[tuple[str, int], int] = field(default_factory=dict)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    partitions: int = 2
    away: bool = False
    opened: int = 0
    _ids: Any = field(default_factory=count)

    def offer(
        self, customer: str = "retail:1", *, name: str | None = None, partition: int | None = None, **data: Any
    ) -> str:
        """Adds an offer; answers its id."""
        identity = name or f"O{next(self._ids)}"
        fields = {
            "decision_id": "D1", "customer_id": customer, "trigger": "salary", "channel": "manager",
            "placement": "inbox_lead", "locale": "en", "expires_at": rfc3339(NOW + HOUR), "options": [],
        }  # fmt: skip
        self.add("nbo.outbound.offered", identity, customer, {**fields, **data}, partition)
        return identity

    def cancel(self, outbound_id: str, customer: str = "retail:1", **data: Any) -> str:
        """Adds the notice that an offer is overtaken; answers its own id."""
        identity = f"C{next(self._ids)}"
        fields = {"outbound_id": outbound_id, "customer_id": customer, "trigger": "salary", "channel": "manager",
                  "reason": "event", "time": rfc3339(NOW)}  # fmt: skip
        self.add("nbo.outbound.cancelled", identity, customer, {**fields, **data}, None)
        return identity

    def add(self, kind: str, identity: str, customer: str, data: Mapping[str, Any], partition: int | None) -> None:
        event = {"specversion": "1.0", "id": identity, "type": kind, "source": "kairos", "subject": customer,
                 "time": rfc3339(NOW), "data": data}  # fmt: skip
        self.put(
            orjson.dumps(event), int(customer.partition(":")[2]) % self.partitions if partition is None else partition
        )

    def put(self, value: bytes | None, partition: int) -> None:
        offset = self.end(partition)
        self.records.append(Delivery(OUTBOUND, partition, offset, b"k", value, ()))
        self.grown.set()

    def end(self, partition: int) -> int:
        own = [record.offset for record in self.records if record.partition == partition]
        return max(own, default=self.begins.get(partition, 0) - 1) + 1

    def reader(self) -> "LogReader":
        return LogReader(self, {})

    @asynccontextmanager
    async def open(self) -> AsyncIterator["LogReader"]:
        self.opened += 1
        yield self.reader()


@dataclass
class LogReader:
    log: OutboundLogInMemory
    next: dict[int, int]

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        if self.log.away:
            raise BusUnavailable
        found = [
            r for r in self.log.records if r.offset >= max(self.next.get(r.partition, 0), self._begin(r.partition))
        ]
        found = found[:max_records]
        for record in found:
            self.next[record.partition] = record.offset + 1
        if not found:
            self.log.grown.clear()
            try:
                await asyncio.wait_for(self.log.grown.wait(), min(timeout_s, 0.05))
            except TimeoutError:
                return []
        return found

    def _begin(self, partition: int) -> int:
        return self.log.begins.get(partition, 0)

    def seek(self, positions: Mapping[tuple[str, int], int]) -> None:
        self.next |= {partition: offset for (_, partition), offset in positions.items()}

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        if self.log.away:
            raise BusUnavailable
        self.log.committed |= positions

    async def beginning_offsets(self) -> dict[tuple[str, int], int]:
        return {(OUTBOUND, p): self._begin(p) for p in range(self.log.partitions)}

    async def end_offsets(self) -> dict[tuple[str, int], int]:
        return {(OUTBOUND, p): self.log.end(p) for p in range(self.log.partitions)}

    async def positions(self) -> dict[tuple[str, int], int]:
        return {(OUTBOUND, p): max(self.next.get(p, 0), self._begin(p)) for p in range(self.log.partitions)}


@dataclass
class SteppedClock:
    now: int = NOW

    def now_ms(self) -> int:
        return self.now


@dataclass
class CountingMetrics:
    seen: dict[tuple[str, ...], float] = field(default_factory=dict)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self.count(name, 1, **labels)

    def observe_each(self, name: str, observations: Sequence[tuple[str, float]]) -> None:
        for label, _ in observations:
            self.count(name, 1, label=label)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        key = (name, *labels.values())
        self.seen[key] = self.seen.get(key, 0) + amount

    def count_each(self, name: str, series: Sequence[tuple[str, ...]], amounts: NDArray[np.int64]) -> None:
        for labels, amount in zip(series, amounts.tolist(), strict=True):
            self.seen[(name, *labels)] = self.seen.get((name, *labels), 0) + amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.seen[(name, *labels.values())] = value


@pytest.fixture
def log() -> OutboundLogInMemory:
    return OutboundLogInMemory()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def metrics() -> CountingMetrics:
    return CountingMetrics()


@pytest.fixture
def set_aside() -> Any:
    """What was set aside, as (reason, sentence)."""

    class Aside(list[tuple[str, str]]):
        away = 0

        async def __call__(self, delivery: Delivery, reason: str, message: str) -> None:
            if self.away:
                self.away -= 1
                raise BusUnavailable
            self.append((reason, message))

    return Aside()


def names(requests: Sequence[Request]) -> list[str]:
    return [request.id for request in requests]
