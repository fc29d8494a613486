"""The figures that a sizing is made of, measured on the demo bank as it is deployed.

    python -m loadtests.sizing --customers 200 --days 60 --decisions 1500

Embedded servers, one state builder and one API node, each a process of its own. The simulated bank's history goes over
the bus; then decisions are asked for, a share of their offers is answered. Processor time is that of the processes
themselves (Linux), so that a busy machine makes it only a little dearer; bytes are those of the store and of the log.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

import httpx
import pyarrow as pa

from event_schemas.topics import DECISIONS, STATE_TOPICS
from loadtests.balanced_client import BalancedClient
from loadtests.restart_cluster import Cluster
from loadtests.restart_judge import Judge, LogCopy
from loadtests.rolling_restarts import STRATEGY
from loadtests.server_processes import processor_seconds
from loadtests.state_size import measured
from services.adapters.redis_client import RedisClient
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.role_processes import RoleProcess
from services.bootstrap import LoadedStrategy, load_strategy, open_publisher
from services.ports import Delivery
from services.simulation.bank import BankConfig, BankStream
from services.simulation.cloud_events import TimedEvent

HISTORIES = (30, 90, 365)
"""Days lived before the state is measured."""
BATCH_BYTES = 64 * 1024
"""Of records together in one compressed batch, as a busy producer sends them."""
PLACEMENTS = (("mobile", "home_banner", 1), ("mobile", "card_page_tile", 2), ("contact_centre", "agent_panel", 3))
AT_ONCE = 4
IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Per unit: bytes and processor seconds."""

    event_bytes: float
    event_compressed: float
    event_cpu_s: float
    state_bytes: dict[int, float]
    """Mean of the stored value by days of history."""
    key_bytes: float
    """What the store adds to a state."""
    record_bytes: float
    record_compressed: float
    record_key_bytes: float
    tracked_key_bytes: float
    options: float
    """Of a decision."""
    decision_cpu_s: float
    response_cpu_s: float

    def lines(self) -> list[str]:
        """A line a figure."""
        states = ", ".join(f"{size:,.0f} after {days} days" for days, size in self.state_bytes.items())
        return [
            f"an event: {self.event_bytes:,.0f} bytes, {self.event_compressed:,.0f} in LZ4 batches, "
            f"{self.event_cpu_s * 1e6:,.0f} us of a state builder",
            f"a person's state: {states}; the store adds {self.key_bytes:,.0f}",
            f"a decision: {self.decision_cpu_s * 1e3:.2f} ms of an API node over HTTP, {self.options:.2f} options, "
            f"record {self.record_bytes:,.0f} bytes on the bus, {self.record_compressed:,.0f} in LZ4 batches, "
            f"{self.record_key_bytes:,.0f} in the store",
            f"a tracked option: {self.tracked_key_bytes:,.0f} bytes in the store",
            f"a response: {self.response_cpu_s * 1e3:.2f} ms of an API node over HTTP",
        ]


async def measure(folder: Path, customers: int, days: int, decisions: int) -> Figures:
    """Runs everything in the folder."""
    history = list(_history(customers, days))
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster.open(folder, STRATEGY))
        settings, loaded = cluster.settings, load_strategy(cluster.settings)
        store = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        log = await stack.enter_async_context(LogCopy.following(settings))
        judge = Judge(settings, loaded, store)
        builder = await cluster.start_builder()
        await cluster.until_building(builder)
        idle = await idle_share(builder)
        before, since = spent_by(builder), monotonic()
        async with open_publisher(settings) as publisher:
            for timed in history:
                publisher.enqueue(timed.event)
            await publisher.flush()
        await cluster.until(lambda: len(log.records) >= len(history), "the log is read")
        await judge.until_applied(log.ends)
        spent = spent_by(builder) - before - idle * (monotonic() - since)
        event_cpu_s = spent / len(history)
        address = await cluster.start_api()
        client = await stack.enter_async_context(BalancedClient().open_to([address]))
        await cluster.until_serving(client)
        load = _Asking(address, cluster.apis[address], customers)
        decision_cpu_s, response_cpu_s = await load.run(decisions)
        await log.until_quiet()
        states = await _memory(store, f"{settings.namespace}:{{*}}:state:{loaded.features.layout}")
        lengths = await _lengths(store, f"{settings.namespace}:{{*}}:state:{loaded.features.layout}")
        records = await _memory(store, f"{settings.namespace}:decision:*")
        tracked = await _memory(store, f"{settings.namespace}:tracked:*")
    events = _values(log.records, lambda topic: topic in STATE_TOPICS)
    made = _values(log.records, lambda topic: topic == DECISIONS)
    return Figures(
        event_bytes=statistics.fmean(map(len, events)),
        event_compressed=compressed(events),
        event_cpu_s=event_cpu_s,
        state_bytes={length: _state_bytes(loaded, customers, length) for length in HISTORIES},
        key_bytes=statistics.fmean(states) - statistics.fmean(lengths),
        record_bytes=statistics.fmean(map(len, made)),
        record_compressed=compressed(made),
        record_key_bytes=statistics.fmean(records),
        tracked_key_bytes=statistics.fmean(tracked),
        options=len(tracked) / len(records),
        decision_cpu_s=decision_cpu_s,
        response_cpu_s=response_cpu_s,
    )


