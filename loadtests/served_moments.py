"""Online equals offline at random moments: every attribute as served beside a recomputation from the raw events.

    python -m loadtests.served_moments --data ../shared/data/berka --moments 5000

The log of a bank is replayed through the embedded broker to a state builder, a process of its own, and stopped at
random points. There the stored states of customers drawn at random are read, as of that moment or a later one before
anything else happens to them, and all their attributes compared with `feature_oracle`, which shares no code with the
engine. The strategies are the delivered ones with `every_aggregate` added. In the simulated bank events also arrive
late, in another order than they happened, and some twice.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from time import monotonic

from decision_engine.features.snapshot import read_snapshot
from decision_engine.identifiers import CustomerId
from loadtests.feature_oracle import FeatureOracle
from loadtests.moment_banks import Bank, berka_bank, berka_folder, demo_bank, with_every_aggregate
from loadtests.oracle_aggregates import About, NotComparable
from loadtests.oracle_events import History
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.role_processes import RoleProcess
from services.bootstrap import load_strategy, open_publisher
from services.commands import topics
from services.settings import Settings, read_settings
from services.simulation.cloud_events import TimedEvent
from services.simulation.replay import LatestPositions, Replayer, ReplayProgress
from services.simulation.snapshots import StateReader

CUSTOMERS_A_STOP = 5
SKIPPED_SHARE = 0.02
"""Of the log before the first stop, while hardly anything has happened."""
LATER_MS = 45 * 86_400_000
"""A moment lies at the most so long behind the last event."""
CATCH_UP_SECONDS = 120.0
TOLERANCE = 1e-9
SKETCH_ERROR = 0.25
"""Of counts beyond 256, which are estimates: over five standard errors of 4.6 percent."""
SHOWN = 20


@dataclass(slots=True, kw_only=True)
class Agreement:
    """What was compared and what differed."""

    bank: str
    moments: int = 0
    attributes: int = 0
    compared: int = 0
    estimated: int = 0
    """Counts beyond 256, compared within the error of their sketch."""
    undefined: int = 0
    """Attributes over more values than are told apart, which were not compared."""
    differences: list[str] = field(default_factory=list)
    differing: Counter[str] = field(default_factory=Counter)
    """How often each attribute differed."""
    seconds: float = 0.0

    def summary(self) -> str:
        """One line with every figure."""
        rest = f", {self.estimated:,} estimates within their error, {self.undefined:,} undefined" * bool(
            self.estimated or self.undefined
        )
        return (
            f"{self.bank}: {self.moments:,} moments, {self.attributes} attributes, {self.compared:,} values compared"
            f"{rest}, {len(self.differences)} differences, {self.seconds:.0f} s"
        )


async def measure(bank: Bank, moments: int, seed: int = 1, a_stop: int = CUSTOMERS_A_STOP) -> Agreement:
    """Replays the bank and compares at so many random moments."""
    started, draw = monotonic(), random.Random(seed)
    found = Agreement(bank=bank.name)
    with tempfile.TemporaryDirectory(prefix="kairos-moments-") as name:
        strategy = with_every_aggregate(bank, Path(name))
        comparison = Comparison(bank=bank, oracle=FeatureOracle(strategy), found=found, draw=draw)
        async with _serving(strategy, Path(name)) as (settings, reader), open_publisher(settings) as publisher:
            replayer = Replayer(publisher=publisher, progress=ReplayProgress(bank.name))
            for stop_ms in stops(bank.events, -(-moments // a_stop), draw):
                before = replayer.progress.acknowledged
                await replayer.publish_until(bank.events, stop_ms)
                await _until_applied(reader, replayer, bank.events[before : replayer.progress.acknowledged])
                customers = comparison.customers(stop_ms, min(a_stop, moments - found.moments))
                await comparison.compare(reader, customers, stop_ms)
    found.seconds = monotonic() - started
    return found


@dataclass(slots=True, kw_only=True)
class Comparison:
    """The raw log by customer, and what has been found so far."""

    bank: Bank
    oracle: FeatureOracle
    found: Agreement
    draw: random.Random
    arrivals: dict[str, list[TimedEvent]] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for timed in self.bank.events:
            self.arrivals.setdefault(timed.event.key, []).append(timed)

    def customers(self, stop_ms: int, number: int) -> list[str]:
        """Drawn at random among those something has arrived of; in a bank of a few, one more than once."""
        known = [customer for customer, timed in self.arrivals.items() if timed[0].at_ms <= stop_ms]
        return self.draw.sample(known, number) if number <= len(known) else self.draw.choices(known, k=number)

    async def compare(self, reader: StateReader, customers: Sequence[str], stop_ms: int) -> None:
        """The attributes of their states as stored now, each at a moment before the customer's next event."""
        states = await reader.store.load_many([CustomerId(customer) for customer in customers])
        for customer, state in zip(customers, states, strict=True):
            now_ms = self._moment(customer, stop_ms)
            served = read_snapshot(reader.features, state, now_ms).attributes
            self.note(self.found, f"{customer} at {now_ms}", served, self._expected(customer, now_ms, stop_ms))

    def _moment(self, customer: str, stop_ms: int) -> int:
        """Every other one at the end of the log, the others up to the next event, as if it had paused there."""
        times = self.arrivals[customer]
        following = bisect_left(times, stop_ms + 1, key=lambda timed: timed.at_ms)
        next_ms = times[following].at_ms if following < len(times) else stop_ms + LATER_MS
        return stop_ms + self.draw.choice((0, 1)) * self.draw.randrange(min(LATER_MS, next_ms - stop_ms))

    def _expected(self, customer: str, now_ms: int, stop_ms: int) -> Mapping[str, object]:
        history = self.histories.get(customer)
        if history is None:
            raw = [(timed.event.value, timed.at_ms) for timed in self.arrivals[customer]]
            history = self.histories[customer] = self.oracle.history(raw)
        return self.oracle.attributes(history, now_ms, stop_ms)

    @staticmethod
    def note(found: Agreement, where: str, served: Mapping[str, object], expected: Mapping[str, object]) -> None:
        """Counts one moment in; every value that differs is told."""
        found.moments += 1
        names = served.keys() | expected.keys()
        found.attributes = max(found.attributes, len(names))
        for name in sorted(names):
            online, offline = served.get(name), expected.get(name)
            if isinstance(offline, NotComparable):
                found.undefined += 1
                continue
            found.compared += 1
            found.estimated += isinstance(offline, About)
            if not equal(online, offline):
                found.differing[name] += 1
                found.differences.append(f"{where} {name}: served {online!r}, expected {offline!r}")


