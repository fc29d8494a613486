"""Who reads the log of `loadtests.bench_ingest`: state builders of this product, a plain consumer, and Quix Streams.

Each contestant is one process, from its first batch to its last; joining a group is not counted. Its processor time is
its own; what it makes the store work stands beside it, and what it makes the broker work does not.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from event_schemas.topics import ALL_TOPICS, TRANSACTIONS
from loadtests.ingest_log import PARTITIONS, features_of, publish, transactions
from loadtests.peers_installed import installed_peer
from loadtests.server_processes import processor_seconds
from services.adapters.embedded_servers import EmbeddedServers, die_with_parent
from services.adapters.kafka_topics import ensure_topics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.commands.state_builder import PATIENT
from services.settings import Settings

ROOT = Path(__file__).parents[1]
DEMO_BANK = str(ROOT / "deploy" / "strategies" / "demo_bank")
OURS = {
    "hourly": "one count and one sum an hour",
    "hundred": "100 windowed aggregates",
    "windowed": "120 windowed aggregates",
    DEMO_BANK: "the demo bank",
}
QUIX = ROOT / "loadtests" / "peers" / "quix_ingest.py"
QUIX_LIBRARIES = ("quixstreams", "confluent-kafka", "rocksdict", "orjson")
SLOWER = 200
"""What takes much longer is given a part of the events: an event of windows that overlap is 127 windows brought up to
date."""
EXACT, TWICE = "each event exactly once", "doubles on a crash"
_LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: events taken in a time, the processor time of its processes, and the store's meanwhile."""

    events: float
    wall: float
    processor: float
    store: float = 0.0


@dataclass(frozen=True, slots=True)
class Log:
    """Running servers with the events in them. `ends` are the next offsets of the partitions; `transactional` says
    whether the broker knows transactions."""

    settings: Settings
    environment: Mapping[str, str]
    ends: Mapping[int, int]
    transactional: bool

    @property
    def events(self) -> int:
        """How many there are."""
        return sum(self.ends.values())


Run = Callable[[str], Awaitable[Sample]]
Contestants = dict[str, tuple[str, str, Run]]
"""By a short key: name, guarantee, and how to run it."""


@asynccontextmanager
async def log_of(events: int, customers: int, kafka: str | None) -> AsyncIterator[Log]:
    """The embedded servers, or the Apache Kafka at an address with an embedded Valkey, with the events published."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServers.start(Path(folder)) as servers:
            settings = settings_on(servers, kafka)
            await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
            ends = await publish(settings, transactions(events, customers))
            yield Log(settings, environment_of(settings), ends, kafka is not None)


def settings_on(servers: EmbeddedServers, kafka: str | None) -> Settings:
    """Of a state builder on these servers."""
    return Settings(
        kafka_bootstrap_servers=kafka or servers.bootstrap_servers,
        kafka_idempotence=kafka is not None,
        kafka_session_timeout_ms=6_000,
        redis_url=servers.redis_url,
        clock="events",
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The same for a process of its own."""
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": str(settings.kafka_idempotence).lower(),
        "KAIROS_KAFKA_SESSION_TIMEOUT_MS": str(settings.kafka_session_timeout_ms),
        "KAIROS_REDIS_URL": settings.redis_url,
        "KAIROS_CLOCK": settings.clock,
    }


def contestants(log: Log) -> Contestants:
    """All that are installed and that the broker suits."""

    def ours(what: str, workers: int) -> Run:
        # Different aggregates may be kept in the same way: what is told apart by name only has a layout of its own.
        return lambda run: _built(log, what, f"{Path(what).stem}_{run}_{workers}", workers)

    found: Contestants = {what: (f"Kairos: {name}", EXACT, ours(what, 1)) for what, name in OURS.items()}
    found["two"] = ("Kairos, two workers: 120 windowed aggregates", EXACT, ours("windowed", 2))
    found["plain"] = (
        "plain consumer: one count and one sum an hour",
        TWICE,
        lambda run: _child(log, (sys.executable, "-m", "loadtests.plain_consumer", str(log.events), run)),
    )
    return found | _quix(log)


