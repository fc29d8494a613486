"""`kairos evaluate`: how good a model is on the decision log, what another policy would have earned on it, why a
decision's options got their probabilities, or what the service's features are worth on Berka."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts
from models.errors import ModelsError
from models.evaluation.log_report import log_report
from models.evaluation.report import aligned
from models.registry import ModelRegistry
from models.training.take_up import FIT_DAYS, HORIZON_MONTHS, TEST_DAY, TakeUpReport, judge_take_up
from services.adapters.file_strategy_source import load_strategy_file
from services.bootstrap import load_strategy, strategy_finder
from services.commands.evaluation_report import add_report_arguments, explain_decision, write_report
from services.commands.policy_evaluation import add_policy_arguments, evaluate_policy
from services.commands.train import moment_ms
from services.ports import ShellError
from services.settings import read_settings

NAME = "evaluate"
HELP = (
    "judge a model, with plots (report), or a way of deciding (policy) on the decision log; say why a decision got its "
    "probabilities (explain); or judge the service's features on a real bank (berka)"
)
EXAMPLE = """kairos evaluate --model cross_sell
  kairos evaluate report --model cross_sell --out var/reports --group gender --group age:30,45,60
  kairos evaluate explain 01JD7ZK3V8Q4X9T2M5R6W7Y8AB
  kairos evaluate policy --model cross_sell --clip 20
  kairos evaluate policy --draft deploy/strategies/demo_bank --json
  kairos evaluate berka --snapshots var/snapshots --labels-from ../shared/data"""

_BERKA_STRATEGY = Path("deploy/strategies/berka")
_DATA = Path("../shared/data")
_WHAT = ("log", "report", "explain", "policy", "berka")


class EvaluationFailed(ShellError):
    """There is nothing to judge, or not enough."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to judge, on what."""
    parser.add_argument("what", nargs="?", choices=_WHAT, default="log", help="default: log")
    log = parser.add_argument_group("log, report, policy: a registered model on archived decisions and responses")
    log.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    log.add_argument("--models", type=Path, help="root of the model registry (default KAIROS_MODEL_PATH)")
    log.add_argument("--model", help="model name")
    log.add_argument("--version", help="version (default: the newest of the model)")
    log.add_argument("--since", type=moment_ms, help="first decision time (default: what the model never learnt from)")
    log.add_argument("--attribution-seconds", type=int, help="default: as the model was trained")
    add_report_arguments(parser)
    add_policy_arguments(parser)
    berka = parser.add_argument_group("berka: first loan within six months, from snapshots of the service's attributes")
    berka.add_argument("--snapshots", type=Path, default=Path("var/snapshots"), help="folder of the snapshots")
    berka.add_argument(
        "--labels-from", "--data", type=Path, dest="labels_from", help=f"folder of the data (KAIROS_DATA, {_DATA})"
    )
    berka.add_argument("--strategy", type=Path, default=_BERKA_STRATEGY, help=f"default {_BERKA_STRATEGY}")


def run(args: argparse.Namespace) -> int:
    """Prints the report; for a policy, status 2 says that nothing is to be concluded. Raises EvaluationFailed,
    StrategyInvalid."""
    reports: dict[str, Callable[[argparse.Namespace], list[str]]] = {
        "log": _log, "report": _full, "explain": explain_decision, "berka": _berka
    }  # fmt: skip
    try:
        if args.what == "policy":
            return evaluate_policy(args)
        lines = reports[args.what](args)
    except (ModelsError, OSError) as error:
        raise EvaluationFailed(str(error)) from error
    print("\n".join(lines))
    return 0


def _log(args: argparse.Namespace) -> list[str]:
    asked = _asked(args)
    return log_report(asked.query, asked.registry.load(asked.version), asked.learnt_until_ms, _progress)


def _full(args: argparse.Namespace) -> list[str]:
    asked = _asked(args)
    return write_report(args, asked.version, asked.query)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The version to judge, where it is, the part of the log, and where the rows end that it learnt from."""

    version: str
    registry: ModelRegistry
    query: LogQuery
    learnt_until_ms: int


def _asked(args: argparse.Namespace) -> _Asked:
    settings = read_settings(os.environ)
    if args.model is None and args.version is None:
        raise EvaluationFailed("which model? Give --model NAME or --version VERSION")
    strategy = load_strategy(settings).strategy
    registry = ModelRegistry(args.models or settings.model_path)
    version = args.version or registry.newest(args.model)
    if version is None:
        raise EvaluationFailed(f"no version of {args.model} is registered; train one with `kairos train`")
    manifest = registry.manifest(version)
    learnt_until_ms = 0 if manifest.data is None else manifest.data.held_out_since_ms
    trained_with = settings.attribution_seconds if manifest.data is None else manifest.data.attribution_seconds
    query = LogQuery(
        model=manifest.name,
        archive=args.archive or settings.archive_path,
        offers=offer_facts(strategy),
        zone=ZoneInfo(strategy.time_zone),
        attribution_seconds=args.attribution_seconds or trained_with,
        period=TimeRange(since_ms=learnt_until_ms if args.since is None else args.since),
        strategy_of=strategy_finder(settings),
    )
    return _Asked(version, registry, query, learnt_until_ms)


def _berka(args: argparse.Namespace) -> list[str]:
    dictionary = load_strategy_file(args.strategy).dictionary
    report = judge_take_up(args.snapshots, _data_folder(args.labels_from), dictionary)
    return [
        f"first loan within {HORIZON_MONTHS} months of {TEST_DAY}, learnt from {', '.join(map(str, FIT_DAYS))}",
        f"{report.fit_rows:,} rows to learn from ({report.fit_positives} took a loan), "
        f"{report.test_rows:,} to judge on ({report.test_positives})",
        "",
        *_take_up_table(report),
    ]


def _data_folder(given: Path | None) -> Path:
    """The folder with the loan file: as given, or its part `berka`."""
    root = given or Path(os.environ.get("KAIROS_DATA", _DATA))
    return root / "berka" if (root / "berka").is_dir() else root


def _take_up_table(report: TakeUpReport) -> list[str]:
    rows = [("attributes", "columns", "AUC", "95 % interval")]
    for result in report.results:
        interval = f"{result.auc.low:.3f} .. {result.auc.high:.3f}"
        rows.append((result.title, str(result.columns), f"{result.auc.value:.3f}", interval))
    gains = [("theme / source", "share of what the trees gained")]
    gains += [(source, f"{share:.1%}") for source, share in report.results[0].gain_by_source.items()]
    return [*aligned(rows), "", *aligned(gains)]


def _progress(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)
