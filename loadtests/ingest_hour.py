"""An hour of a bank's traffic through one state builder, twenty times as fast: is it held, and does anything grow?

python -m loadtests.ingest_hour                        1,000 events a second of simulated time, 3,600 s of it
python -m loadtests.ingest_hour --rate 500 --speed 20  a smaller bank, at the same twenty-fold speed
python -m loadtests.ingest_hour --closed               as fast as the builder goes, never more than --ahead before it

A feeder publishes the events of every simulated second when its time has come, whatever the builder does (open loop):
at 1,000 events a second and twenty-fold speed that is 20,000 events a wall second for three minutes, 3.6 million.
On a machine that others use, `--closed` keeps the feeder a bounded number of events ahead instead, so that the builder
is never without work nor behind for want of a processor: its rate is then events a second of its own processor time.

Every simulated minute it is noted how far the builder is behind, what it spent of the processor, and what memory it and
the store hold. Held means: nothing is lost, the events a processor second reach the target in every tenth of the hour,
the builder's memory does not grow from the second tenth to the last, and the lag stays below five seconds of traffic
(open loop; with `--closed` the lag is bounded by the feeder, and says nothing). On an Apache Kafka with `--kafka`: the
embedded broker keeps everything in memory.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from event_schemas.codec import encode_trusted
from event_schemas.envelope import from_epoch_ms
from event_schemas.topics import ALL_TOPICS, TRANSACTIONS
from loadtests.ingest_contestants import environment_of, held_by, processes, settings_on
from loadtests.ingest_hour_verdicts import Course, Minute, hour_result
from loadtests.ingest_log import PARTITIONS, START_MS, features_of, transaction_data
from loadtests.server_processes import processor_seconds, resident_mib
from loadtests.stored_customers import used_bytes
from loadtests.telling_results import tell
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.kafka_topics import ensure_topics
from services.adapters.redis_client import RedisClient
from services.bootstrap import open_publisher
from services.commands.state_builder import PATIENT
from services.ports import EventPublisher, OutgoingEvent
from tests.real_servers import kafka_libraries, kafka_server

SHAPES = 4_000
"""So many different transactions are written out beforehand; each event is one of them with its own id and moment."""
LONGEST_STILLSTAND = 60.0
_ID, _CUSTOMER = b"@id@", b"retail:0000000000"


@dataclass(slots=True)
class Fed:
    """How far the feeder is."""

    events: int = 0
    applied: int = 0


def main() -> int:
    """Exit status 1 where the hour was not held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1_000, help="events a second of simulated time")
    parser.add_argument("--seconds", type=int, default=3_600, help="of simulated time")
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--closed", action="store_true")
    parser.add_argument("--ahead", type=int, default=60_000)
    parser.add_argument("--kafka", action="store_true")
    args = parser.parse_args()
    course = Course(
        rate=args.rate,
        seconds=args.seconds,
        speed=args.speed,
        customers=args.customers,
        ahead=args.ahead if args.closed else None,
    )
    return 0 if tell(hour_result(course, hold(course, on_kafka=args.kafka))) else 1


