"""How fast events become state, each exactly once, beside what others do with the same log in the same run.

python -m loadtests.bench_ingest                       the table; medians over repeats
python -m loadtests.bench_ingest --profile hourly      where a builder spends its time (hourly, windowed, a file)
python -m loadtests.bench_ingest --client              this store client beside redis.asyncio, 1, 16 and 64 callers

Every contestant is one process that reads 200,000 transactions of 5,000 customers, published beforehand, from the
embedded broker. The rate is wall time from its first batch to its last; joining a group is not counted. Quix Streams
runs in the environment of `make setup-peers`.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import uvloop

from event_schemas.topics import ALL_TOPICS, TRANSACTIONS
from loadtests.ingest_log import PARTITIONS, features_of, publish, transactions
from loadtests.store_clients import compare_clients
from services.adapters.embedded_servers import EmbeddedServers, die_with_parent
from services.adapters.kafka_topics import ensure_topics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.settings import Settings

ROOT = Path(__file__).parents[1]
DEMO_BANK = str(ROOT / "deploy" / "strategies" / "demo_bank")
OURS = {"hourly": "one count and one sum an hour", "windowed": "120 windowed aggregates", DEMO_BANK: "the demo bank"}
TARGETS = {"hourly": 40_000, "windowed": 20_000}
"""Events a second of one state builder."""
QUIX = ROOT / "loadtests" / "peers" / "quix_hours.py"
_PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
_LONGEST_SECONDS = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: events taken in a time, and the processor time of its processes."""

    events: float
    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Medians of a contestant: events a wall second, and microseconds of processor an event."""

    name: str
    guarantee: str
    events_a_second: float
    processor_us: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Log:
    """Running servers with the events in them. `ends` are the next offsets of the partitions."""

    settings: Settings
    environment: Mapping[str, str]
    ends: Mapping[int, int]

    @property
    def events(self) -> int:
        """How many there are."""
        return sum(self.ends.values())


def main() -> int:
    """Exit status 1 below a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="only contestants whose name begins so")
    parser.add_argument("--profile", metavar="FEATURES")
    parser.add_argument("--client", action="store_true")
    args = parser.parse_args()
    if args.client:
        uvloop.run(compare_clients())
        return 0
    if args.profile:
        uvloop.run(profile(args.profile, args.events, args.customers))
        return 0
    rates = uvloop.run(measure(args.events, args.customers, args.repeats, only=args.only))
    print_table(rates, args.events, args.customers, args.repeats)
    return 0 if all(rates[what].events_a_second >= target for what, target in TARGETS.items() if what in rates) else 1


def print_table(rates: Mapping[str, Rate], events: int, customers: int, repeats: int) -> None:
    """One line a contestant, and which targets hold."""
    print(f"{events:,} events of {customers:,} customers, medians of {repeats} (lowest to highest)")
    for what, rate in rates.items():
        verdict = ""
        if (target := TARGETS.get(what)) is not None:
            verdict = f"target {target:,}: {'ok' if rate.events_a_second >= target else 'MISSED'}"
        print(
            f"{rate.name:46} {rate.events_a_second:9,.0f} events/s ({rate.lowest:,.0f} to {rate.highest:,.0f}), "
            f"{rate.processor_us:5.1f} us of processor an event; {rate.guarantee}  {verdict}"
        )
    if "windowed" in rates and "two" in rates:
        print(f"two workers do {rates['two'].events_a_second / rates['windowed'].events_a_second:.2f} times one")


async def measure(events: int, customers: int, repeats: int, *, only: str | None = None) -> dict[str, Rate]:
    """Every contestant over one log, taken in turn `repeats` times so that all meet the machine in the same moods."""
    async with _log_of(events, customers) as log:
        contestants = {
            what: (name, guarantee, run)
            for what, (name, guarantee, run) in _contestants(log).items()
            if only is None or name.startswith(only)
        }
        samples: dict[str, list[Sample]] = {what: [] for what in contestants}
        for repeat in range(repeats):
            for what, (name, _, run) in contestants.items():
                samples[what].append(await run(f"{repeat}"))
                print(f"… {name}: {_rate(samples[what][-1]):,.0f} events/s", file=sys.stderr, flush=True)
        return {what: _summary(*contestants[what][:2], found) for what, found in samples.items()}


Run = Callable[[str], Awaitable[Sample]]


def _contestants(log: Log) -> dict[str, tuple[str, str, Run]]:
    """By a short key: name, guarantee, and how to run it."""
    exact = "each event exactly once"

    def ours(what: str, workers: int) -> Run:
        return lambda run: _built(log, what, f"{run}_{workers}", workers)

    found: dict[str, tuple[str, str, Run]] = {
        what: (f"Kairos: {name}", exact, ours(what, 1)) for what, name in OURS.items()
    }
    found["two"] = ("Kairos, two workers: 120 windowed aggregates", exact, ours("windowed", 2))
    found["plain"] = (
        "plain consumer: one count and one sum an hour",
        "doubles on a crash",
        lambda run: _child(log, (sys.executable, "-m", "loadtests.plain_consumer", str(log.events), run)),
    )
    return found | _quix(log)