def _quix(log: Log) -> Contestants:
    peer = installed_peer("quixstreams", QUIX_LIBRARIES)
    if peer is None:
        return {}

    def at(guarantee: str, work: str, share: int = 1) -> Run:
        command = (peer.python, str(QUIX), log.settings.kafka_bootstrap_servers, TRANSACTIONS, str(log.events // share))
        return lambda run: _child(log, (*command, f"{work}-{guarantee}-{run}", guarantee, work))

    hourly, windows = "Quix Streams: one count and one sum an hour", "Quix Streams: 96 windowed aggregates, its windows"
    found: Contestants = {"quix": (hourly, "at least once", at("at-least-once", "hourly"))}
    if not log.transactional:
        print(
            "Quix Streams exactly-once is left out: the embedded broker has no transactions (--kafka, or "
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS of an Apache Kafka)",
            file=sys.stderr,
        )
        return found
    return found | {
        "quix_exactly": (hourly, "exactly once", at("exactly-once", "hourly")),
        "quix_windows": (windows, "exactly once", at("exactly-once", "windows", SLOWER)),
        "quix_days": ("Quix Streams: totals of days", "exactly once", at("exactly-once", "days")),
    }


async def _built(log: Log, what: str, run: str, workers: int) -> Sample:
    """State builders as child processes, from the first record they applied to the last."""
    features = features_of(what, run)
    command = (sys.executable, "-m", "loadtests.ingest_worker", what, "--run", run)
    async with RedisClient.open(log.settings.redis_url, limits=PATIENT) as client:
        held = held_by(client, log.settings.namespace, features.layout)
        async with processes([command] * workers, log.environment) as children:
            pids = [child.pid for child in children]
            first = await until(held, lambda count: count > 0, children)
            if first >= log.events:
                raise RuntimeError(f"{what}: the log was read before it could be looked at: more events are needed")
            began, spent = time.perf_counter(), sum(map(processor_seconds, pids))
            stored = await store_seconds(client)
            await until(held, lambda count: count >= log.events, children)
            wall, processor = time.perf_counter() - began, sum(map(processor_seconds, pids)) - spent
            return Sample(log.events - first, wall, processor, await store_seconds(client) - stored)


def held_by(client: RedisClient, namespace: str, layout: str) -> Callable[[], Awaitable[int]]:
    """How many transactions the states of a layout hold."""
    progress = RedisKeys(namespace, layout).progress
    fields = [f"{TRANSACTIONS}/{partition}" for partition in range(PARTITIONS)]

    async def held() -> int:
        values = await client.execute("HMGET", progress, *fields)
        assert isinstance(values, list)
        return sum(int(value) for value in values if isinstance(value, bytes))

    return held


async def store_seconds(client: RedisClient) -> float:
    """Processor time of the store so far."""
    told = await client.execute("INFO", "cpu")
    assert isinstance(told, bytes)
    found = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


async def until(
    held: Callable[[], Awaitable[int]], reached: Callable[[int], bool], children: Sequence[asyncio.subprocess.Process]
) -> int:
    """What is held as soon as it reaches that. Raises RuntimeError when a child ends before, TimeoutError."""
    async with asyncio.timeout(_LONGEST_SECONDS):
        while not reached(count := await held()):
            if any(child.returncode is not None for child in children):
                raise RuntimeError("a state builder ended before it had read the log")
            await asyncio.sleep(0.005)
    return count


@asynccontextmanager
async def processes(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str]
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Running side by side, told to end behind the block."""
    children = [
        await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **environment}, cwd=ROOT, preexec_fn=die_with_parent
        )
        for command in commands
    ]
    try:
        yield children
    finally:
        for child in children:
            if child.returncode is None:
                child.terminate()
        await asyncio.gather(*(child.wait() for child in children))


async def _child(log: Log, command: Sequence[str]) -> Sample:
    """A contestant that measures itself and prints what it found as one line of JSON."""
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **log.environment},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    try:
        async with RedisClient.open(log.settings.redis_url, limits=PATIENT) as client:
            stored = await store_seconds(client)
            output, _ = await asyncio.wait_for(child.communicate(), _LONGEST_SECONDS)
            stored = await store_seconds(client) - stored
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise RuntimeError(f"{command[1]} ended with status {child.returncode}")
    found = json.loads(output.decode().strip().splitlines()[-1])
    return Sample(found["events"], found["wall"], found["processor"], stored)
