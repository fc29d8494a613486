"""`kairos attribution`: what conversions are credited to, from the archive."""

import argparse
import os
import time
from pathlib import Path

from event_schemas.topics import CONVERSIONS
from models.decision_log.archive_files import TimeRange
from services.adapters.parquet_archive import ArchiveReader
from services.commands.train import moment_ms
from services.settings import read_settings
from services.use_cases.attribution_report import (
    AttributionQuery,
    AttributionReport,
    CreditedBy,
    CreditModel,
    report,
)
from services.use_cases.wire_time import rfc3339

NAME = "attribution"
HELP = "show which offers, treatments, channels or arms the conversions are credited to"
EXAMPLE = "kairos attribution --since 2026-11-01 --by channel --model shared"
_DAYS_MS = 30 * 86_400_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to read and how to count it."""
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--since", type=moment_ms, help="first conversion time (default: 30 days before --until)")
    parser.add_argument("--until", type=moment_ms, help="conversions before this time (default: now)")
    parser.add_argument("--by", choices=tuple(CreditedBy), default=CreditedBy.OFFER, help="a row each (default offer)")
    parser.add_argument(
        "--model", choices=tuple(CreditModel), default=CreditModel.LAST_TOUCH, help="who gets it (default last_touch)"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the table. Raises ReportTooLarge, SettingsInvalid."""
    settings = read_settings(os.environ)
    until_ms = int(time.time() * 1000) if args.until is None else args.until
    query = AttributionQuery(
        since_ms=until_ms - _DAYS_MS if args.since is None else args.since,
        until_ms=until_ms,
        by=CreditedBy(args.by),
        model=CreditModel(args.model),
    )
    reader = ArchiveReader(args.archive or settings.archive_path)
    events = reader.read_events((CONVERSIONS,), TimeRange(since_ms=query.since_ms, until_ms=query.until_ms))
    print("\n".join(table(report((e.value for e in events if e.value is not None), query), query)))
    return 0


def table(found: AttributionReport, query: AttributionQuery) -> list[str]:
    """The report for people; values in minor units."""
    head = f"conversions from {rfc3339(query.since_ms)} until {rfc3339(query.until_ms)}, {query.model} credit"
    if not found.rows:
        return [head, "none"]
    width = max(len(query.by), len("total"), *(len(row.name) for row in found.rows))
    lines = [head, f"{query.by:<{width}}  {'conversions':>12}  {'share':>6}  {'value':>16}  {'touches':>8}"]
    for row in found.rows:
        share = row.conversions / found.conversions
        lines.append(
            f"{row.name:<{width}}  {row.conversions:>12.2f}  {share:>6.1%}  {row.value:>16,}  {row.touches:>8}"
        )
    touches = sum(row.touches for row in found.rows)
    lines.append(f"{'total':<{width}}  {found.conversions:>12.2f}  {1:>6.1%}  {found.value:>16,}  {touches:>8}")
    if found.unreadable:
        lines.append(f"{found.unreadable} records could not be read and are not counted")
    return lines