def _quix(log: Log) -> dict[str, tuple[str, str, Run]]:
    python = next((p for p in (sys.executable, str(_PEERS_PYTHON)) if _has_quix(p)), None)
    if python is None:
        print("Quix Streams is skipped: quixstreams is not installed here nor in .venv-peers (make setup-peers)")
        return {}

    def at(guarantee: str, bootstrap: str) -> Run:
        command = (python, str(QUIX), bootstrap, TRANSACTIONS, str(log.events))
        return lambda run: _child(log, (*command, f"{guarantee}-{run}", guarantee))

    name = "Quix Streams: one count and one sum an hour"
    found = {"quix": (name, "at least once", at("at-least-once", log.settings.kafka_bootstrap_servers))}
    if "KAIROS_KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        found["quix_exactly"] = (name, "exactly once", at("exactly-once", log.settings.kafka_bootstrap_servers))
    else:
        print(
            "Quix Streams exactly-once is skipped: it needs Kafka transactions, which the embedded broker lacks; "
            "point KAIROS_KAFKA_BOOTSTRAP_SERVERS at an Apache Kafka"
        )
    return found


def _has_quix(python: str) -> bool:
    if python == sys.executable:
        return find_spec("quixstreams") is not None
    return any(Path(python).parents[1].glob("lib/python*/site-packages/quixstreams"))


@asynccontextmanager
async def _log_of(events: int, customers: int) -> AsyncIterator[Log]:
    """The embedded servers, or a given Kafka with an embedded Valkey, with the events published."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServers.start(Path(folder)) as servers:
            bootstrap = os.environ.get("KAIROS_KAFKA_BOOTSTRAP_SERVERS")
            settings = Settings(
                kafka_bootstrap_servers=bootstrap or servers.bootstrap_servers,
                kafka_idempotence=bootstrap is not None,
                kafka_session_timeout_ms=6_000,
                redis_url=servers.redis_url,
                clock="events",
            )
            environment = {
                "KAIROS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
                "KAIROS_KAFKA_IDEMPOTENCE": str(settings.kafka_idempotence).lower(),
                "KAIROS_KAFKA_SESSION_TIMEOUT_MS": str(settings.kafka_session_timeout_ms),
                "KAIROS_REDIS_URL": settings.redis_url,
                "KAIROS_CLOCK": settings.clock,
            }
            await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
            yield Log(settings, environment, await publish(settings, transactions(events, customers)))


async def _built(log: Log, what: str, run: str, workers: int) -> Sample:
    """State builders as child processes, from the first record they applied to the last."""
    features = features_of(what, run)
    progress = RedisKeys(log.settings.namespace, features.layout).progress
    fields = [f"{TRANSACTIONS}/{partition}" for partition in log.ends]
    command = (sys.executable, "-m", "loadtests.ingest_worker", what, "--run", run)
    async with RedisClient.open(log.settings.redis_url) as client:

        async def held() -> int:
            values = await client.execute("HMGET", progress, *fields)
            assert isinstance(values, list)
            return sum(int(value) for value in values if isinstance(value, bytes))

        async with _running([command] * workers, log.environment) as children:
            pids = [child.pid for child in children]
            first = await _until(held, lambda count: count > 0, children)
            began, spent = time.perf_counter(), _processor_seconds(pids)
            await _until(held, lambda count: count >= log.events, children)
            return Sample(log.events - first, time.perf_counter() - began, _processor_seconds(pids) - spent)


async def _until(
    held: Callable[[], Awaitable[int]], reached: Callable[[int], bool], children: Sequence[asyncio.subprocess.Process]
) -> int:
    """What is held as soon as it reaches that. Raises RuntimeError when a child ends before."""
    async with asyncio.timeout(_LONGEST_SECONDS):
        while not reached(count := await held()):
            if any(child.returncode is not None for child in children):
                raise RuntimeError("a state builder ended before it had read the log")
            await asyncio.sleep(0.005)
    return count


@asynccontextmanager
async def _running(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str]
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
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
        output, _ = await asyncio.wait_for(child.communicate(), _LONGEST_SECONDS)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise RuntimeError(f"{command[1]} ended with status {child.returncode}")
    found = json.loads(output.decode().strip().splitlines()[-1])
    return Sample(found["events"], found["wall"], found["processor"])


def _processor_seconds(pids: Sequence[int]) -> float:
    """User and system time so far (Linux)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


async def profile(what: str, events: int, customers: int) -> None:
    """One state builder under cProfile; the profile is printed when it stops."""
    async with _log_of(events, customers) as log:
        progress = RedisKeys(log.settings.namespace, features_of(what).layout).progress
        command = (sys.executable, "-m", "loadtests.ingest_worker", what, "--profile")
        async with RedisClient.open(log.settings.redis_url) as client, _running([command], log.environment) as children:

            async def held() -> int:
                values = await client.execute("HVALS", progress)
                assert isinstance(values, list)
                return sum(int(value) for value in values if isinstance(value, bytes))

            await _until(held, lambda count: count >= log.events, children)


def _rate(sample: Sample) -> float:
    return sample.events / sample.wall


def _summary(name: str, guarantee: str, samples: Sequence[Sample]) -> Rate:
    rates = [_rate(sample) for sample in samples]
    return Rate(
        name=name,
        guarantee=guarantee,
        events_a_second=statistics.median(rates),
        processor_us=statistics.median(sample.processor / sample.events * 1e6 for sample in samples),
        lowest=min(rates),
        highest=max(rates),
    )


if __name__ == "__main__":
    raise SystemExit(main())
