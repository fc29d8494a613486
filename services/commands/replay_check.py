"""`kairos replay-check`: computes every decision of the archive again and compares it byte for byte."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import orjson

from decision_engine.errors import DecisionEngineError
from models.decision_log.archive_files import EVERYTHING, TimeRange
from services.adapters.parquet_archive import ArchiveReader
from services.bootstrap import open_strategy_versions
from services.commands.explain import registered_models
from services.ports import ShellError
from services.settings import read_settings
from services.use_cases.decision_replay import Replay, Replayer

NAME = "replay-check"
HELP = "compute every archived decision again, with its own strategy and models, and compare byte for byte"
EXAMPLE = "kairos replay-check --archive var/archive --day 2026-11-21"

_SHOWN = 10
_EVERY = 5_000
_AROUND = 60


@dataclass(slots=True)
class CheckedDecisions:
    """What came of a check. `differing` and `impossible` hold a line on each of the first few."""

    count: int = 0
    identical: int = 0
    differing: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    missed: int = 0
    """How many were not identical, those without a line of their own included."""
    strategies: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    degraded: int = 0
    bytes: int = 0
    longest: int = 0

    @property
    def sound(self) -> bool:
        """Whether there were decisions, and all were identical."""
        return self.identical == self.count > 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which archive, which day, and where strategies and models are kept."""
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--day", type=date.fromisoformat, help="a day, UTC (default: everything archived)")


def run(args: argparse.Namespace) -> int:
    """Status 0 only when every decision is identical and there was at least one."""
    settings = read_settings(os.environ)
    reader = ArchiveReader(args.archive or settings.archive_path)
    replayer = Replayer(open_strategy_versions(settings).prepared, registered_models(settings))
    checked = check_decisions(reader.iter_decisions(_period(args.day)), replayer)
    print("\n".join(_report(checked)))
    return 0 if checked.sound else 1


def check_decisions(records: Iterable[bytes], replayer: Replayer) -> CheckedDecisions:
    """Replays them all; one that cannot be replayed is counted and does not stop the others."""
    checked = CheckedDecisions()
    for record in records:
        _note(checked, record)
        try:
            replay = replayer.replay(record)
        except (ShellError, DecisionEngineError, KeyError, TypeError, ValueError) as error:
            checked.missed += 1
            if len(checked.impossible) < _SHOWN:
                checked.impossible.append(f"{_name(record)}: {type(error).__name__}: {error}")
            continue
        checked.identical += replay.identical
        if not replay.identical:
            checked.missed += 1
            if len(checked.differing) < _SHOWN:
                checked.differing.append(_difference(replay))
        if checked.count % _EVERY == 0:
            print(f"{checked.count:,} decisions, {checked.identical:,} identical", file=sys.stderr, flush=True)
    return checked


def _note(checked: CheckedDecisions, record: bytes) -> None:
    checked.count += 1
    checked.bytes += len(record)
    checked.longest = max(checked.longest, len(record))
    data = _data(record)
    checked.strategies[str(data.get("strategy_version"))] += 1
    checked.degraded += bool(data.get("degraded"))
    models = data.get("models")
    checked.models.update(str(version) for version in (models.values() if isinstance(models, dict) else ()))


def _report(checked: CheckedDecisions) -> Iterator[str]:
    yield f"decisions   {checked.count:,}"
    yield f"identical   {checked.identical:,}"
    yield f"differing   {checked.missed:,}"
    if not checked.count:
        yield "the archive has no decisions there: is the archiver running, and is it this day (UTC)?"
        return
    yield f"degraded    {checked.degraded:,}"
    yield f"bytes       {checked.bytes // checked.count:,} on average, {checked.longest:,} at most"
    yield from (f"strategy    {version}  {count:,}" for version, count in sorted(checked.strategies.items()))
    yield from (f"model       {version}  {count:,}" for version, count in sorted(checked.models.items()))
    yield from (f"DIFFERENT   {line}" for line in checked.differing)
    yield from (f"IMPOSSIBLE  {line}" for line in checked.impossible)


def _difference(replay: Replay) -> str:
    place = replay.first_difference or 0
    shown = slice(max(0, place - _AROUND), place + _AROUND)
    recorded, again = (text[shown].decode(errors="replace") for text in (replay.record, replay.recomputed))
    return f"{_name(replay.record)} from byte {place}: …{recorded}… became …{again}…"


def _name(record: bytes) -> str:
    return f"decision {_data(record).get('decision_id')}"


def _data(record: bytes) -> dict[str, object]:
    try:
        event = orjson.loads(record)
    except ValueError:
        return {}
    data = event.get("data") if isinstance(event, dict) else None
    return data if isinstance(data, dict) else {}


def _period(day: date | None) -> TimeRange:
    if day is None:
        return EVERYTHING
    start = datetime.combine(day, time(), UTC)
    return TimeRange(since_ms=_epoch_ms(start), until_ms=_epoch_ms(start + timedelta(days=1)))


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
