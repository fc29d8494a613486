"""Everything the Starbucks replay runs on: real servers, the roles as processes, and ways to see what they hold."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx
import pyarrow.parquet as pq

from models.decision_log.archive_files import archive_files
from services.adapters.embedded_servers import EmbeddedServers, die_with_parent, free_port
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.redis_client import RedisClient
from services.adapters.redis_clock import RedisClock
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.role_processes import RoleProcess
from services.bootstrap import LoadedStrategy, load_strategy, open_publisher
from services.commands import topics
from services.settings import Settings, read_settings
from services.simulation.snapshots import StateReader

STRATEGY = Path(__file__).parents[1] / "deploy" / "strategies" / "starbucks"
WINDOW_SECONDS = 72 * 3600
"""Responses count within three days: the wave of hour 336 has no more of the log behind it."""
PARTITIONS = 4
WAIT_SECONDS = 240.0


class MeasurementFailed(Exception):
    """Some part did not do what the measurement rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StarbucksDeployment:
    """A running deployment: state builder and archiver from the start, the API once asked for."""

    folder: Path
    environment: Mapping[str, str]
    settings: Settings
    loaded: LoadedStrategy
    store: RedisStateStore
    clock: RedisClock
    publisher: KafkaEventPublisher
    stack: AsyncExitStack
    roles: list[RoleProcess] = field(default_factory=list)

    @property
    def reader(self) -> StateReader:
        """The states as decisions read them."""
        return StateReader(store=self.store, features=self.loaded.features)

    @property
    def restarts(self) -> int:
        """How often a role died; none should."""
        return sum(role.restarts for role in self.roles)

    async def start_role(self, *arguments: str) -> RoleProcess:
        """Starts a role that ends with the deployment."""
        role = RoleProcess(arguments=arguments, environment=self.environment, log=self.folder / f"{arguments[0]}.log")
        await role.start()
        self.stack.push_async_callback(role.stop)
        self.roles.append(role)
        return role

    async def start_api(self) -> httpx.AsyncClient:
        """Starts the API, and answers a client once it is ready, models warm. Raises MeasurementFailed."""
        role = await self.start_role("api")
        url = f"http://127.0.0.1:{self.settings.port}"
        client = await self.stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30.0))
        deadline = monotonic() + WAIT_SECONDS
        while monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if (await client.get("/readyz")).status_code == httpx.codes.OK:
                    return client
            await asyncio.sleep(0.2)
        raise MeasurementFailed(f"the API is not ready\n{role.log_tail()}")

    async def command(self, *arguments: str) -> str:
        """Runs a `kairos` command and answers what it printed. Raises MeasurementFailed when it fails."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.environment},
            preexec_fn=die_with_parent,
        )
        printed, _ = await process.communicate()
        text = printed.decode(errors="replace")
        if process.returncode != 0:
            raise MeasurementFailed(f"kairos {' '.join(arguments)} ended with {process.returncode}:\n{text}")
        return text

    async def wait_until_archived(self, published: Mapping[str, int]) -> dict[str, int]:
        """Answers the records archived by topic once there are as many as were published.

        Raises MeasurementFailed when there are too few in time, or too many.
        """
        deadline = monotonic() + WAIT_SECONDS
        while True:
            archived = self.archived(list(published))
            if archived == dict(published):
                return archived
            if monotonic() > deadline or any(archived[topic] > published[topic] for topic in published):
                raise MeasurementFailed(f"archived {archived}, published {dict(published)}")
            await asyncio.sleep(0.5)

    def archived(self, wanted: Sequence[str]) -> dict[str, int]:
        """Records in the archive by topic."""
        root = self.settings.archive_path
        return {topic: sum(_rows(file.path) for file in archive_files(root, topic)) for topic in wanted}


@asynccontextmanager
async def starbucks_deployment(folder: Path) -> AsyncIterator[StarbucksDeployment]:
    """Servers, topics, a state builder and an archiver, all of this run's own."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
        environment = _environment(servers, folder)
        settings = read_settings(environment)
        await topics.create(settings)
        loaded = load_strategy(settings)
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        keys = RedisKeys(settings.namespace, loaded.features.layout)
        deployment = StarbucksDeployment(
            folder=folder,
            environment=environment,
            settings=settings,
            loaded=loaded,
            store=RedisStateStore(client, keys),
            clock=RedisClock(client, keys),
            publisher=await stack.enter_async_context(open_publisher(settings)),
            stack=stack,
        )
        await deployment.start_role("state-builder")
        await deployment.start_role("archiver")
        yield deployment


def _environment(servers: EmbeddedServers, folder: Path) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",  # the embedded broker speaks too old a form of it
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "KAIROS_KAFKA_PARTITIONS": str(PARTITIONS),
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_NAMESPACE": "starbucks",
        "KAIROS_STRATEGY_PATH": str(STRATEGY),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_ARCHIVE_FLUSH_SECONDS": "2",
        "KAIROS_PORT": str(free_port()),
        "KAIROS_CLOCK": "events",
        "KAIROS_ATTRIBUTION_SECONDS": str(WINDOW_SECONDS),
        "KAIROS_DECISION_TIMEOUT_MS": "1000",
        "KAIROS_LOG_LEVEL": "WARNING",
    }


def _rows(path: Path) -> int:
    """Those of a file that was just merged into another are counted at the next look."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        return 0
