"""`kairos models`: the versions of the models, and what each of them is to do.

A version comes into service, or gets a share of the customers, only after the checks a node makes and with the approval
of a second person. Taking one out, or having one score in the shadow, needs no approval: neither shows a customer
anything that was not approved.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.strategy import Strategy
from event_schemas.codec import Event
from event_schemas.control import Challenge, ModelChallenged, ModelPromoted, ModelShadowed
from models.compatibility import available_columns
from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts
from models.errors import ModelsError
from models.evaluation.promotion_checks import promotion_problems
from models.evaluation.report import aligned
from models.evaluation.shadow_comparison import compare_shadow, comparison_rows
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.card_text import CARD_FILE, CARD_TEXT_FILE
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.control_topic import control_event
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import load_strategy, open_publisher
from services.commands import model_approvals
from services.commands.model_approvals import promotion_in_place_of, recorded_problems, serving_version, share_between
from services.commands.model_drift import add_drift_arguments, told_drift
from services.commands.models_now import ModelsNow, models_now
from services.commands.train import moment_ms
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.model_acts import Act, challenge_of, promotion_of, retirement_of, shadowing_of

NAME = "models"
HELP = (
    "list the model versions and their cards; put one in service, a share of it, or the shadow; take one out; compare"
)
EXAMPLE = """kairos models list
  kairos models card cross_sell-20261120T020000Z-0a1b2c3d
  kairos models shadow cross_sell-20261120T020000Z-0a1b2c3d --actor lin
  kairos models compare cross_sell-20261120T020000Z-0a1b2c3d
  kairos models challenge cross_sell-20261120T020000Z-0a1b2c3d --share 0.1 --actor lin --approved-by zhao
  kairos models drift cross_sell-20261120T020000Z-0a1b2c3d --out drift.json
  kairos models proposals
  kairos models approve cross_sell-20261120T020000Z-0a1b2c3d --share 0.1 --actor zhao
  kairos models rollback cross_sell --actor lin --approved-by zhao
  kairos models promote cross_sell-20261120T020000Z-0a1b2c3d --actor lin --approved-by zhao
  kairos models retire cross_sell --role challenger --actor lin"""


class ModelActRefused(ShellError):
    """The version does not pass its checks, or there is nothing to act on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One act, and what it needs."""
    parser.add_argument("--models", type=Path, help="root of the model registry (default KAIROS_MODEL_PATH)")
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    acts.add_parser("list", help="the registered versions, their figures, and what they do now")
    for name, text in (
        ("promote", "put a version in service everywhere; also the way back to an earlier one"),
        ("challenge", "have a version serve a share of the customers"),
        ("shadow", "have a version score decisions without deciding any"),
    ):
        act = acts.add_parser(name, help=text)
        act.add_argument("version")
        _who(act)
        if name != "shadow":
            act.add_argument("--approved-by", help="the second person; must not be the actor")
            act.add_argument("--force", action="store_true", help="even if its figures do not pass")
        if name == "challenge":
            act.add_argument("--share", type=share_between, required=True, help="of the customers, above 0 and below 1")
        if name == "shadow":
            act.add_argument("--sample", type=_share_or_all, default=1.0, help="of the decisions (default 1)")
    card = acts.add_parser("card", help="what a version is for, what it sees, how good it is, where its limits are")
    card.add_argument("version")
    card.add_argument("--json", action="store_true", help="as programs read it")
    model_approvals.add_approval_acts(acts)
    retire = acts.add_parser("retire", help="end what a model's version does")
    retire.add_argument("name", help="the model's name")
    retire.add_argument("--role", choices=("champion", "challenger", "shadow"), default="champion")
    retire.add_argument("--comment")
    _who(retire)
    compare = acts.add_parser("compare", help="a version in the shadow beside what served, on answered options")
    compare.add_argument("version")
    compare.add_argument("--archive", type=Path, help="root of the archive (default KAIROS_ARCHIVE_PATH)")
    compare.add_argument("--since", type=moment_ms, help="first decision time, RFC 3339 (default: all)")
    compare.add_argument("--attribution-seconds", type=int, help="default KAIROS_ATTRIBUTION_SECONDS")
    add_drift_arguments(acts.add_parser("drift", help="what has moved since a version was made"))


def run(args: argparse.Namespace) -> int:
    """Does one act. Raises ModelActRefused, ApprovalMissing, StrategyInvalid, BusUnavailable, ControlUnread."""
    settings = read_settings(os.environ)
    registry = ModelRegistry(args.models or settings.model_path)
    try:
        if args.act == "list":
            print("\n".join(_listed(asyncio.run(models_now(settings)), registry)))
        elif args.act == "card":
            print(_card(args, registry), end="")
        elif args.act == "proposals":
            now = asyncio.run(models_now(settings))
            print("\n".join(model_approvals.proposal_lines(now, datetime.now(UTC), _terms(settings))))
        elif args.act in model_approvals.ACTS:
            asyncio.run(_answer(args, settings, registry))
        elif args.act == "compare":
            print("\n".join(_compared(args, settings, registry)))
        elif args.act == "drift":
            print("\n".join(_drifted(args, settings, registry)))
        else:
            asyncio.run(_announce(args, settings, registry))
    except (ModelsError, OSError) as error:
        raise ModelActRefused(str(error)) from error
    return 0


async def _announce(args: argparse.Namespace, settings: Settings, registry: ModelRegistry) -> None:
    """Checks, then publishes the act."""
    act = Act(event_id=UlidIds().new_id(), at=datetime.now(UTC), actor=args.actor, approved_by=_approver(args))
    if args.act == "retire":
        event: Event = retirement_of(
            args.name, event_id=act.event_id, at=act.at, actor=act.actor, role=args.role, comment=args.comment
        )
        done = f"{args.name} has no {args.role} any more"
    else:
        if args.act != "shadow":
            act.require_second_person()
        manifest = registry.verify(args.version)
        force, now_ms = getattr(args, "force", True), _terms(settings).now_ms(act.at)
        await require_fit(manifest, registry, load_strategy(settings).strategy, force=force, now_ms=now_ms)
        before = serving_version(await models_now(settings), manifest.name) if args.act == "promote" else None
        event = act_on(manifest, act, args, before)
        done = f"{manifest.version}: {args.act} is announced to every node"
    async with open_publisher(settings) as publisher:
        await publisher.publish([control_event(event)])
    print(done)


def act_on(
    manifest: Manifest, act: Act, args: argparse.Namespace, before: str | None
) -> ModelPromoted | ModelChallenged | ModelShadowed:
    """The event of the act these arguments name; `before` is the version in service."""
    if args.act == "challenge":
        return challenge_of(manifest, act, args.share)
    if args.act == "shadow":
        return shadowing_of(manifest, act, args.sample)
    return promotion_in_place_of(before, manifest, act)


async def require_fit(
    manifest: Manifest, registry: ModelRegistry, strategy: Strategy, *, force: bool, now_ms: int | None = None
) -> None:
    """The checks every node makes before it lets a version serve, and its figures unless forced. Raises
    ModelActRefused."""
    problems = [] if force else [*promotion_problems(manifest), *recorded_problems(manifest, registry, now_ms)]
    if problems:
        raise ModelActRefused(f"{manifest.version}: {'; '.join(problems)}. Add --force to do it all the same.")
    failed: list[str] = []
    node = ArtifactModelProvider(registry, available_columns(strategy), failed.append)
    await node.on_promoted(promotion_of(manifest, event_id="trial", at=datetime.now(UTC), actor="trial"))
    if failed:
        raise ModelActRefused(f"{manifest.version} would be refused by every node, for the reason logged above")


def _card(args: argparse.Namespace, registry: ModelRegistry) -> str:
    manifest = registry.verify(args.version)
    card = registry.file(args.version, CARD_FILE if args.json else CARD_TEXT_FILE)
    if card is None:
        raise ModelActRefused(f"{args.version} has no card: it was trained before cards were written; train it anew")
    head = "" if args.json else f"<!-- {manifest.version}, registered {manifest.created_at} -->\n"
    return head + card.decode()


async def _answer(args: argparse.Namespace, settings: Settings, registry: ModelRegistry) -> None:
    """Proposes, answers a proposal, or goes back."""
    act = Act(event_id=UlidIds().new_id(), at=datetime.now(UTC), actor=args.actor, approved_by=_approver(args))
    now, done = await models_now(settings), f"{args.act} is announced to every node"
    if args.act == "rollback":
        manifest, event = model_approvals.rolling_back(now, args.name, registry, act)
        await require_fit(manifest, registry, load_strategy(settings).strategy, force=True)
    elif args.act == "decline":
        event = model_approvals.declining(now, args.version, act, args.comment)
    else:
        manifest = registry.verify(args.version)
        approves, now_ms = args.act == "approve", _terms(settings).now_ms(act.at)
        await require_fit(manifest, registry, load_strategy(settings).strategy, force=approves, now_ms=now_ms)
        if approves:
            event = model_approvals.approving(now, manifest, act, args.share, _terms(settings))
        else:
            event = model_approvals.proposing(manifest, registry, act, args.comment, now_ms)
            done = "proposed; a second person has to approve it"
    async with open_publisher(settings) as publisher:
        await publisher.publish([control_event(event)])
    print(f"{manifest.version if args.act == 'rollback' else args.version}: {done}")


def _listed(now: ModelsNow, registry: ModelRegistry) -> list[str]:
    roles: dict[str, list[str]] = {}
    for (role, _), act in sorted(now.roles.items()):
        share = f" {act.share:.0%}" if isinstance(act, Challenge) else ""
        roles.setdefault(act.version, []).append(f"{role}{share}")
    for version in now.proposals:
        roles.setdefault(version, []).append("proposed")
    rows = [("version", "rows", "AUC", "log loss gained", "now")]
    for version in registry.versions():
        manifest = registry.manifest(version)
        auc, gain = _figure(manifest, "auc"), _figure(manifest, "log_loss_gain")
        rows.append((version, _rows(manifest), auc, gain, ", ".join(roles.pop(version, [])) or "-"))
    lines = aligned(rows)
    return [*lines, *(f"{version} is {', '.join(now)} and NOT in this registry" for version, now in roles.items())]


def _drifted(args: argparse.Namespace, settings: Settings, registry: ModelRegistry) -> Sequence[str]:
    manifest = registry.manifest(args.version)
    # Labels are those the version was made with, or its rates are not its own.
    seconds = settings.attribution_seconds if manifest.data is None else manifest.data.attribution_seconds
    return told_drift(args, _query_of(manifest, args.archive, settings, seconds), registry)


def _compared(args: argparse.Namespace, settings: Settings, registry: ModelRegistry) -> list[str]:
    manifest = registry.manifest(args.version)
    seconds = args.attribution_seconds or settings.attribution_seconds
    query = replace(_query_of(manifest, args.archive, settings, seconds), period=TimeRange(since_ms=args.since))
    comparison = compare_shadow(query, manifest.version, lambda line: print(line, file=sys.stderr, flush=True))
    return [manifest.version, "", *aligned(comparison_rows(comparison))]


def _query_of(manifest: Manifest, archive: Path | None, settings: Settings, attribution_seconds: int) -> LogQuery:
    strategy = load_strategy(settings).strategy
    return LogQuery(
        model=manifest.name,
        archive=archive or settings.archive_path,
        offers=offer_facts(strategy),
        zone=ZoneInfo(strategy.time_zone),
        attribution_seconds=attribution_seconds,
    )


def _terms(settings: Settings) -> model_approvals.Terms:
    return model_approvals.Terms(proposal_days=settings.proposal_days, replay=settings.clock == "events")


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actor", default=os.environ.get("USER", "operator"), help="who does this (default: you)")


def _approver(args: argparse.Namespace) -> str | None:
    found = getattr(args, "approved_by", None)
    return found if isinstance(found, str) else None


def _share_or_all(text: str) -> float:
    return 1.0 if float(text) == 1 else share_between(text)


def _figure(manifest: Manifest, name: str) -> str:
    metric = manifest.metrics.get(name)
    return "-" if metric is None else f"{metric.value:.4f}"


def _rows(manifest: Manifest) -> str:
    return "-" if manifest.data is None else f"{manifest.data.rows:,}"