def hold(course: Course, *, on_kafka: bool) -> list[Minute]:
    """Runs it; one entry a simulated minute. Raises RuntimeError where the builder ends or stands still."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="kairos-hour-")))
        kafka = stack.enter_context(kafka_server(folder, kafka_libraries())) if on_kafka else None
        return uvloop.run(_held(course, folder / "servers", kafka))


async def _held(course: Course, folder: Path, kafka: str | None) -> list[Minute]:
    features = features_of("hundred")
    async with EmbeddedServers.start(folder) as servers:
        settings = settings_on(servers, kafka)
        await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=PARTITIONS, replication=1)
        command = (sys.executable, "-m", "loadtests.ingest_worker", "hundred")
        fed = Fed()
        async with (
            RedisClient.open(settings.redis_url, limits=PATIENT) as client,
            open_publisher(settings) as publisher,
            processes([command], environment_of(settings)) as children,
        ):
            feeding = asyncio.create_task(feed(publisher, course, fed))
            watch = _Watch(client, children[0], held_by(client, settings.namespace, features.layout), fed)
            try:
                return await watch.minutes(course, feeding)
            finally:
                feeding.cancel()


async def feed(publisher: EventPublisher, course: Course, fed: Fed) -> None:
    """A simulated tenth of a second at a time, when its moment has come, or when the builder has come close. The clock
    begins when the builder has applied the first of them: a process that starts is not what is measured."""
    portion = max(1, course.rate // 10 if course.ahead is None else 2_000)
    stream = events(course)
    await _publish(publisher, list(islice(stream, portion)), fed)
    while not fed.applied:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    began, first = time.perf_counter(), fed.events
    while fed.events < course.events:
        await _publish(publisher, list(islice(stream, portion)), fed)
        if course.ahead is None:
            await asyncio.sleep(began + (fed.events - first) / (course.rate * course.speed) - time.perf_counter())
        while course.ahead is not None and fed.events - fed.applied > course.ahead:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _publish(publisher: EventPublisher, batch: list[OutgoingEvent], fed: Fed) -> None:
    await publisher.publish(batch)
    fed.events += len(batch)


def events(course: Course) -> Iterator[OutgoingEvent]:
    """In the order of simulated time, customers drawn at random: written by replacing three places in a shape."""
    draw = random.Random(8)
    shapes = [_shape(draw) for _ in range(SHAPES)]
    for number in range(course.events):
        customer = f"retail:{draw.randrange(course.customers)}"
        at = from_epoch_ms(START_MS + number * 1_000 // course.rate).isoformat(timespec="milliseconds")[:23]
        before, between, after, last = shapes[draw.randrange(SHAPES)]
        value = b"%sh%d%s%s%s%sZ%s" % (before, number, between, customer.encode(), after, at.encode(), last)
        yield OutgoingEvent(topic=TRANSACTIONS, key=customer, value=value)


def _shape(draw: random.Random) -> tuple[bytes, bytes, bytes, bytes]:
    """One transaction, cut where id, customer and time stand."""
    header: dict[str, str | datetime] = {
        "id": _ID.decode(),
        "source": "core",
        "subject": _CUSTOMER.decode(),
        "time": from_epoch_ms(946_684_800_000),
    }
    data = transaction_data(draw, str(draw.randrange(10_000)))
    value = encode_trusted("bank.transaction.posted", header, data)
    before, _, rest = value.partition(_ID)
    between, _, rest = rest.partition(_CUSTOMER)
    after, _, last = _at_time(rest)
    return before, between, after, last


def _at_time(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Around the moment, however exactly it is written."""
    start = rest.index(b"2000-01-01T")
    end = rest.index(b'"', start)
    return rest[:start], rest[start:end], rest[end:]


@dataclass(frozen=True, slots=True)
class _Watch:
    """Looks at the builder while it works."""

    client: RedisClient
    builder: asyncio.subprocess.Process
    held: Callable[[], Awaitable[int]]
    fed: Fed

    async def minutes(self, course: Course, feeding: "asyncio.Task[None]") -> list[Minute]:
        """One entry whenever a simulated minute's events have been applied, and one at the beginning."""
        found: list[Minute] = []
        step, changed = 60 * course.rate, time.perf_counter()
        while not found or found[-1].applied < course.events:
            applied = await self.held()
            if applied != self.fed.applied:
                self.fed.applied, changed = applied, time.perf_counter()
            if applied >= max(1, min(course.events, len(found) * step)):
                found.append(await self._now(applied))
                print(f"… {applied:,} of {course.events:,}, {found[-1].lag:,} behind", file=sys.stderr, flush=True)
            if feeding.done():
                feeding.result()
            if self.builder.returncode is not None or time.perf_counter() - changed > LONGEST_STILLSTAND:
                raise RuntimeError(
                    f"the state builder ended or stands still at {applied:,} of {course.events:,} events"
                )
            await asyncio.sleep(0.02)
        return found

    async def _now(self, applied: int) -> Minute:
        return Minute(
            applied=applied,
            lag=max(0, self.fed.events - applied),
            wall=time.perf_counter(),
            processor=processor_seconds(self.builder.pid),
            builder_mib=resident_mib(self.builder.pid),
            store_mib=await used_bytes(self.client) / 2**20,
        )


if __name__ == "__main__":
    sys.exit(main())
