"""`kairos train`: fits one model from the archive, registers it, and on request promotes it."""

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.strategy import Strategy
from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import encode_catalogue, offer_facts, unlearnable_attributes
from models.errors import ModelsError
from models.evaluation.report import manifest_summary
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.fit import FitSettings
from models.training.pipeline import train_version
from models.training.promotion import promotion_problems
from services.adapters.control_topic import control_event
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import load_strategy, open_publisher
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.model_acts import Act, promotion_of

NAME = "train"
HELP = "fit one model from the archive, print how good it is, register it, and promote it if asked to"
EXAMPLE = "kairos train --archive var/archive --model cross_sell --out var/models --promote --approved-by zhao"


class TrainingFailed(ShellError):
    """The model could not be trained or promoted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, from what, where to."""
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--out", type=Path, help="root of the model registry (default KAIROS_MODEL_PATH)")
    parser.add_argument("--model", required=True, help="model name, as the strategy's offers refer to it")
    parser.add_argument("--since", type=moment_ms, help="first decision time, RFC 3339 (default: all)")
    parser.add_argument("--until", type=moment_ms, help="decision time to stop before, RFC 3339")
    parser.add_argument("--attribution-seconds", type=int, help="default KAIROS_ATTRIBUTION_SECONDS")
    parser.add_argument("--seed", type=int, default=7, help="same data and seed give the same model (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="processors to use (default 1)")
    parser.add_argument("--promote", action="store_true", help="put it in service everywhere if it passes its checks")
    parser.add_argument("--force", action="store_true", help="with --promote: even if it does not pass")
    parser.add_argument("--actor", default=os.environ.get("USER", "operator"), help="who promotes (default: you)")
    parser.add_argument("--approved-by", help="with --promote: the second person; must not be the actor")
    parser.add_argument(
        "--write-catalogue", type=Path, help="also write the offers as `python -m models.training` reads"
    )


def run(args: argparse.Namespace) -> int:
    """Trains and prints. Raises TrainingFailed, ApprovalMissing, StrategyInvalid, BusUnavailable."""
    settings = read_settings(os.environ)
    act = Act(event_id=UlidIds().new_id(), at=datetime.now(UTC), actor=args.actor, approved_by=args.approved_by)
    if args.promote:
        act.require_second_person()
    strategy = load_strategy(settings).strategy
    if args.write_catalogue is not None:
        args.write_catalogue.write_text(encode_catalogue(offer_facts(strategy)), encoding="utf-8")
    try:
        registry = ModelRegistry(args.out or settings.model_path)
        query, fit = log_query(args, settings, strategy), FitSettings(seed=args.seed, threads=args.threads)
        manifest = train_version(query, fit, registry, datetime.now(UTC), _progress)
    except (ModelsError, OSError) as error:
        raise TrainingFailed(str(error)) from error
    print("\n".join(manifest_summary(manifest)))
    return _promote(args, settings, manifest, act) if args.promote else 0


def log_query(args: argparse.Namespace, settings: Settings, strategy: Strategy) -> LogQuery:
    """The part of the log these arguments name, over the strategy's offers."""
    return LogQuery(
        model=args.model,
        archive=args.archive or settings.archive_path,
        offers=offer_facts(strategy),
        zone=ZoneInfo(strategy.time_zone),
        attribution_seconds=args.attribution_seconds or settings.attribution_seconds,
        period=TimeRange(since_ms=args.since, until_ms=args.until),
        excluded=unlearnable_attributes(strategy),
    )


def moment_ms(text: str) -> int:
    """RFC 3339 as epoch milliseconds; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a date or time such as 2026-11-21T09:30:00Z (is {text!r})") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _promote(args: argparse.Namespace, settings: Settings, manifest: Manifest, act: Act) -> int:
    problems = promotion_problems(manifest)
    if problems and not args.force:
        raise TrainingFailed(
            f"{manifest.version} is registered but not promoted: {'; '.join(problems)}. Add --force to promote it."
        )
    asyncio.run(_announce(settings, manifest, act))
    print(f"\npromoted {manifest.version}")
    return 0


async def _announce(settings: Settings, manifest: Manifest, act: Act) -> None:
    event = promotion_of(
        manifest, event_id=act.event_id, at=datetime.now(UTC), actor=act.actor, approved_by=act.approved_by
    )
    async with open_publisher(settings) as publisher:
        await publisher.publish([control_event(event)])


def _progress(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)
