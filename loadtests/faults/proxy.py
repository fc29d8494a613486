"""A TCP proxy that spoils a network: latency, jitter, black hole, refusal, reset, slow bytes; and it can change sides.

    python -m loadtests.faults.proxy

A process of its own, so that what it delays is not delayed by whoever measures. Driven by lines of JSON on standard
input, each answered by one line: `{"listen": 0, "target": 6379}` opens a route and answers its port;
`{"port": 41000, "condition": {"latency_s": 0.05}}` spoils it, for connections that stand as well;
`{"port": 41000, "target": 6380}` sends new connections elsewhere and cuts those that stand;
`{"port": 41000, "cut": true}` resets what stands;
`{"port": 41000, "hold_after": "text", "within_s": 5}` lets the next bytes with that text through to the target, holds
the answers of their connection from then on, and answers port 0 where no such bytes came in time.
"""

import asyncio
import json
import random
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from services.adapters.embedded_servers import die_with_parent

CHUNK_BYTES = 65_536
SLICE_S = 0.05
"""Slow bytes trickle in slices of so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What befalls bytes on their way, in both directions. `latency_s` delays each chunk, plus up to `jitter_s`;
    `bytes_per_s` lets no more through (0: all); `black_hole` swallows everything; `refuse` closes new connections at
    once."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: int = 0
    black_hole: bool = False
    refuse: bool = False


SOUND = Condition()


@dataclass(slots=True)
class Route:
    """One listening port and where its connections go."""

    target: int
    condition: Condition = SOUND
    draw: random.Random = field(default_factory=lambda: random.Random(1))
    standing: set[asyncio.StreamWriter] = field(default_factory=set)
    awaited: bytes = b""
    """After these bytes on their way to the target the answers of their connection are held."""
    holding: asyncio.Event = field(default_factory=asyncio.Event)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side ends."""
        if self.condition.refuse:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.standing |= {writer, far_writer}
        answering = asyncio.Event()
        answering.set()
        try:
            there = asyncio.create_task(self._carry(reader, far_writer, answering))
            back = asyncio.create_task(self._carry_back(far_reader, writer, answering))
            _, pending = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
        finally:
            for one in (writer, far_writer):
                self.standing.discard(one)
                one.transport.abort()

    def cut(self) -> None:
        """Resets everything that stands."""
        for writer in list(self.standing):
            raw = writer.get_extra_info("socket")
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def hold_after(self, text: bytes, within_s: float) -> bool:
        """Whether bytes with that text were let through in time; the answers of their connection do not come then."""
        self.holding.clear()
        self.awaited = text
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.holding.wait()
        self.awaited = b""
        return self.holding.is_set()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: asyncio.Event
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while chunk := await reader.read(CHUNK_BYTES):
                is_awaited = self.awaited != b"" and self.awaited in chunk
                if is_awaited:
                    self.awaited = b""
                    answering.clear()
                await self._spoil(chunk, writer)
                if is_awaited:
                    self.holding.set()

    async def _carry_back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answering: asyncio.Event
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while chunk := await reader.read(CHUNK_BYTES):
                await answering.wait()
                await self._spoil(chunk, writer)

    async def _spoil(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        while self.condition.black_hole:  # noqa: ASYNC110 - the condition is a plain value
            await asyncio.sleep(SLICE_S)  # bytes that are held may come when the hole closes, as packets do
        if delay := self.condition.latency_s + self.draw.uniform(0, self.condition.jitter_s):
            await asyncio.sleep(delay)
        while chunk:
            most = max(1, int(self.condition.bytes_per_s * SLICE_S)) if self.condition.bytes_per_s else len(chunk)
            writer.write(chunk[:most])
            await writer.drain()
            chunk = chunk[most:]
            if chunk:
                await asyncio.sleep(SLICE_S)


class ProxyProcess:
    """The proxy as its driver sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    @staticmethod
    @asynccontextmanager
    async def start() -> "AsyncIterator[ProxyProcess]":
        """Runs until left."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtests.faults.proxy"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        try:
            yield ProxyProcess(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def open(self, target: int, listen: int = 0) -> int:
        """The port of a new route to that port."""
        return int((await self._ask({"listen": listen, "target": target}))["port"])

    async def spoil(self, port: int, condition: Condition) -> None:
        """From now on, for connections that stand as well."""
        await self._ask({"port": port, "condition": asdict(condition)})

    async def cut(self, port: int) -> None:
        """Resets every connection of the route."""
        await self._ask({"port": port, "cut": True})

    async def hold_after(self, port: int, text: str, within_s: float) -> bool:
        """Waits for bytes with that text on their way to the target, and holds the answers of their connection for as
        long as it stands; whether such bytes came in time."""
        return int((await self._ask({"port": port, "hold_after": text, "within_s": within_s}))["port"]) == port

    async def retarget(self, port: int, target: int) -> None:
        """New connections go there; those that stand are reset."""
        await self._ask({"port": port, "target": target})

    async def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        reading, writing = self._process.stdout, self._process.stdin
        if reading is None or writing is None:
            raise RuntimeError("the proxy was started without pipes")
        async with self._turn:
            writing.write(json.dumps(command).encode() + b"\n")
            await writing.drain()
            line = await reading.readline()
        if not line:
            raise RuntimeError("the proxy has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Proxy:
    def __init__(self) -> None:
        self._routes: dict[int, Route] = {}
        self._servers: list[asyncio.Server] = []

    async def obey(self, command: dict[str, Any]) -> int:
        """Carries out one command; the port it was about, or 0 where what it waits for did not come."""
        if "listen" in command:
            route = Route(command["target"])
            server = await asyncio.start_server(route.connected, "127.0.0.1", command["listen"])
            self._servers.append(server)
            port = int(server.sockets[0].getsockname()[1])
            self._routes[port] = route
            return port
        route = self._routes[command["port"]]
        if "hold_after" in command:
            came = await route.hold_after(command["hold_after"].encode(), command["within_s"])
            return int(command["port"]) if came else 0
        if "condition" in command:
            route.condition = Condition(**command["condition"])
        if "target" in command:
            route.target = command["target"]
        if "target" in command or command.get("cut"):
            route.cut()
        return int(command["port"])


async def _serve() -> None:
    proxy, reader, loop = _Proxy(), asyncio.StreamReader(), asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        port = await proxy.obey(json.loads(line))
        sys.stdout.write(json.dumps({"port": port}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve())
