"""The API in a process of its own, which tells how long its loop was kept busy at a time, in processor time.

`GET /busy` answers the longest since it was last asked, what the process has used altogether, and its resident size;
nothing of that is part of the product, and nothing else is added to it.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import process_time, thread_time
from typing import Any

import uvloop

from loadtests.api_fuzz import ROOT, from_tests
from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.rate_limits import RateLimit
from services.api.server import bind, serve

TICK_S = 0.001
LIMIT = 10
"""Requests a second of the client `limited`."""
QUESTION = b'{"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}'


@dataclass(frozen=True, slots=True)
class Served:
    """Where it listens, and its process."""

    port: int
    pid: int

    def resident_kib(self) -> int:
        """What it holds of memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@contextmanager
def served_apart() -> Iterator[Served]:
    """A node in another process; ended on leaving."""
    child = subprocess.Popen(
        [sys.executable, "-m", "loadtests.hostile_server"], stdout=subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        line = child.stdout.readline() if child.stdout is not None else b""
        if not line:
            raise RuntimeError("the node did not start")
        yield Served(int(line), child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


class Busy:
    """The application with the question how busy its loop was."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._longest_s = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope.get("path") != "/busy":
            await self._app(scope, receive, send)
            return
        body = json.dumps({"longest_ms": self._longest_s * 1000, "used_s": process_time()}).encode()
        self._longest_s = 0.0
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def watch(self) -> None:
        """A tick is due all the time: what the thread works between two of them, it works without letting others in."""
        before_s = thread_time()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = thread_time()
            self._longest_s = max(self._longest_s, now_s - before_s)
            before_s = now_s


def question(key: str, body: bytes = QUESTION) -> bytes:
    """A request of a decision, as it goes over the wire."""
    head = (
        b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\nx-api-key: %s\r\ncontent-type: application/json\r\n" % key.encode()
    )
    return head + b"content-length: %d\r\n\r\n%s" % (len(body), body)


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    return int(head.split(None, 2)[1]), head.lower(), await reader.readexactly(length)


async def busy(port: int) -> dict[str, float]:
    """How busy the node was since it was last asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /busy HTTP/1.1\r\nhost: a\r\n\r\n")
        found: dict[str, float] = json.loads((await answered(reader))[2])
        return found
    finally:
        writer.close()


def keys() -> ApiKeys:
    """`open` may ask without limits, `limited` so often."""
    limits = {"open": None, "other": None, "limited": RateLimit(per_second=LIMIT, burst=LIMIT)}
    return ApiKeys([
        ApiKey(
            sha256=sha256(name.encode()).digest(),
            client=Client(name=name, channels=None, scopes=frozenset(ApiScope), limit=limit),
        )
        for name, limit in limits.items()
    ])  # fmt: skip


async def _main() -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a line for each request that is none
    bank = from_tests("api_bank").Bank()
    app = Busy(create_app(bank.runtime(authenticator=keys())))
    listener: socket.socket = bind("127.0.0.1", 0)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    watching = asyncio.create_task(app.watch())
    clearing = asyncio.create_task(_clear(bank))
    port = listener.getsockname()[1]
    await serve(app, listener, stop=stop, on_started=lambda: print(port, flush=True))
    for task in (watching, clearing):
        task.cancel()


async def _clear(bank: Any) -> None:
    """What stands for the store and the bus keeps everything for ever, which is no part of what is measured."""
    while True:
        await asyncio.sleep(0.05)
        for kept in (bank.bus.events, bank.store.records, bank.store.options, bank.store.answers):
            kept.clear()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
