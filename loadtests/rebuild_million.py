"""States of many customers rebuilt from an archive, for one feature more, while the bank is served.

python -m loadtests.rebuild_million                              a million customers, 20 events each
python -m loadtests.rebuild_million --customers 20000            the same in a minute
python -m loadtests.rebuild_million --workers 2 --rest 0         as fast as it goes

Makes the archive with the archiver's own writer, builds the states that serve from it, starts an API, and asks for
decisions at a steady rate: first alone, then while the states for the changed strategy are built beside. Prints
both rates, what the store holds, and both latencies. No log is read: what is measured is the archive's part.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import httpx
import orjson

from decision_engine.identifiers import CustomerId
from event_schemas.codec import encode_trusted
from event_schemas.topics import PROFILE_UPDATES, TRANSACTIONS
from services.adapters.embedded_servers import EmbeddedServers, free_port
from services.adapters.parquet_archive import ParquetArchive, archived_positions
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.role_processes import RoleProcess
from services.bootstrap import LoadedStrategy, load_strategy_at, open_strategy_versions
from services.commands import topics
from services.commands.rebuild_from_archive import LEAST_BUNDLES, ArchivePlan, ArchiveRebuild
from services.ports import Delivery
from services.settings import Settings, read_settings

PARTITIONS = 12
DAYS = 90
FLUSH_ROWS = 50_000
KINDS = ("card", "transfer_in", "transfer_out", "salary", "cash_withdrawal", "fee", "qr_payment", "utility")
ADDED_FEATURE = """
features:
  - {name: rebuilt_round_sum, source: bank.transaction.posted, where: 'direction == "debit" && amount >= 424242',
     aggregate: sum, field: amount, windows: [13d, 45d], theme: transaction, default: 0,
     description: {zh-CN: 大额支出, en: Money spent in large sums}}
"""


def main() -> int:
    """Exit status 1 when a decision failed, or was made without its customer's state."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=20, help="events a customer: one profile update, transactions")
    parser.add_argument("--strategy", type=Path, default=Path("deploy/strategies/demo_bank"))
    parser.add_argument("--workers", type=int, default=1, help="processes that fold")
    parser.add_argument("--rest", type=float, default=1.0, help="pause after a write, in times its length")
    parser.add_argument("--rate", type=float, default=100.0, help="decisions a second, asked for at a steady pace")
    parser.add_argument("--alone-seconds", type=float, default=15.0, help="how long decisions are measured alone")
    parser.add_argument("--folder", type=Path, help="where to keep the archive (default: a folder that is removed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kairos-rebuild-") as name:
        return asyncio.run(measure(args, args.folder or Path(name)))


async def measure(args: argparse.Namespace, folder: Path) -> int:
    """The whole measurement; prints as it goes."""
    async with EmbeddedServers.start(folder / "servers") as servers:
        for name in ("serving", "changed"):
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(args.strategy, folder / name)
        (folder / "changed" / "features_rebuilt.yaml").write_text(ADDED_FEATURE, encoding="utf-8")
        environment = _environment(servers, folder)
        settings = read_settings(environment)
        await topics.create(settings)
        serving, changed = _kept(settings, folder / "serving"), _kept(settings, folder / "changed")
        events = make_archive(settings.archive_path, args.customers, args.events)
        async with RedisClient.open(settings.redis_url) as client:
            empty = await used_memory(client)
            seconds = await rebuild(settings, serving, folder, workers=2, rest=0.0)
            print(f"nobody served, 2 workers, no rest: {seconds:.1f} s, {events / seconds:,.0f} events/s", flush=True)
            await client.execute("SET", RedisKeys(settings.namespace, serving.features.layout).complete, "1")
            first = await used_memory(client)
            each = (first - empty) / args.customers
            print(
                f"store: {(first - empty) / 1e6:,.0f} MB, {each:,.0f} bytes a customer with its key; "
                f"{await mean_state(client, settings, serving, args.customers)}"
            )
            async with serving_api(environment, folder, settings.port) as url:
                alone = await decisions_for(url, args, asyncio.sleep(args.alone_seconds))
                building = asyncio.ensure_future(
                    rebuild(settings, changed, folder, workers=args.workers, rest=args.rest)
                )
                meanwhile = await decisions_for(url, args, building)
                seconds = building.result()
            print(
                f"while serving, {args.workers} worker, rest {args.rest:g}: {seconds:.1f} s, "
                f"{events / seconds:,.0f} events/s, {args.customers / seconds:,.0f} customers/s"
            )
            print(f"changed features: {await mean_state(client, settings, changed, args.customers)}")
    print(f"decisions alone:     {alone.summary()}")
    print(f"decisions meanwhile: {meanwhile.summary()}")
    return 1 if alone.bad + meanwhile.bad else 0