class _Asking:
    """Decisions, then responses to a share of what they offered; the processor time of each by itself."""

    def __init__(self, address: str, node: RoleProcess, customers: int) -> None:
        self._address, self._node, self._customers = address, node, customers
        self._draws = random.Random(1)
        self._offered: list[tuple[str, str]] = []

    async def run(self, decisions: int) -> tuple[float, float]:
        """Seconds a decision, seconds a response; the first hundred of each warm the node."""
        async with httpx.AsyncClient(base_url=self._address, timeout=30.0, trust_env=False) as http:
            for number in range(100):
                await self._decide(http, number)
            decide = await self._timed([partial(self._decide, http, n) for n in range(100, 100 + decisions)])
            answers = self._offered[: decisions // 2]
            respond = await self._timed([partial(self._respond, http, *answer) for answer in answers])
        return decide, respond

    async def _timed(self, calls: Sequence[Callable[[], Awaitable[None]]]) -> float:
        """Processor seconds a call, beyond what the node spends on nothing: it follows topics all the time."""
        idle = await idle_share(self._node)
        before, began = spent_by(self._node), monotonic()
        waiting = iter(calls)

        async def caller() -> None:
            for call in waiting:
                await call()

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        spent = spent_by(self._node) - before - idle * (monotonic() - began)
        return spent / len(calls)

    async def _decide(self, http: httpx.AsyncClient, number: int) -> None:
        channel, placement, count = self._draws.choice(PLACEMENTS)
        body = {
            "request_id": f"size-{number}", "customer_id": f"retail:{self._draws.randint(1, self._customers)}",
            "channel": channel, "placements": [{"id": placement, "count": count}], "timeout_ms": 1000,
        }  # fmt: skip
        answer = await http.post("/v1/decisions", json=body)
        answer.raise_for_status()
        options = answer.json()["placements"][0].get("options", ())
        self._offered += [(option["tracking_id"], channel) for option in options]

    async def _respond(self, http: httpx.AsyncClient, tracking_id: str, channel: str) -> None:
        body = {"response_id": tracking_id, "tracking_id": tracking_id, "outcome": "impression", "channel": channel}
        (await http.post("/v1/responses", json=body)).raise_for_status()


async def idle_share(role: RoleProcess) -> float:
    """Processor seconds a second while nothing is asked of it."""
    before, began = spent_by(role), monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    return (spent_by(role) - before) / (monotonic() - began)


def spent_by(role: RoleProcess) -> float:
    """Processor seconds of the role's process so far."""
    assert role.process is not None
    return processor_seconds(role.process.pid)


def compressed(values: Sequence[bytes]) -> float:
    """Bytes a record where as many as a batch holds are compressed together by LZ4."""
    codec, total, batch = pa.Codec("lz4"), 0, b""
    for value in values:
        batch += value
        if len(batch) >= BATCH_BYTES:
            total, batch = total + len(codec.compress(batch, asbytes=True)), b""
    return (total + (len(codec.compress(batch, asbytes=True)) if batch else 0)) / len(values)


def _history(customers: int, days: int) -> "Sequence[TimedEvent]":
    """The simulated bank's last days up to yesterday."""
    start = datetime.now(UTC).date() - timedelta(days=days)
    stream = BankStream(BankConfig(seed=1, customers=customers, start=start))
    return list(stream.events(start + timedelta(days=days - 1)))


def _state_bytes(loaded: LoadedStrategy, customers: int, days: int) -> float:
    start = date(2025, 1, 1)
    stream = BankStream(BankConfig(seed=1, customers=customers, start=start))
    return measured("demo", loaded.features, stream.events(start + timedelta(days=days - 1))).mean


async def _memory(store: RedisClient, pattern: str) -> list[float]:
    """What each key of the pattern takes in the store."""
    return await _of_keys(store, pattern, lambda key: ("MEMORY", "USAGE", key, "SAMPLES", 0))


async def _lengths(store: RedisClient, pattern: str) -> list[float]:
    return await _of_keys(store, pattern, lambda key: ("STRLEN", key))


async def _of_keys(
    store: RedisClient, pattern: str, ask: Callable[[bytes], tuple[bytes | str | int, ...]]
) -> list[float]:
    found: list[float] = []
    async for keys in store.walk(pattern, 500, 5.0):
        replies = await store.execute_many([ask(key) for key in keys], timeout_s=5.0)
        found += [float(reply) for reply in replies if isinstance(reply, int)]
    return found


def _values(records: Sequence[Delivery], wanted: Callable[[str], bool]) -> list[bytes]:
    return [record.value for record in records if record.value is not None and wanted(record.topic)]


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--days", type=int, default=60, help="history that goes over the bus")
    parser.add_argument("--decisions", type=int, default=1_500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kairos-sizing-") as folder:
        found = asyncio.run(measure(Path(folder), arguments.customers, arguments.days, arguments.decisions))
    print("\n".join(found.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
