"""API nodes and state builders as processes of their own, to be restarted one by one while others serve."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx

from loadtests.balanced_client import BalancedClient
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.role_processes import RoleProcess
from services.commands import topics
from services.settings import Settings, read_settings

EXIT_SECONDS = 10.0
"""A role that was told to stop is gone within this time."""
READY_SECONDS = 180.0
"""Generous: a process that starts takes ten seconds of a core, and others may want it too."""


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart: who, how, and how long until the process was gone."""

    role: str
    by: str
    seconds: float
    status: int

    @property
    def is_clean(self) -> bool:
        """Killed is killed; told to stop, it ends by itself and soon."""
        return self.by == "SIGKILL" or (self.status == 0 and self.seconds <= EXIT_SECONDS)


@dataclass(slots=True)
class Cluster:
    """The running processes, on one store and one bus."""

    settings: Settings
    environment: Mapping[str, str]
    folder: Path
    stack: AsyncExitStack
    apis: dict[str, RoleProcess] = field(default_factory=dict)
    """By address."""
    builders: list[RoleProcess] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, strategy: Path) -> AsyncIterator["Cluster"]:
        """Servers with their topics; no role runs yet, all are stopped on leaving."""
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
            environment = _environment(servers, folder, strategy)
            settings = read_settings(environment)
            await topics.create(settings)
            yield cls(settings, environment, folder, stack)

    @property
    def roles(self) -> list[RoleProcess]:
        """All of them."""
        return [*self.apis.values(), *self.builders]

    @property
    def crashes(self) -> int:
        """How often one ended unasked."""
        return sum(role.restarts for role in self.roles) - len(self.restarts)

    async def start_api(self, more: Mapping[str, str] | None = None) -> str:
        """Starts a node; its address."""
        port = free_port()
        role = await self._start("api", {"KAIROS_PORT": str(port)} | dict(more or {}))
        address = f"http://127.0.0.1:{port}"
        self.apis[address] = role
        return address

    async def start_builder(self, more: Mapping[str, str] | None = None) -> RoleProcess:
        """Starts a state builder."""
        role = await self._start("state-builder", more or {})
        self.builders.append(role)
        return role

    async def restart(self, role: RoleProcess, by: signal.Signals) -> None:
        """Ends it, notes how that went, and returns when its successor has been started."""
        process = role.process
        assert process is not None
        began = monotonic()
        process.send_signal(by)
        status = await process.wait()
        self.restarts.append(Restart(role.name, by.name, monotonic() - began, status))
        while role.process is process:  # noqa: ASYNC110 - the supervisor has no event for it
            await asyncio.sleep(0.02)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Raises AssertionError with the ends of all logs when it never comes about."""
        deadline = monotonic() + READY_SECONDS
        while not holds():
            if monotonic() > deadline:
                tails = "\n".join(f"--- {role.name}\n{role.log_tail()}" for role in self.roles)
                raise AssertionError(f"it never came about: {what}\n{tails}")
            await asyncio.sleep(0.05)

    async def until_building(self, builder: RoleProcess, times: int = 1) -> None:
        """Returns once its processes have begun to build so often."""
        await self.until(lambda: times_begun(builder) >= times, "the builder builds")

    async def until_serving(self, client: BalancedClient) -> None:
        """Every node is ready, and its decisions stand on whole states."""
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as direct:
            for address in self.apis:
                await self.until_ready(client, address)
                await self._until_whole(direct, address)

    async def until_ready(self, client: BalancedClient, address: str) -> None:
        """The balancer sends to the node."""
        await self.until(lambda: client.is_ready(address), f"{address} is ready")

    async def _until_whole(self, direct: httpx.AsyncClient, address: str) -> None:
        body = {
            "customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner", "count": 1}],
            "timeout_ms": 1000, "dry_run": True,
        }  # fmt: skip
        deadline = monotonic() + READY_SECONDS
        while (await direct.post(f"{address}/v1/decisions", json=body)).json()["degraded"]:
            if monotonic() > deadline:
                raise AssertionError(f"the states of {address} never became whole")
            await asyncio.sleep(0.1)

    async def _start(self, name: str, more: Mapping[str, str]) -> RoleProcess:
        log = self.folder / f"{name}-{len(self.roles)}.log"
        role = RoleProcess(arguments=[name], environment={**self.environment, **more}, log=log)
        await role.start()
        self.stack.push_async_callback(role.stop)
        return role


def times_begun(builder: RoleProcess) -> int:
    """How often a builder has said that it builds."""
    return builder.log_tail(1_000_000).count("building states of layout")


def _environment(servers: EmbeddedServers, folder: Path, strategy: Path) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "KAIROS_KAFKA_PARTITIONS": "6",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(strategy),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_SNAPSHOT_PATH": str(folder / "snapshots"),
    }