async def rebuild(settings: Settings, loaded: LoadedStrategy, folder: Path, *, workers: int, rest: float) -> float:
    """Seconds to fold the whole archive into the layout's namespace, sorting included."""
    async with RedisClient.open(settings.redis_url) as client:
        rebuilding = ArchiveRebuild(
            settings=settings,
            loaded=loaded,
            namespaces=RedisNamespaces(client, settings.namespace),
            spill=folder / "spill",
            workers=workers,
            rest=rest,
        )
        ends = archived_positions(settings.archive_path)
        plan = ArchivePlan(
            positions={partition: end.next_offset for partition, end in ends.items()},
            marks={partition: end.last_mark for partition, end in ends.items()},
            bundles=max(LEAST_BUNDLES, min(250, sum(end.next_offset for end in ends.values()) // 100_000)),
        )
        await rebuilding.namespaces.keep_plan(loaded.features.layout, plan.encoded())
        began = time.perf_counter()
        folded = await rebuilding(plan, asyncio.Event())
        if folded is None or folded.unreadable or folded.impossible:
            raise RuntimeError(f"not everything was folded: {folded}")
        return time.perf_counter() - began


def make_archive(root: Path, customers: int, events: int) -> int:
    """Writes so many events of every customer over `DAYS` days, partition by partition; answers how many."""
    if root.is_dir():
        return sum(end.next_offset for end in archived_positions(root).values())
    began, written = time.perf_counter(), 0
    by_partition: list[list[int]] = [[] for _ in range(PARTITIONS)]
    for number in range(customers):
        by_partition[crc32(f"retail:{number}".encode()) % PARTITIONS].append(number)
    with ParquetArchive(root) as archive:
        for partition, own in enumerate(by_partition):
            for topic, deliveries in (
                (PROFILE_UPDATES, _profiles(partition, own)),
                (TRANSACTIONS, _transactions(partition, own, events - 1)),
            ):
                for batch in _batches(deliveries):
                    archive.append(batch)
                    written += len(batch)
                    _tell(topic, written, customers * events)
    size = sum(path.stat().st_size for path in root.rglob("*.parquet"))
    seconds = time.perf_counter() - began
    print(
        f"\narchive: {written:,} events of {customers:,} customers, {size / 1e6:,.0f} MB, written in {seconds:.0f} s",
        flush=True,
    )
    return written


def _profiles(partition: int, customers: list[int]) -> Iterator[Delivery]:
    moment = datetime.now(UTC) - timedelta(days=DAYS)
    for offset, number in enumerate(customers):
        customer = f"retail:{number}"
        header: dict[str, str | datetime] = {"id": f"p{number}", "source": "core", "subject": customer, "time": moment}
        value = encode_trusted("bank.profile.updated", header, {"attributes": {"age": 20 + number % 60}})
        yield Delivery(PROFILE_UPDATES, partition, offset, customer.encode(), value, ())


def _transactions(partition: int, customers: list[int], each: int) -> Iterator[Delivery]:
    """In the order of time: every customer once in each of `each` rounds."""
    draw, begin = random.Random(partition), datetime.now(UTC) - timedelta(days=DAYS)
    step = timedelta(days=DAYS) / max(1, each * len(customers))
    for offset in range(each * len(customers)):
        number = customers[offset % len(customers)]
        customer = f"retail:{number}"
        header: dict[str, str | datetime] = {
            "id": f"t{partition}-{offset}", "source": "core", "subject": customer, "time": begin + step * offset,
        }  # fmt: skip
        data = {
            "account_id": str(number),
            "direction": draw.choice(("credit", "debit")),
            "amount": draw.randrange(100, 1_000_000),
            "currency": "CNY",
            "balance_after": draw.randrange(10_000_000),
            "kind": draw.choice(KINDS),
            "category": draw.choice(("groceries", "travel", "dining", "rent", "fuel", "shopping")),
            "counterparty": f"merchant {draw.randrange(500)}",
            "channel": "mobile",
        }
        value = encode_trusted("bank.transaction.posted", header, data)
        yield Delivery(TRANSACTIONS, partition, offset, customer.encode(), value, ())


def _batches(deliveries: Iterator[Delivery]) -> Iterator[list[Delivery]]:
    batch: list[Delivery] = []
    for delivery in deliveries:
        batch.append(delivery)
        if len(batch) == FLUSH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(slots=True)
class Served:
    """What a stretch of decisions was like."""

    seconds: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    """Seconds by the node's own account, from when it had the request."""
    causes: Counter[str] = field(default_factory=Counter)
    """Why some were not answered, or answered without their customer's state."""

    @property
    def bad(self) -> int:
        """How many causes there were."""
        return self.causes.total()

    def summary(self) -> str:
        """Percentiles of the latency as the caller saw it, from when the request was due, and as the node did."""
        return (
            f"{len(self.seconds):,} answered, {_percentiles(self.seconds)} ms; "
            f"inside the node {_percentiles(self.inside)} ms; failed or degraded: {dict(self.causes) or 'none'}"
        )


def _percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    if not ordered:
        return "none"
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "most": 1.0}
    found = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in shares.items()}
    return ", ".join(f"{name} {value * 1000:.1f}" for name, value in found.items())


