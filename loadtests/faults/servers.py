"""The store and the broker behind their proxies: killed, paused, brought back with or without what they held."""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from loadtests.faults.proxy import SOUND, ProxyProcess
from services.adapters.embedded_servers import (
    EmbeddedServer,
    die_with_parent,
    embedded_broker,
    embedded_valkey,
    free_port,
    port_answers,
    stop_process,
)
from services.adapters.redis_client import ClientLimits, RedisClient
from services.ports import StoreUnavailable

PATIENT = ClientLimits(timeout_s=5.0)
WAIT_S = 60.0
KAFKA_START_S = 240.0
"""A virtual machine that starts on a machine that is busy."""
_POLL_S = 0.05


class Store:
    """One Valkey with an append-only file, reached through a route of the proxy."""

    def __init__(self, folder: Path, proxy: ProxyProcess, stack: AsyncExitStack) -> None:
        self._folder, self._proxy, self._stack = folder, proxy, stack
        self._server: EmbeddedServer | None = None
        self._lives = 0
        self.port = 0
        """Of the proxy's route."""

    async def start(self) -> None:
        """Starts it with its file, and its route."""
        self._server = await self._new(keep=False)
        self.port = await self._proxy.open(self._server.port)

    @property
    def server(self) -> EmbeddedServer:
        """The one that serves now."""
        if self._server is None:
            raise RuntimeError("the store was not started")
        return self._server

    @property
    def url(self) -> str:
        """Through the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def signal(self, number: signal.Signals) -> None:
        """To the server."""
        os.kill(self.server.pid, number)

    async def kill(self, *, keep: bool) -> None:
        """SIGKILL, and a new life: with what the file has (`keep`), or with nothing."""
        died = self.server
        self.signal(signal.SIGKILL)
        await died.process.wait()
        self._server = await self._new(keep=keep)
        await self._proxy.retarget(self.port, self._server.port)

    async def replica(self) -> EmbeddedServer:
        """Another server that has become a copy of this one."""
        copy = await self._new(keep=False)
        async with direct(copy) as client:
            await client.execute("REPLICAOF", "127.0.0.1", self.server.port)
            async with asyncio.timeout(WAIT_S):
                while not await _follows(client):  # noqa: ASYNC110 - it is only told when asked
                    await asyncio.sleep(_POLL_S)
        return copy

    async def fail_over(self, to: EmbeddedServer) -> None:
        """The other one is the store from now on; this one is gone."""
        died = self.server
        self.signal(signal.SIGKILL)
        await died.process.wait()
        self._server = to
        await self._proxy.retarget(self.port, to.port)

    async def execute(self, *command: str | int) -> object:
        """One command, past the proxy."""
        async with direct(self.server) as client:
            return await client.execute(*command)

    async def _new(self, *, keep: bool) -> EmbeddedServer:
        """A server of its own folder; with `keep` on that of the life before."""
        if not keep:
            self._lives += 1
        folder = self._folder / f"store-{self._lives}"
        folder.mkdir(parents=True, exist_ok=True)
        server = await self._stack.enter_async_context(embedded_valkey(folder, append_only=True))
        async with direct(server) as client, asyncio.timeout(WAIT_S):
            while True:
                try:
                    await client.ping()
                    await client.execute("DBSIZE")
                    return server
                except StoreUnavailable:
                    await asyncio.sleep(_POLL_S)  # it reads its file


@asynccontextmanager
async def direct(server: EmbeddedServer) -> AsyncIterator[RedisClient]:
    """A client of that very server."""
    async with RedisClient.open(f"redis://127.0.0.1:{server.port}/0", limits=PATIENT) as client:
        yield client


class Broker:
    """A broker behind a route of the proxy: the embedded one, which keeps its log in memory, so that it is paused and
    cut off but not killed; or Apache Kafka, which is killed as well."""

    def __init__(self, kind: str, folder: Path, proxy: ProxyProcess, stack: AsyncExitStack) -> None:
        self.kind = kind
        self._folder, self._proxy, self._stack = folder, proxy, stack
        self._process: asyncio.subprocess.Process | None = None
        self._inner = 0
        self.port = 0

    @property
    def is_durable(self) -> bool:
        """Whether it comes back with its log."""
        return self.kind == "kafka"

    @property
    def bootstrap_servers(self) -> str:
        """Through the proxy, by which it also names itself."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts it, with its route."""
        self._inner = free_port()
        self.port = await self._proxy.open(self._inner)
        if self.is_durable:
            await self._start_kafka()
            self._stack.push_async_callback(self._stop)
        else:
            entered = embedded_broker(self._folder, self._inner, advertised=self.port)
            self._process = (await self._stack.enter_async_context(entered)).process

    def signal(self, number: signal.Signals) -> None:
        """To the broker."""
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    async def kill(self) -> None:
        """SIGKILL, and back on the same log. For Apache Kafka alone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()
        await self._proxy.cut(self.port)
        await self._run_kafka()

    async def _start_kafka(self) -> None:
        from tests.real_servers import kafka_libraries

        java, controller = shutil.which("java"), free_port()
        if java is None:
            raise RuntimeError("Apache Kafka needs a Java runtime: install a JDK, or leave --broker kafka out")
        settings = self._folder / "kafka.properties"
        settings.write_text(_KAFKA.format(
            port=self._inner, advertised=self.port, controller=controller, log=self._folder / "kafka-log"
        ))  # fmt: skip
        self._java = [java, "-Xmx512m", "-cp", f"{await asyncio.to_thread(kafka_libraries)}/*"]
        self._settings = settings
        cluster = uuid.uuid4().bytes.hex()[:22]
        form = await asyncio.create_subprocess_exec(
            *(*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if await form.wait():
            raise RuntimeError("Apache Kafka's storage could not be made")
        await self._run_kafka()

    async def _run_kafka(self) -> None:
        with (self._folder / "kafka.out").open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._java, "kafka.Kafka", str(self._settings)),
                stdout=sink, stderr=sink, preexec_fn=die_with_parent, start_new_session=True,
            )  # fmt: skip
        async with asyncio.timeout(KAFKA_START_S):
            while not await port_answers(self._inner):
                if self._process.returncode is not None:
                    raise RuntimeError(f"Apache Kafka ended: {(self._folder / 'kafka.out').read_text()[-2000:]}")
                await asyncio.sleep(_POLL_S)

    async def _stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            await stop_process(self._process)


async def mend(proxy: ProxyProcess, *ports: int) -> None:
    """These routes carry as they should."""
    for port in ports:
        await proxy.spoil(port, SOUND)


async def _follows(client: RedisClient) -> bool:
    """Whether this server has become a copy."""
    told = await client.execute("INFO", "replication")
    return isinstance(told, bytes) and b"master_link_status:up" in told


_KAFKA = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""
