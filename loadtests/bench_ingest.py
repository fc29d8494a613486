"""How fast events become state, each exactly once, beside what others do with the same log in the same run.

python -m loadtests.bench_ingest                       the table; medians over repeats
python -m loadtests.bench_ingest --kafka               on Apache Kafka (java, Maven), where Quix Streams can be exact
python -m loadtests.bench_ingest --profile hundred     where a builder spends its time (hourly, hundred, a file)
python -m loadtests.bench_ingest --client              this store client beside redis.asyncio, 1, 16 and 64 callers

Every contestant reads 200,000 transactions of 5,000 customers, published beforehand, from the same broker. Quix
Streams runs in the environment of `make setup-peers`: with its own windows on the same aggregates, and, without a
target, with a function that only keeps totals of days from which they could be read (`peers/quix_ingest.py`).
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from loadtests.ingest_contestants import (
    QUIX_LIBRARIES,
    Sample,
    contestants,
    held_by,
    log_of,
    processes,
    until,
)
from loadtests.ingest_log import features_of
from loadtests.peers_installed import installed_peer
from loadtests.results import Result, Table, Verdict, describe
from loadtests.store_clients import compare_clients
from loadtests.telling_results import tell
from services.adapters.redis_client import RedisClient
from services.commands.state_builder import PATIENT
from tests.real_servers import kafka_libraries, kafka_server

TARGETS = {"hourly": 40_000, "hundred": 20_000, "windowed": 20_000}
"""Events a second of one state builder."""
AGAINST_QUIX = {"hourly": "quix_exactly", "hundred": "quix_windows"}
TARGET_RATIO = 2.0
COLUMNS = (
    "contestant", "guarantee", "events/s", "lowest", "highest", "events/s of processor", "us an event",
    "store us an event",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """Medians of a contestant: events a wall second, microseconds of processor an event, its own and the store's."""

    name: str
    guarantee: str
    events_a_second: float
    processor_us: float
    lowest: float
    highest: float
    store_us: float = 0.0

    @property
    def events_a_processor_second(self) -> float:
        """What it would do with a whole core, whoever else is on the machine."""
        return 1e6 / self.processor_us


