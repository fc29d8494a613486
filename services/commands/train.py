"""`kairos train`: fits one model from the archive, registers it, and on request promotes it."""

import argparse
import asyncio
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.model_training import Family
from decision_engine.strategy import Strategy
from models.decision_log.archive_files import TimeRange
from models.decision_log.input_meanings import input_meanings
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import encode_catalogue, offer_facts, unlearnable_attributes
from models.decision_log.protected_attributes import protected_attributes
from models.errors import ModelsError
from models.evaluation.promotion_checks import promotion_problems
from models.evaluation.report import manifest_summary
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.churn import ChurnQuery, train_churn
from models.training.fit import FitSettings
from models.training.pipeline import train_version
from services.adapters.control_topic import control_event
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import load_strategy, open_publisher
from services.commands.model_approvals import promotion_in_place_of, serving_version
from services.commands.models_now import models_now
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.model_acts import Act

NAME = "train"
HELP = "fit models from the archive, or churn models from snapshots, print how good they are, register, and promote"
EXAMPLE = """kairos train --archive var/archive --model cross_sell --out var/models --promote --approved-by zhao
  kairos train --family acquisition --tune 30
  kairos train --family churn --snapshots var/snapshots"""


class TrainingFailed(ShellError):
    """The model could not be trained or promoted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, from what, where to."""
    parser.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    parser.add_argument("--out", type=Path, help="root of the model registry (default KAIROS_MODEL_PATH)")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="model name, as the strategy declares it")
    which.add_argument("--family", choices=tuple(Family), help="all models of the family that the strategy declares")
    parser.add_argument("--snapshots", type=Path, default=Path("var/snapshots"),
                        help="folder that `kairos snapshot` wrote: churn learns from it, and the newest one says who "
                        "belongs to a protected group (default var/snapshots)")  # fmt: skip
    parser.add_argument(
        "--half-life-rows",
        type=_rows,
        default=0,
        metavar="N",
        help="rows N older count half, and no row is kept from learning (default 0: all alike, the newest judge)",
    )
    parser.add_argument(
        "--regrow", action="store_true", help="once judged, grow as many trees again on all rows, as the learner does"
    )
    parser.add_argument("--tune", type=_trials, default=0, metavar="N",
                        help="try N sets of parameters on the validation part, with Optuna (default 0)")  # fmt: skip
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
    names = [args.model] if args.model else models_of(strategy, Family(args.family))
    registry = ModelRegistry(args.out or settings.model_path)
    for name in names:
        try:
            manifest = _train(args, settings, strategy, registry, name)
        except (ModelsError, OSError) as error:
            raise TrainingFailed(str(error)) from error
        print("\n".join(manifest_summary(manifest)))
        if args.promote:
            _promote(args, settings, manifest, act)
    return 0


def models_of(strategy: Strategy, family: Family) -> list[str]:
    """The strategy's models of a family. Raises TrainingFailed when it has none."""
    declared = [training.name for training in strategy.trainings if training.family is Family.CHURN]
    names = [name for name in (*strategy.models, *declared) if strategy.training(name).family is family]
    if not names:
        raise TrainingFailed(f"the strategy {strategy.name} declares no model of the family {family}")
    return names


def _train(
    args: argparse.Namespace, settings: Settings, strategy: Strategy, registry: ModelRegistry, name: str
) -> Manifest:
    fit = FitSettings(
        seed=args.seed,
        threads=args.threads,
        tune=args.tune,
        half_life_rows=args.half_life_rows,
        regrow=args.regrow,
    )
    now = datetime.now(UTC)
    if strategy.training(name).family is Family.CHURN:
        return train_churn(churn_query(strategy, name, args.snapshots), fit, registry, now, _progress)
    return train_version(log_query(args, settings, strategy, name), fit, registry, now, _progress)


def churn_query(strategy: Strategy, name: str, snapshots: Path) -> ChurnQuery:
    """What a churn model of the strategy learns from."""
    return ChurnQuery(
        training=strategy.training(name),
        snapshots=snapshots,
        dictionary=strategy.dictionary,
        zone=ZoneInfo(strategy.time_zone),
        excluded=unlearnable_attributes(strategy),
        meanings=input_meanings(strategy),
    )


def log_query(args: argparse.Namespace, settings: Settings, strategy: Strategy, model: str) -> LogQuery:
    """The part of the log these arguments name, over the strategy's offers."""
    training = strategy.training(model)
    return LogQuery(
        model=model,
        archive=args.archive or settings.archive_path,
        offers=offer_facts(strategy),
        zone=ZoneInfo(strategy.time_zone),
        attribution_seconds=args.attribution_seconds or settings.attribution_seconds,
        period=TimeRange(since_ms=args.since, until_ms=args.until),
        excluded=unlearnable_attributes(strategy),
        training=training,
        meanings=input_meanings(strategy),
        protected=protected_attributes(training, args.snapshots, ZoneInfo(strategy.time_zone)),
    )


def moment_ms(text: str) -> int:
    """RFC 3339 as epoch milliseconds; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a date or time such as 2026-11-21T09:30:00Z (is {text!r})") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _rows(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"a number of rows, 0 or more (is {text!r})")
    return int(text)


def _trials(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"a number of trials from 0 to 1000 (is {text!r})")
    return int(text)


def _promote(args: argparse.Namespace, settings: Settings, manifest: Manifest, act: Act) -> None:
    problems = promotion_problems(manifest)
    if problems and not args.force:
        raise TrainingFailed(
            f"{manifest.version} is registered but not promoted: {'; '.join(problems)}. Add --force to promote it."
        )
    asyncio.run(_announce(settings, manifest, act))
    print(f"\npromoted {manifest.version}")


async def _announce(settings: Settings, manifest: Manifest, act: Act) -> None:
    before = serving_version(await models_now(settings), manifest.name)
    event = promotion_in_place_of(before, manifest, replace(act, at=datetime.now(UTC)))
    async with open_publisher(settings) as publisher:
        await publisher.publish([control_event(event)])


def _progress(sentence: str) -> None:
    print(f"  {sentence}", file=sys.stderr, flush=True)
