"""`kairos simulate strategy`: a draft strategy over a recorded day, beside the active one."""

import argparse
import os
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from time import monotonic
from zoneinfo import ZoneInfo

import orjson

from decision_engine.strategy import Strategy
from event_schemas.topics import DECISIONS
from models.decision_log.archive_files import archive_files, read_rows
from models.errors import ModelsError
from models.evaluation.off_policy.judgement import REPLICATES, JudgingRule
from models.registry import ModelRegistry
from services.adapters.file_strategy_source import load_strategy_file
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.simulation.recorded_day.day_findings import DayFindings, find
from services.simulation.recorded_day.day_page import day_page
from services.simulation.recorded_day.day_text import as_json, text_lines
from services.simulation.recorded_day.group_rules import read_group
from services.simulation.recorded_day.simulate import SimulatedDay, SimulationOrder, simulate_day

_SAID_EVERY_S = 2.0


class OrderIncomplete(ShellError):
    """It is not said which draft, or which day."""


def add_day_arguments(parser: argparse.ArgumentParser) -> None:
    """Which draft, which day, and where the report goes; `--strategy` is the active strategy, `--seed` that of the
    bootstrap."""
    day = parser.add_argument_group(
        "strategy",
        "example: kairos simulate strategy --draft drafts/autumn --day 2026-11-20 --html autumn.html",
    )
    day.add_argument("--draft", type=Path, help="the draft: file or folder (default: the active strategy itself)")
    day.add_argument("--draft-model", action="append", metavar="VERSION", help="a model version that scores the draft")
    day.add_argument("--day", type=date.fromisoformat, help="first day, in the bank's time zone (default: the newest)")
    day.add_argument("--day-count", type=int, default=1, help="so many days (default 1)")
    day.add_argument("--archive", type=Path, help="the archive (default: KAIROS_ARCHIVE_PATH)")
    day.add_argument("--models", type=Path, help="the model registry (default: KAIROS_MODEL_PATH)")
    day.add_argument("--group", action="append", metavar="ATTRIBUTE[:CUT,…]", help="groups for fairness, as gender or "
                     "age:25,40,60 (default: what the strategy declares sensitive)")  # fmt: skip
    day.add_argument("--attribution-seconds", type=int, help="how long an acceptance counts (default: the settings')")
    day.add_argument("--replicates", type=int, default=REPLICATES, help=f"of the bootstrap (default {REPLICATES})")
    day.add_argument("--processes", type=int, help="default: one for each processor")
    day.add_argument("--json", action="store_true", help="print JSON")
    day.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")


def simulate_strategy(args: argparse.Namespace) -> int:
    """Simulates and reports. Raises StrategyInvalid, ShellError, ModelsError."""
    settings = read_settings(os.environ)
    order = _order(args, settings)
    rule = JudgingRule(replicates=args.replicates, seed=args.seed)
    progress = _Progress()
    progress.say(f"seed {args.seed}, {order.processes} processes, {order.partitions} partitions")
    day = simulate_day(order, progress)
    progress.say(_rate(day))
    found = find(day, rule)
    if args.html is not None:
        args.html.write_text(day_page(found), encoding="utf-8")
        progress.say(f"the report is in {args.html}")
    _print(found, as_text=not args.json)
    return 0


def _order(args: argparse.Namespace, settings: Settings) -> SimulationOrder:
    active = load_strategy_file(args.strategy or settings.strategy_path)
    draft = active if args.draft is None else load_strategy_file(args.draft)
    models, archive = args.models or settings.model_path, args.archive or settings.archive_path
    instead = {_model_name(models, version): version for version in args.draft_model or ()}
    if args.draft is None and not instead:
        raise OrderIncomplete("what is to be simulated? Give --draft STRATEGY, --draft-model VERSION, or both")
    if args.day_count < 1:
        raise OrderIncomplete(f"--day-count is at least 1, not {args.day_count}")
    since_ms, until_ms = _period(args, archive, active)
    return SimulationOrder(
        archive=archive,
        models=models,
        active=active,
        draft=draft,
        since_ms=since_ms,
        until_ms=until_ms,
        instead=instead,
        groups=None if args.group is None else tuple(read_group(text, active) for text in args.group),
        attribution_seconds=args.attribution_seconds or settings.attribution_seconds,
        processes=max(1, args.processes or os.cpu_count() or 1),
    )


def _model_name(root: Path, version: str) -> str:
    try:
        return ModelRegistry(root).manifest(version).name
    except ModelsError as error:
        raise OrderIncomplete(f"--draft-model {version}: {error}") from error


def _period(args: argparse.Namespace, archive: Path, active: Strategy) -> tuple[int, int]:
    zone = ZoneInfo(active.time_zone)
    first = args.day
    if first is None:
        first = newest_day(archive, zone)
    ends = (first, first + timedelta(days=args.day_count))
    since_ms, until_ms = (round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000) for day in ends)
    return since_ms, until_ms


def newest_day(archive: Path, zone: ZoneInfo) -> date:
    """The bank's local day of the newest archived decision; the archive's own days are those of UTC.
    Raises OrderIncomplete where there is none."""
    files = archive_files(archive, DECISIONS)
    for day in sorted({file.day for file in files}, reverse=True):
        times = [row["time"] for file in files if file.day == day for row in read_rows(file, ("time",))]
        newest = max((time for time in times if isinstance(time, datetime)), default=None)
        if newest is not None:
            return newest.astimezone(zone).date()
    raise OrderIncomplete(f"{archive} has no decisions, so there is no newest day: give --day, or --archive")


def _rate(day: SimulatedDay) -> str:
    decisions = 2 * day.totals.requests
    return f"{decisions:,} decisions in {day.wall_seconds:.1f} s, reading and folding included"


def _print(found: DayFindings, *, as_text: bool) -> None:
    if as_text:
        print("\n".join(text_lines(found)))
        return
    shown = orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    sys.stdout.write(shown.decode() + "\n")


class _Progress:
    """Says on standard error what is under way, every few seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._said_s = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = monotonic()
        if stage == self._stage and done < total and now - self._said_s < _SAID_EVERY_S:
            return
        self._stage, self._said_s = stage, now
        self.say(f"{stage}: {done:,} of {total:,}")

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=sys.stderr, flush=True)
