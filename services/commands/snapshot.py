"""`kairos snapshot`: every customer's attributes as of the end of past days, folded from the archive.

The fold is the state builder's own, so a snapshot of a day long past is what a decision would have read that evening.
"""

import argparse
import os
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.consent import is_granted
from decision_engine.customer import PERSONALISATION
from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy import Strategy
from event_schemas.codec import DecodeError, decode
from event_schemas.envelope import epoch_ms
from event_schemas.topics import STATE_TOPICS
from models.decision_log.archive_files import TimeRange, archive_files, read_rows
from models.decision_log.state_snapshots import SnapshotRow, end_of_day, write_states
from services.bootstrap import load_strategy
from services.ports import OutgoingEvent, ShellError
from services.settings import read_settings
from services.simulation.cloud_events import TimedEvent
from services.simulation.in_process_states import InProcessStates
from services.simulation.progress import progress

NAME = "snapshot"
HELP = "write what is known of every customer at the end of past days, from the archive: churn models learn from it"
EXAMPLE = "kairos snapshot --at 2026-09-30 --at 2026-10-30 --snapshots var/snapshots"


class NothingArchived(ShellError):
    """The archive holds no event of any customer up to that day."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which days, from where, to where."""
    parser.add_argument("--at", type=date.fromisoformat, action="append", required=True, metavar="DATE",
                        help="as of the end of that day by the bank's calendar; may be repeated")  # fmt: skip
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--snapshots", type=Path, help="folder of the snapshots (default KAIROS_SNAPSHOT_PATH)")


def run(args: argparse.Namespace) -> int:
    """Writes one file a day and names it. Raises NothingArchived, StrategyInvalid."""
    settings = read_settings(os.environ)
    strategy = load_strategy(settings).strategy
    days = sorted(set(args.at))
    with progress("snapshots", len(days), 0) as show:
        for number, (day, rows) in enumerate(_snapshots(strategy, args.archive or settings.archive_path, days)):
            path = write_states(args.snapshots or settings.snapshot_path, day, rows)
            show(number + 1)
            print(f"{path}: {len(rows):,} customers, {sum(not row.personalised for row in rows):,} not to be profiled")
    return 0


def _snapshots(strategy: Strategy, archive: Path, days: list[date]) -> Iterator[tuple[date, list[SnapshotRow]]]:
    """Each day with everybody known by its end; events are taken in once, in the order of days."""
    zone = ZoneInfo(strategy.time_zone)
    states = InProcessStates(compile_features(strategy.declarations, EVENT_FIELDS), strategy)
    known: set[str] = set()
    since_ms: int | None = None
    for day in days:
        until_ms = end_of_day(day, zone) + 1
        timed = list(_events(archive, TimeRange(since_ms=since_ms, until_ms=until_ms)))
        states.add(timed)
        known |= {event.event.key for event in timed}
        if not known:
            raise NothingArchived(f"no customer has an event in {archive} up to {day}; is the archiver running?")
        yield day, snapshot_rows(strategy, states, sorted(known), until_ms - 1)
        since_ms = until_ms


def snapshot_rows(strategy: Strategy, states: InProcessStates, customers: list[str], at_ms: int) -> list[SnapshotRow]:
    """Every known customer as of a moment; whoever was erased is not known any more."""
    rows = []
    for customer in customers:
        snapshot = states.read(customer, at_ms)
        if snapshot.known:
            rows.append(
                SnapshotRow(
                    customer_id=customer,
                    holdings=snapshot.holdings,
                    personalised=is_granted(PERSONALISATION, strategy.consents, snapshot),
                    attributes=snapshot.attributes,
                )
            )
    return rows


def _events(archive: Path, wanted: TimeRange) -> Iterator[TimedEvent]:
    """What the state builder would have applied: records that can be read, whose subject is a customer."""
    for topic in STATE_TOPICS:
        for file in archive_files(archive, topic, wanted):
            for row in read_rows(file, ("time", "subject", "value")):
                moment, subject, value = row["time"], row["subject"], row["value"]
                if not (isinstance(moment, datetime) and isinstance(subject, str) and isinstance(value, str)):
                    continue
                if wanted.includes(moment) and _readable(value.encode()):
                    yield TimedEvent(epoch_ms(moment), OutgoingEvent(topic=topic, key=subject, value=value.encode()))


def _readable(value: bytes) -> bool:
    try:
        decode(value)
    except DecodeError:
        return False
    return True
