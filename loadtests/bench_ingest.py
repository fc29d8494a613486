"""How fast one state builder turns events into state, and what a read of the store costs by client.

python -m loadtests.bench_ingest                 events a second, of one process, from first record to last commit
python -m loadtests.bench_ingest --profile       the same under cProfile
python -m loadtests.bench_ingest --client        this client beside redis.asyncio, 1, 16 and 64 callers at once
"""

import argparse
import asyncio
import cProfile
import pstats
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import redis.asyncio
import uvloop

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.definitions import Aggregate, FeatureDeclarations, FeatureDefinition, Window
from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, TRANSACTIONS
from services.adapters.embedded_servers import EmbeddedServers, embedded_valkey
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_topics import ensure_topics
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.bootstrap import open_publisher
from services.commands.state_builder import build_states, calm_collector
from services.ports import OutgoingEvent
from services.settings import Settings

TARGET_EVENTS_PER_SECOND = 20_000
"""Per core, with the demo bank's features."""
PARTITIONS = 4
START_MS = 1_767_225_600_000
KINDS = ("card", "transfer_in", "transfer_out", "salary", "cash_withdrawal", "fee", "qr_payment", "utility")
CATEGORIES = ("groceries", "travel", "dining", "rent", "fuel", "shopping", "health", "transport")


