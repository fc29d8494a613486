"""`kairos experiments report`: what the arms of every experiment earned, from the archive."""

import argparse
import os
import sys
from pathlib import Path

from models.decision_log.archive_files import TimeRange
from models.decision_log.offer_catalogue import offer_facts
from models.errors import ModelsError
from models.evaluation.experiment_report import ExperimentQuery, experiment_lines, experiment_results
from services.bootstrap import load_strategy
from services.commands.train import moment_ms
from services.ports import ShellError
from services.settings import read_settings

NAME = "experiments"
HELP = "compare the arms of the experiments on archived decisions and responses"
EXAMPLE = "kairos experiments report --archive var/archive --since 2026-11-01"


class ReportFailed(ShellError):
    """There is nothing to compare, or the archive cannot be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to read."""
    parser.add_argument("what", choices=("report",), help="print what each arm earned, its lift, and a daily test")
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--since", type=moment_ms, help="first decision time (default: all)")
    parser.add_argument("--until", type=moment_ms, help="decisions before this time (default: all)")
    parser.add_argument("--attribution-seconds", type=int, help="default KAIROS_ATTRIBUTION_SECONDS")


def run(args: argparse.Namespace) -> int:
    """Prints the report. Raises ReportFailed, StrategyInvalid."""
    settings = read_settings(os.environ)
    query = ExperimentQuery(
        archive=args.archive or settings.archive_path,
        offers=offer_facts(load_strategy(settings).strategy),
        attribution_seconds=args.attribution_seconds or settings.attribution_seconds,
        period=TimeRange(since_ms=args.since, until_ms=args.until),
    )
    try:
        results = experiment_results(query, _progress)
    except (ModelsError, OSError) as error:
        raise ReportFailed(str(error)) from error
    print("\n".join(experiment_lines(results)))
    return 0


def _progress(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)