def main() -> int:
    """Exit status 1 below a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="only contestants whose name begins so (or|so)")
    parser.add_argument("--kafka", action="store_true", help="on an Apache Kafka, which is started")
    parser.add_argument("--profile", metavar="FEATURES")
    parser.add_argument("--client", action="store_true")
    args = parser.parse_args()
    if args.client:
        uvloop.run(compare_clients())
        return 0
    if args.profile:
        uvloop.run(profile(args.profile, args.events, args.customers))
        return 0
    measured = measure_on_kafka if args.kafka else _measure_here
    return 0 if tell(ingest_result(measured(args.events, args.customers, args.repeats, only=args.only))) else 1


def _measure_here(events: int, customers: int, repeats: int, *, only: str | None = None) -> dict[str, "Rate"]:
    return uvloop.run(measure(events, customers, repeats, only=only))


def measure_on_kafka(events: int, customers: int, repeats: int, *, only: str | None = None) -> dict[str, "Rate"]:
    """The same on an Apache Kafka that is started for it."""
    with TemporaryDirectory(prefix="kairos-kafka-") as name, kafka_server(Path(name), kafka_libraries()) as kafka:
        return uvloop.run(measure(events, customers, repeats, only=only, kafka=kafka))


async def measure(
    events: int, customers: int, repeats: int, *, only: str | None = None, kafka: str | None = None
) -> dict[str, Rate]:
    """Every contestant over one log, taken in turn `repeats` times so that all meet the machine in the same moods."""
    async with log_of(events, customers, kafka or os.environ.get("KAIROS_KAFKA_BOOTSTRAP_SERVERS")) as log:
        taking_part = {
            what: (name, guarantee, run)
            for what, (name, guarantee, run) in contestants(log).items()
            if only is None or name.startswith(tuple(only.split("|")))
        }
        samples: dict[str, list[Sample]] = {what: [] for what in taking_part}
        for repeat in range(repeats):
            for what, (name, _, run) in taking_part.items():
                samples[what].append(await run(f"{repeat}"))
                print(f"… {name}: {_rate(samples[what][-1]):,.0f} events/s", file=sys.stderr, flush=True)
        return {what: _summary(*taking_part[what][:2], found) for what, found in samples.items()}


def ingest_result(rates: Mapping[str, Rate]) -> Result:
    """The table with its verdicts."""
    rows: list[list[str | float]] = [
        [
            rate.name, rate.guarantee, rate.events_a_second, rate.lowest, rate.highest, rate.events_a_processor_second,
            rate.processor_us, rate.store_us,
        ]
        for rate in rates.values()
    ]  # fmt: skip
    notes = []
    if "windowed" in rates and "two" in rates:
        notes.append(f"two workers do {rates['two'].events_a_second / rates['windowed'].events_a_second:.2f} times one")
    if any(what.startswith("quix") for what in rates) and (peer := installed_peer("quixstreams", QUIX_LIBRARIES)):
        notes.append(f"Quix Streams: {peer.told}")
    if "hundred" in rates and "quix_days" in rates:
        times = rates["quix_days"].processor_us / (rates["hundred"].processor_us + rates["hundred"].store_us)
        notes.append(
            f"beside Quix Streams' totals of days, which are no windows yet: {times:.2f} times a processor second"
        )
    return describe(
        "side-by-side-ingest",
        "Ingest beside other systems",
        figures={f"us_an_event_{Path(what).name}": rate.processor_us for what, rate in rates.items()},
        tables=[Table("One process each, over the same log", COLUMNS, rows)],
        verdicts=[*rate_verdicts(rates), *quix_verdicts(rates)],
        notes=notes,
    )


def rate_verdicts(rates: Mapping[str, Rate]) -> list[Verdict]:
    """By processor seconds, which a machine that others use does not change much; the wall's rate is in the table."""
    return [
        Verdict(
            claim=rates[what].name,
            target=f"at least {target:,} events a second of one core",
            measured=f"{rates[what].events_a_processor_second:,.0f} a processor second, "
            f"{rates[what].events_a_second:,.0f} a wall second",
            holds=rates[what].events_a_processor_second >= target,
        )
        for what, target in TARGETS.items()
        if what in rates
    ]


def quix_verdicts(rates: Mapping[str, Rate]) -> list[Verdict]:
    """Beside Quix Streams with its exactly-once on, by the wall and by the processor; the store's time is counted as
    ours. Both must hold."""
    found = []
    for what, other in AGAINST_QUIX.items():
        if what not in rates or other not in rates:
            continue
        ours, theirs = rates[what], rates[other]
        wall = ours.events_a_second / theirs.events_a_second
        processor = theirs.processor_us / (ours.processor_us + ours.store_us)
        found.append(
            Verdict(
                claim=f"{ours.name} beside {theirs.name}, {theirs.guarantee}",
                target=f"at least {TARGET_RATIO:g} times its events",
                measured=f"{wall:.2f} times a wall second, {processor:.2f} times a processor second, store included",
                holds=min(wall, processor) >= TARGET_RATIO,
            )
        )
    return found


async def profile(what: str, events: int, customers: int) -> None:
    """One state builder under cProfile; the profile is printed when it stops."""
    async with (
        log_of(events, customers, None) as log,
        RedisClient.open(log.settings.redis_url, limits=PATIENT) as client,
    ):
        held = held_by(client, log.settings.namespace, features_of(what).layout)
        command = (sys.executable, "-m", "loadtests.ingest_worker", what, "--profile")
        async with processes([command], log.environment) as children:
            await until(held, lambda count: count >= log.events, children)


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
        store_us=statistics.median(sample.store / sample.events * 1e6 for sample in samples),
    )


if __name__ == "__main__":
    raise SystemExit(main())
