"""`kairos archiver`: keeps every record of the bus in the Parquet archive."""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from event_schemas.topics import ALL_TOPICS, PROFILE_UPDATES
from services.adapters.archive_erasures import ArchiveErasures
from services.adapters.parquet_archive import ParquetArchive, record_mark
from services.adapters.prometheus_metrics import Declared
from services.bootstrap import open_event_stream
from services.commands.erasing_archive import archive_erasures, archive_teller
from services.commands.running_role import run_role
from services.ports import BusUnavailable, Delivery, Metrics
from services.settings import Settings
from services.use_cases.running_beside import running_beside
from services.workers.archiver import Archiver, FlushPolicy

NAME = "archiver"
HELP = "write every record of the bus to the Parquet archive, exactly once"
EXAMPLE = "kairos archiver --archive var/archive --flush-seconds 30"

_log = logging.getLogger(__name__)
WATCH_SECONDS = 5.0
TELL_SECONDS = 1.0
METRICS = {
    "archived_total": Declared("counter", ("topic",), "Records written to the archive"),
    "archive_waiting_seconds": Declared("gauge", (), "Age of the oldest record that waits to be written"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and how often."""
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--flush-seconds", type=float, help="longest wait (default KAIROS_ARCHIVE_FLUSH_SECONDS)")
    parser.add_argument("--flush-rows", type=int, help="most records waiting (default KAIROS_ARCHIVE_FLUSH_ROWS)")


def run(args: argparse.Namespace) -> int:
    """Archives until SIGINT or SIGTERM. Raises ArchiveUnusable, LogReplaced, BusUnavailable."""

    async def work(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
        policy = FlushPolicy(
            rows=args.flush_rows or settings.archive_flush_rows,
            seconds=settings.archive_flush_seconds if args.flush_seconds is None else args.flush_seconds,
        )
        await archive(settings, args.archive or settings.archive_path, policy, metrics, stop)

    return run_role(work, METRICS)


async def archive(settings: Settings, root: Path, policy: FlushPolicy, metrics: Metrics, stop: asyncio.Event) -> None:
    """Archives until `stop` is set; what waits is written before it ends."""

    def written(topic: str, records: int) -> None:
        metrics.count("archived_total", records, topic=topic)

    erasures = archive_erasures(settings, root)
    with ParquetArchive(root, erasures=erasures) as kept:
        async with (
            open_event_stream(settings, [topic.name for topic in ALL_TOPICS]) as stream,
            _telling(settings, erasures),
        ):
            urgent = _is_nothing if erasures is None else _is_erasure
            archiver = Archiver(stream, kept, policy, record_mark, written, urgent)
            _log.info("archiving to %s", root, extra={"action": "start"})
            async with running_beside(_watch(archiver, metrics), "waiting"):
                await archiver.run(stop)
    _log.info("archived %d records", archiver.archived, extra={"action": "stop"})


@asynccontextmanager
async def _telling(settings: Settings, erasures: ArchiveErasures | None) -> AsyncIterator[None]:
    """Tells the bus and the store what was erased here, again and again and once more at the end."""
    if erasures is None:
        yield
        return
    async with archive_teller(settings, erasures) as tell:
        try:
            async with running_beside(_again_and_again(tell), "erasures"):
                yield
        finally:
            with suppress(BusUnavailable):
                await tell()


def _is_erasure(delivery: Delivery) -> bool:
    """Whether a person is waiting for all files to be gone through."""
    return delivery.topic == PROFILE_UPDATES and b"bank.customer.erased" in (delivery.value or b"")


def _is_nothing(_: Delivery) -> bool:
    """Where erasure is not set up nothing is urgent."""
    return False


async def _again_and_again(tell: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await tell()
        except BusUnavailable as error:
            _log.warning("what was erased could not be told: %s", error, extra={"action": "try again"})
        await asyncio.sleep(TELL_SECONDS)


async def _watch(archiver: Archiver, metrics: Metrics) -> None:
    """Tells how long records wait, for ever."""
    while True:
        metrics.gauge("archive_waiting_seconds", archiver.waiting_s())
        await asyncio.sleep(WATCH_SECONDS)
