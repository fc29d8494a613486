"""`kairos archiver`: keeps every record of the bus in the Parquet archive."""

import argparse
import asyncio
import logging
import os
from pathlib import Path

from event_schemas.topics import ALL_TOPICS
from services.adapters.metrics_page import metrics_page
from services.adapters.parquet_archive import ParquetArchive, record_mark
from services.adapters.prometheus_metrics import Declared, PrometheusMetrics
from services.bootstrap import configure_logging, open_event_stream
from services.commands.stopping import stop_on_signals
from services.settings import Settings, read_settings
from services.workers.archiver import Archiver, FlushPolicy

NAME = "archiver"
HELP = "write every record of the bus to the Parquet archive, exactly once"
EXAMPLE = "kairos archiver --archive var/archive --flush-seconds 30"

_log = logging.getLogger(__name__)
_METRICS = {"archived_total": Declared("counter", ("topic",), "Records written to the archive")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and how often."""
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--flush-seconds", type=float, help="longest wait (default KAIROS_ARCHIVE_FLUSH_SECONDS)")
    parser.add_argument("--flush-rows", type=int, help="most records waiting (default KAIROS_ARCHIVE_FLUSH_ROWS)")


def run(args: argparse.Namespace) -> int:
    """Archives until SIGINT or SIGTERM. Raises ArchiveUnusable, LogReplaced, BusUnavailable."""
    settings = read_settings(os.environ)
    configure_logging(settings)
    policy = FlushPolicy(
        rows=args.flush_rows or settings.archive_flush_rows,
        seconds=settings.archive_flush_seconds if args.flush_seconds is None else args.flush_seconds,
    )
    asyncio.run(archive(settings, args.archive or settings.archive_path, policy))
    return 0


async def archive(settings: Settings, root: Path, policy: FlushPolicy) -> None:
    """Runs the role until the process is told to stop; what waits is written before it ends."""
    stopping = stop_on_signals()
    metrics = PrometheusMetrics(_METRICS)

    def written(topic: str, records: int) -> None:
        metrics.count("archived_total", records, topic=topic)

    with ParquetArchive(root) as kept:
        async with (
            metrics_page(settings.host, settings.metrics_port, metrics.exposition),
            open_event_stream(settings, [topic.name for topic in ALL_TOPICS]) as stream,
        ):
            archiver = Archiver(stream, kept, policy, record_mark, written)
            _log.info("archiving to %s", root, extra={"action": "start"})
            await archiver.run(stopping)
    _log.info("archived %d records", archiver.archived, extra={"action": "stop"})