def equal(online: object, offline: object) -> bool:
    """Whole numbers, texts and truths exactly, broken numbers to 1e-9, estimates within their error."""
    if isinstance(offline, About):
        return isinstance(online, int) and isclose(online, offline.exact, rel_tol=SKETCH_ERROR)
    if isinstance(online, bool) or isinstance(offline, bool):
        return online is offline
    if isinstance(online, float) or isinstance(offline, float):
        numbers = isinstance(online, int | float) and isinstance(offline, int | float)
        return numbers and isclose(online, offline, rel_tol=TOLERANCE, abs_tol=TOLERANCE)  # type: ignore[arg-type]
    return online == offline


def stops(events: Sequence[TimedEvent], number: int, draw: random.Random) -> list[int]:
    """One in each of so many equal stretches of the log, so that none is much longer than the others."""
    first = int(len(events) * SKIPPED_SHARE)
    stretch = (len(events) - first) / number
    return [events[first + int((n + draw.random()) * stretch)].at_ms for n in range(number)]


async def _until_applied(reader: StateReader, replayer: Replayer, portion: Sequence[TimedEvent]) -> None:
    """Until all of the portion is in the states. So the log is never far ahead, and repetitions stay within the
    memory of events (`duplicate_memory`), as they do where a bank's events are folded as they happen."""
    wanted = {timed.event.key: replayer.positions.offsets[timed.event.key] for timed in portion}
    await reader.wait_until_applied(LatestPositions(wanted), CATCH_UP_SECONDS)


@asynccontextmanager
async def _serving(strategy: Path, folder: Path) -> AsyncIterator[tuple[Settings, StateReader]]:
    """Servers, a state builder as a child process, and the way to read what it wrote."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(EmbeddedServers.start(folder / "servers"))
        environment = {
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_KAFKA_PARTITIONS": "4",
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_STRATEGY_PATH": str(strategy),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
            "KAIROS_CLOCK": "events",
            "KAIROS_NAMESPACE": "moments",
        }
        settings = read_settings(environment)
        await topics.create(settings)
        features = load_strategy(settings).features
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        store = RedisStateStore(client, RedisKeys(settings.namespace, features.layout))
        builder = RoleProcess(arguments=["state-builder"], environment=environment, log=folder / "state-builder.log")
        await builder.start()
        stack.push_async_callback(builder.stop)
        try:
            yield settings, StateReader(store=store, features=features)
        except Exception:
            print(builder.log_tail(), file=sys.stderr)
            raise


def _chosen(name: str, args: argparse.Namespace) -> Bank:
    if name == "berka":
        return berka_bank(args.data or berka_folder())
    return demo_bank(args.customers, args.days, args.seed)


def main() -> int:
    """Prints the figures; status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the Berka data; default: berka in KAIROS_DATA")
    parser.add_argument("--moments", type=int, default=5_000, help="on each bank")
    parser.add_argument("--bank", choices=("berka", "simulated", "both"), default="both")
    parser.add_argument("--customers", type=int, default=100, help="of the simulated bank")
    parser.add_argument("--days", type=int, default=400, help="of the simulated bank")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    differing = False
    for name in ("berka", "simulated"):
        if args.bank in (name, "both"):
            bank = _chosen(name, args)
            found = asyncio.run(measure(bank, args.moments, args.seed))
            print(found.summary(), flush=True)
            print("".join(f"  {line}\n" for line in found.differences[:SHOWN]), end="", file=sys.stderr)
            if found.differing:
                print(f"  by attribute: {dict(found.differing.most_common(SHOWN))}", file=sys.stderr)
            differing = differing or bool(found.differences)
    return int(differing)


if __name__ == "__main__":
    sys.exit(main())
