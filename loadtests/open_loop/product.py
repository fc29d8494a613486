"""The product, started for a run of its own: Valkey, a broker, one API process on the first processor, everything else
on the second. 1,000 offers, of which the rules leave 50 to be scored by 200 trees (`loadtests.bench_world`).

With it, where wanted, the naive application on the same model, customers and processor, and a state builder.
"""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from loadtests.bench_world import ATTRIBUTES, World, build_world, candidate_rows, fill_store, offer_names, promote_model
from loadtests.server_processes import processors, running
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.role_processes import RoleProcess
from services.bootstrap import load_strategy, open_publisher
from services.commands import topics
from services.settings import read_settings

CUSTOMERS = 2_000
REFUSED = 950
TREES = 200
API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What runs. `watched` are its processes by name; `environment` is how others reach its bus and store."""

    port: int
    environment: Mapping[str, str]
    watched: dict[str, int]
    customers: int = CUSTOMERS
    naive_port: int | None = None
    others: tuple[int, ...] = field(default_factory=lambda: tuple(processors()[1]))
    """Processors for the generator."""


@asynccontextmanager
async def own_product(
    *, naive: bool = False, state_builder: bool = False, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Product]:
    """The product, ready and warm; `settings` are further `KAIROS_…` of the API."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="kairos-load-")))
        world = build_world(folder, trees=TREES, customers=CUSTOMERS, refused=REFUSED, shared=True)
        servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
        environment = {**_environment(servers, world), **(settings or {})}
        await _filled(servers, environment, world)
        port = int(environment["KAIROS_PORT"])
        watched = {"valkey": servers.valkey.pid, "broker": servers.broker.pid}
        for pid in watched.values():
            _keep_on(pid, processors()[1])
        command = [sys.executable, "-m", "services", "api"]
        watched[API] = stack.enter_context(running(command, environment, f"http://127.0.0.1:{port}/readyz"))
        naive_port = None
        if naive:
            naive_port = free_port()
            watched["naive"] = stack.enter_context(_naive(servers, world, naive_port))
        if state_builder:
            watched["state-builder"] = await stack.enter_async_context(_state_builder(environment, folder))
        yield Product(port=port, environment=environment, watched=watched, naive_port=naive_port)


def _environment(servers: EmbeddedServers, world: World) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_PARTITIONS": "4",
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "6000",
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(world.strategy),
        "KAIROS_MODEL_PATH": str(world.model_root),
        "KAIROS_PORT": str(free_port()),
        "KAIROS_LOG_LEVEL": "WARNING",
    }


async def _filled(servers: EmbeddedServers, environment: Mapping[str, str], world: World) -> None:
    settings = read_settings(environment)
    await topics.create(settings)
    await fill_store(servers.redis_url, load_strategy(settings).features, world)
    async with open_publisher(settings) as publisher:
        await promote_model(publisher, world)


def _naive(servers: EmbeddedServers, world: World, port: int) -> AbstractContextManager[int]:
    baseline = {
        "redis_url": servers.redis_url,
        "model_file": str(world.model_file),
        "columns": ATTRIBUTES,
        "candidates": candidate_rows(),
        "offers": offer_names(),
    }
    command = [sys.executable, "-m", "uvicorn", "loadtests.baseline_app:app", "--port", str(port)]
    command += ["--log-level", "warning", "--no-access-log"]
    environment = {"BASELINE": orjson.dumps(baseline).decode()}
    return running(command, environment, f"http://127.0.0.1:{port}/openapi.json")


@asynccontextmanager
async def _state_builder(environment: Mapping[str, str], folder: Path) -> AsyncIterator[int]:
    role = RoleProcess(arguments=["state-builder"], environment=environment, log=folder / "state-builder.log")
    await role.start()
    try:
        assert role.process is not None
        _keep_on(role.process.pid, processors()[1])
        yield role.process.pid
    finally:
        await role.stop()


def _keep_on(pid: int, where: list[int]) -> None:
    if where:
        os.sched_setaffinity(pid, where)
