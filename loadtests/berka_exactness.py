"""Online equals offline: replays the Berka bank through real servers and a state builder, and compares every online
aggregate of every account with pandas on the raw files, optionally while the state builder is killed again and again.

    python -m loadtests.berka_exactness --data ../shared/data/berka --kills 20
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import monotonic

from loadtests.berka_oracle import BerkaOracle, Values, end_of_day_ms
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.role_processes import RoleProcess
from services.bootstrap import load_strategy, open_publisher
from services.commands import topics
from services.settings import Settings, read_settings
from services.simulation.berka_events import berka_events
from services.simulation.replay import Replayer, ReplayProgress
from services.simulation.snapshots import StateReader

STRATEGY = Path(__file__).parents[1] / "deploy" / "strategies" / "berka"
FULL_DATES = (date(1993, 6, 30), date(1993, 12, 31), date(1994, 3, 30))
SECONDS_BETWEEN_KILLS = (1.0, 5.0)
"""A takeover takes two to three seconds, so some kills fall into it and some into the work."""
CATCH_UP_SECONDS = 120.0
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """What was compared and what differed."""

    events: int
    accounts: int
    aggregates: int
    compared: int
    differences: tuple[str, ...]
    kills: int
    crashes: int
    """Ends of the state builder that were not kills."""
    seconds: float

    def summary(self) -> str:
        """One line with every figure."""
        return (
            f"{self.events:,} events, {self.accounts:,} accounts, {self.aggregates} aggregates, "
            f"{self.compared:,} values compared, {len(self.differences)} differences, {self.kills} kills, "
            f"{self.crashes} crashes, "
            f"{self.seconds:.1f} s"
        )


@dataclass(slots=True)
class Bench:
    """Running servers, one state builder as a child process, and the way to read what it wrote."""

    settings: Settings
    builder: RoleProcess
    reader: StateReader
    kills: int = 0

    async def kill_and_restart(self, draws: random.Random, times: int) -> None:
        """SIGKILL at random moments; each time a new process takes over."""
        while self.kills < times:
            await asyncio.sleep(draws.uniform(*SECONDS_BETWEEN_KILLS))
            process = self.builder.process
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                self.kills += 1
            await _until_restarted(self.builder, process)

    @property
    def crashes(self) -> int:
        """How often the state builder ended without having been killed."""
        return self.builder.restarts - self.kills


async def measure(data: Path, *, kills: int = 0, seed: int = 1, dates: Sequence[date] = FULL_DATES) -> Exactness:
    """Replays the whole log and compares at the end of each date. With kills the replay is spread over their time."""
    started = monotonic()
    oracle = BerkaOracle(data, STRATEGY)
    events = berka_events(data)
    differences: list[str] = []
    compared = aggregates = 0
    async with _bench() as bench, open_publisher(bench.settings) as publisher:
        replayer = Replayer(
            publisher=publisher,
            progress=ReplayProgress("berka"),
            speed=_speed(events[0].at_ms, events[-1].at_ms, kills),
        )
        killing = asyncio.create_task(bench.kill_and_restart(random.Random(seed), kills))
        for day in sorted(dates):
            await replayer.publish_until(events, end_of_day_ms(day))
            if day == max(dates):
                await killing
                if bench.crashes:
                    print(bench.builder.log_tail(), file=sys.stderr)
            await bench.reader.wait_until_applied(replayer.positions, CATCH_UP_SECONDS)
            accounts = oracle.customers(day)
            online = await bench.reader.attributes([f"retail:{a}" for a in accounts], end_of_day_ms(day))
            offline = oracle.values(day)
            aggregates = len(offline)
            compared += len(accounts) * len(offline)
            differences += _differences(day, accounts, online, offline)
        return Exactness(
            events=replayer.progress.acknowledged,
            accounts=len(accounts),
            aggregates=aggregates,
            compared=compared,
            differences=tuple(differences),
            kills=bench.kills,
            crashes=bench.crashes,
            seconds=monotonic() - started,
        )


@asynccontextmanager
async def _bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kairos-berka-")))
        servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "KAIROS_KAFKA_PARTITIONS": "4",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(STRATEGY),
            "KAIROS_CLOCK": "events",
            "KAIROS_NAMESPACE": "berka",
            "KAIROS_BATCH_RECORDS": "1000",
        }
        settings = read_settings(environment)
        await topics.create(settings)
        features = load_strategy(settings).features
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        store = RedisStateStore(client, RedisKeys(settings.namespace, features.layout))
        builder = RoleProcess(arguments=["state-builder"], environment=environment, log=folder / "state-builder.log")
        await builder.start()
        stack.push_async_callback(builder.stop)
        yield Bench(settings, builder, StateReader(store=store, features=features))


async def _until_restarted(builder: RoleProcess, old: object) -> None:
    while builder.process is old:  # noqa: ASYNC110 - the supervisor has no event for it
        await asyncio.sleep(0.02)


def _speed(first_ms: int, last_ms: int, kills: int) -> float | None:
    """So that events keep coming until the last kill; None is at full speed."""
    if not kills:
        return None
    return (last_ms - first_ms) / 1000 / (kills * sum(SECONDS_BETWEEN_KILLS) / 2)


def _differences(
    day: date, accounts: Sequence[str], online: Mapping[str, Mapping[str, object]], offline: Values
) -> list[str]:
    found: list[str] = []
    for account in accounts:
        served = online.get(f"retail:{account}", {})
        for name, values in offline.items():
            if served.get(name) != values.get(account):
                found.append(f"{day} {account} {name}: online {served.get(name)!r}, offline {values.get(account)!r}")
    return found


def main() -> int:
    """Prints the figures; status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with suppress(KeyboardInterrupt):
        dates = FULL_DATES if not args.kills else FULL_DATES[-1:]
        result = asyncio.run(measure(args.data, kills=args.kills, seed=args.seed, dates=dates))
        print(result.summary())
        for line in result.differences[:SHOWN]:
            print("  " + line, file=sys.stderr)
        return 1 if result.differences or result.kills < args.kills else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