async def decisions_for(url: str, args: argparse.Namespace, span: "asyncio.Future[float] | object") -> Served:
    """Asks at a steady pace for as long as `span` takes; who is late counts as late from when they were due."""
    served, draw = Served(), random.Random(5)
    ending = asyncio.ensure_future(span)  # type: ignore[arg-type]
    async with httpx.AsyncClient(base_url=url, timeout=5.0, limits=httpx.Limits(max_connections=32)) as http:
        loop, asked = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        due = loop.time()
        while not ending.done():
            due += 1 / args.rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            task = asyncio.create_task(_ask(http, served, draw.randrange(args.customers), due))
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)
    return served


async def _ask(http: httpx.AsyncClient, served: Served, number: int, due: float) -> None:
    body = {
        "request_id": f"{number}-{due}",
        "customer_id": f"retail:{number}",
        "channel": "mobile",
        "placements": [{"id": "home_banner", "count": 1}],
        "timeout_ms": 500,
    }
    try:
        answer = await http.post("/v1/decisions", content=orjson.dumps(body))
    except httpx.HTTPError as error:
        served.causes[type(error).__name__] += 1
        return
    served.seconds.append(asyncio.get_running_loop().time() - due)
    if answer.status_code == 200:
        served.inside.append(answer.json()["took_ms"] / 1000)
    found = answer.json().get("degraded_causes", ()) if answer.status_code == 200 else (f"status {answer.status_code}",)
    served.causes.update(cause for cause in found if cause != "model_missing")


@asynccontextmanager
async def serving_api(environment: dict[str, str], folder: Path, port: int) -> AsyncIterator[str]:
    """An API process on the strategy of the settings."""
    api = RoleProcess(arguments=["api"], environment=environment, log=folder / "api.log")
    await api.start()
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as http, asyncio.timeout(60):
            while True:
                with suppress(httpx.TransportError):
                    if (await http.get(f"{url}/readyz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield url
    except TimeoutError:
        raise RuntimeError(api.log_tail()) from None
    finally:
        await api.stop()


async def used_memory(client: RedisClient) -> int:
    """Bytes the store says it uses."""
    reply = await client.execute("INFO", "memory")
    text = reply.decode() if isinstance(reply, bytes) else str(reply)
    return int(next(line.split(":")[1] for line in text.splitlines() if line.startswith("used_memory:")))


async def mean_state(client: RedisClient, settings: Settings, loaded: LoadedStrategy, customers: int) -> str:
    """The mean size of a thousand states drawn at random, in words."""
    keys, draw = RedisKeys(settings.namespace, loaded.features.layout), random.Random(3)
    names = [keys.state(CustomerId(f"retail:{draw.randrange(customers)}")) for _ in range(1000)]
    sizes = await client.execute_many([("STRLEN", name) for name in names], 5.0)
    mean = sum(size for size in sizes if isinstance(size, int)) / len(sizes)
    return f"a state has {mean:,.0f} bytes ({len(loaded.features.names)} attributes)"


def _kept(settings: Settings, source: Path) -> LoadedStrategy:
    """The strategy, kept where every process finds it."""
    loaded = load_strategy_at(source)
    open_strategy_versions(settings).register(loaded.strategy.version, source)
    return loaded


def _environment(servers: EmbeddedServers, folder: Path) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_KAFKA_PARTITIONS": str(PARTITIONS),
        "KAIROS_REDIS_URL": servers.redis_url,
        "KAIROS_STRATEGY_PATH": str(folder / "serving"),
        "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        "KAIROS_MODEL_PATH": str(folder / "models"),
        "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
        "KAIROS_PORT": str(free_port()),
    }


def _tell(topic: str, written: int, total: int) -> None:
    if not sys.stderr.isatty():
        return
    sys.stderr.write(f"\rwriting the archive: {written:,} of {total:,} ({topic})   ")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