def main() -> int:
    """Exit status 1 below the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--strategy", type=Path, help="its features; default: 40 streams declared here")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--client", action="store_true")
    args = parser.parse_args()
    if args.client:
        uvloop.run(compare_clients())
        return 0
    features = synthetic_features() if args.strategy is None else strategy_features(args.strategy)
    calm_collector()
    wall, processor = uvloop.run(ingest(features, args.events, args.customers, profile=args.profile))
    print(f"{args.events} events of {args.customers} customers, {len(features.names)} attributes")
    print(f"wall {wall:.2f} s: {args.events / wall:,.0f} events/s")
    print(f"processor {processor:.2f} s: {args.events / processor:,.0f} events/s of one core")
    return 0 if args.events / processor >= TARGET_EVENTS_PER_SECOND else 1


def strategy_features(path: Path) -> CompiledFeatures:
    """The features of a strategy."""
    return compile_features(load_strategy_file(path).declarations)


def synthetic_features() -> CompiledFeatures:
    """Five aggregates over eight kinds of transactions, three windows each: forty streams."""
    windows = tuple(Window("d", days) for days in (7, 30, 90))
    aggregates = (Aggregate.COUNT, Aggregate.SUM, Aggregate.MEAN, Aggregate.MIN, Aggregate.MAX)
    features = tuple(
        FeatureDefinition(
            name=f"{kind}_{aggregate}",
            source="bank.transaction.posted",
            aggregate=aggregate,
            where=f'kind == "{kind}"',
            field=None if aggregate is Aggregate.COUNT else "amount",
            windows=windows,
            theme="transaction",
            description={},
        )
        for kind in KINDS
        for aggregate in aggregates
    )
    return compile_features(FeatureDeclarations(time_zone="Asia/Shanghai", features=features))


def generated(number: int, customers: int) -> list[OutgoingEvent]:
    """Transactions of ninety days in the order of time, customers drawn at random."""
    draw = random.Random(1)
    events = []
    for i in range(number):
        customer = f"retail:{draw.randrange(customers)}"
        at = from_epoch_ms(START_MS + i * (90 * 86_400_000 // number))
        header: dict[str, str | datetime] = {"id": f"t{i}", "source": "core", "subject": customer, "time": at}
        data = {
            "account_id": customer[7:],
            "direction": draw.choice(("credit", "debit")),
            "amount": draw.randrange(100, 1_000_000),
            "currency": "CNY",
            "balance_after": draw.randrange(10_000_000),
            "kind": draw.choice(KINDS),
            "category": draw.choice(CATEGORIES),
            "counterparty": f"merchant {draw.randrange(500)}",
            "channel": "mobile",
        }
        value = encode_trusted("bank.transaction.posted", header, data)
        events.append(OutgoingEvent(topic=TRANSACTIONS, key=customer, value=value))
    return events


async def ingest(features: CompiledFeatures, number: int, customers: int, *, profile: bool) -> tuple[float, float]:
    """Wall and processor seconds of one state builder for all events."""
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServers.start(Path(folder)) as servers:
            settings = Settings(
                kafka_bootstrap_servers=servers.bootstrap_servers,
                kafka_idempotence=False,
                kafka_session_timeout_ms=6_000,
                redis_url=servers.redis_url,
                clock="events",
            )
            await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
            ends = await publish(settings, generated(number, customers))
            return await timed(settings, features, ends, cProfile.Profile() if profile else None)


async def publish(settings: Settings, events: Sequence[OutgoingEvent]) -> dict[int, int]:
    """For each partition the next offset after all events."""
    ends: dict[int, int] = {}
    async with open_publisher(settings) as publisher:
        for i in range(0, len(events), 5_000):
            for _, partition, offset in await publisher.publish(events[i : i + 5_000]):
                ends[partition] = max(ends.get(partition, 0), offset + 1)
    return ends


async def timed(
    settings: Settings, features: CompiledFeatures, ends: Mapping[int, int], profile: cProfile.Profile | None
) -> tuple[float, float]:
    """From the first record applied to the last: joining the group is not counted."""
    stop = asyncio.Event()
    progress = RedisKeys(settings.namespace, features.layout).progress
    async with RedisClient.open(settings.redis_url) as client:

        async def held() -> int:
            values = await client.execute("HMGET", progress, *(f"{TRANSACTIONS}/{p}" for p in ends))
            assert isinstance(values, list)
            return sum(int(value) for value in values if isinstance(value, bytes))

        builder = asyncio.create_task(build_states(settings, features, PrometheusMetrics(), stop))
        while not (first := await held()):
            if builder.done():
                await builder
            await asyncio.sleep(0.001)
        began, processor = time.perf_counter(), time.process_time()
        if profile is not None:
            profile.enable()
        while await held() < sum(ends.values()):  # noqa: ASYNC110 - the store is another process
            await asyncio.sleep(0.02)
        if profile is not None:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        share = 1 - first / sum(ends.values())
        seconds = (time.perf_counter() - began) / share, (time.process_time() - processor) / share
        stop.set()
        await builder
    return seconds


async def compare_clients() -> None:
    """Reads of 2 KB: this client, redis.asyncio one call each, and its pipeline of 64 at once."""
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_valkey(Path(folder)) as server:
            url = f"redis://127.0.0.1:{server.port}/0"
            peer = redis.asyncio.Redis.from_url(url)
            async with RedisClient.open(url) as ours:
                await ours.execute("SET", "k", b"x" * 2_000)
                for callers in (1, 16, 64):
                    await timed_reads("redis.asyncio", callers, lambda: peer.get("k"))
                    await timed_reads("RedisClient", callers, lambda: ours.execute("GET", "k"))

                async def pipelined() -> None:
                    pipeline = peer.pipeline(transaction=False)
                    for _ in range(64):
                        pipeline.get("k")
                    await pipeline.execute()

                await timed_reads("redis.asyncio pipeline", 1, pipelined, reads_a_call=64)
            await peer.aclose()


async def timed_reads(name: str, callers: int, read: Callable[[], Awaitable[object]], *, reads_a_call: int = 1) -> None:
    """Prints reads a second and processor time a read."""
    calls = 4_000 // (callers * reads_a_call) + 1 if callers == 1 else 20_000 // callers

    async def caller() -> None:
        for _ in range(calls):
            await read()

    began, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    reads = calls * callers * reads_a_call
    wall, spent = time.perf_counter() - began, time.process_time() - processor
    print(f"{name:24s} {callers:3d} callers {reads / wall:9,.0f} reads/s {spent / reads * 1e6:7.1f} us a read")


if __name__ == "__main__":
    raise SystemExit(main())
