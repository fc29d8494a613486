"""`kairos models`: the versions of the models, and what each of them is to do.

A version comes into service, or gets a share of the customers, only after the checks a node makes and with the approval
of a second person. Taking one out, or having one score in the shadow, needs no approval: neither shows a customer
anything that was not approved.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.strategy import Strategy
from event_schemas.codec import Event
from event_schemas.control import Challenge, ModelChallenged, ModelPromoted, ModelRetired, ModelShadowed, Promotion
from event_schemas.control import Shadowing as ShadowAct
from models.compatibility import available_columns
from models.decision_log.archive_files import TimeRange
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts
from models.errors import ModelsError
from models.evaluation.report import aligned
from models.evaluation.shadow_comparison import compare_shadow, comparison_rows
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.promotion import promotion_problems
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.control_topic import Handler, control_event
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import load_strategy, node_identity, open_control, open_publisher
from services.commands.train import moment_ms
from services.ports import ShellError
from services.settings import Settings, read_settings
from services.use_cases.model_acts import Act, Role, challenge_of, promotion_of, retirement_of, shadowing_of

NAME = "models"
HELP = "list the model versions; put one in service, in a share of it, or in the shadow; take one out; compare"
EXAMPLE = """kairos models list
  kairos models shadow cross_sell-20261120T020000Z-0a1b2c3d --actor lin
  kairos models compare cross_sell-20261120T020000Z-0a1b2c3d
  kairos models challenge cross_sell-20261120T020000Z-0a1b2c3d --share 0.1 --actor lin --approved-by zhao
  kairos models promote cross_sell-20261120T020000Z-0a1b2c3d --actor lin --approved-by zhao
  kairos models retire cross_sell --role challenger --actor lin"""

Acts = Mapping[tuple[Role, str], Promotion | Challenge | ShadowAct]


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
            act.add_argument("--share", type=_share, required=True, help="of the customers, above 0 and below 1")
        if name == "shadow":
            act.add_argument("--sample", type=_share_or_all, default=1.0, help="of the decisions (default 1)")
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


def run(args: argparse.Namespace) -> int:
    """Does one act. Raises ModelActRefused, ApprovalMissing, StrategyInvalid, BusUnavailable, ControlUnread."""
    settings = read_settings(os.environ)
    registry = ModelRegistry(args.models or settings.model_path)
    try:
        if args.act == "list":
            print("\n".join(asyncio.run(_listed(settings, registry))))
        elif args.act == "compare":
            print("\n".join(_compared(args, settings, registry)))
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
        event = act_on(manifest, act, args)
        await require_fit(manifest, registry, load_strategy(settings).strategy, force=getattr(args, "force", True))
        done = f"{manifest.version}: {args.act} is announced to every node"
    async with open_publisher(settings) as publisher:
        await publisher.publish([control_event(event)])
    print(done)


def act_on(manifest: Manifest, act: Act, args: argparse.Namespace) -> ModelPromoted | ModelChallenged | ModelShadowed:
    """The event of the act these arguments name."""
    if args.act == "challenge":
        return challenge_of(manifest, act, args.share)
    if args.act == "shadow":
        return shadowing_of(manifest, act, args.sample)
    return promotion_of(manifest, event_id=act.event_id, at=act.at, actor=act.actor, approved_by=act.approved_by)


async def require_fit(manifest: Manifest, registry: ModelRegistry, strategy: Strategy, *, force: bool) -> None:
    """The checks every node makes before it lets a version serve, and its figures unless forced. Raises
    ModelActRefused."""
    problems = [] if force else promotion_problems(manifest)
    if problems:
        raise ModelActRefused(f"{manifest.version}: {'; '.join(problems)}. Add --force to do it all the same.")
    failed: list[str] = []
    node = ArtifactModelProvider(registry, available_columns(strategy), failed.append)
    await node.on_promoted(promotion_of(manifest, event_id="trial", at=datetime.now(UTC), actor="trial"))
    if failed:
        raise ModelActRefused(f"{manifest.version} would be refused by every node, for the reason logged above")


async def _listed(settings: Settings, registry: ModelRegistry) -> list[str]:
    acts = await _acts(settings)
    roles: dict[str, list[str]] = {}
    for (role, _), act in sorted(acts.items()):
        share = f" {act.share:.0%}" if isinstance(act, Challenge) else ""
        roles.setdefault(act.version, []).append(f"{role}{share}")
    rows = [("version", "rows", "AUC", "log loss gained", "now")]
    for version in registry.versions():
        manifest = registry.manifest(version)
        auc, gain = _figure(manifest, "auc"), _figure(manifest, "log_loss_gain")
        rows.append((version, _rows(manifest), auc, gain, ", ".join(roles.pop(version, [])) or "-"))
    lines = aligned(rows)
    return [*lines, *(f"{version} is {', '.join(now)} and NOT in this registry" for version, now in roles.items())]


async def _acts(settings: Settings) -> Acts:
    """What the control topic says is to serve."""
    acts: dict[tuple[Role, str], Promotion | Challenge | ShadowAct] = {}
    since: dict[tuple[Role, str], datetime] = {}

    async def note(event: Event) -> None:
        if isinstance(event, ModelPromoted):
            acts["champion", event.data.name] = event.data
            since["champion", event.data.name] = event.time
        elif isinstance(event, ModelChallenged):
            acts["challenger", event.data.name] = event.data
            since["challenger", event.data.name] = event.time
        elif isinstance(event, ModelShadowed):
            acts["shadow", event.data.name] = event.data
        elif isinstance(event, ModelRetired):
            found = acts.get((event.data.role, event.data.name))
            if found is not None and event.data.version in (None, found.version):
                del acts[event.data.role, event.data.name]

    types = ("promoted", "challenged", "shadowed", "retired")
    handlers: dict[str, Handler] = {f"nbo.control.model.{kind}": note for kind in types}
    async with (
        open_publisher(settings) as publisher,
        open_control(settings, publisher, handlers, node_identity("models", UlidIds())),
    ):
        pass
    return {key: act for key, act in acts.items() if key[0] != "challenger" or _stands(since, key[1])}


def _stands(since: Mapping[tuple[Role, str], datetime], name: str) -> bool:
    """A promotion ends the challenge before it."""
    promoted = since.get(("champion", name))
    return promoted is not None and since["challenger", name] >= promoted


def _compared(args: argparse.Namespace, settings: Settings, registry: ModelRegistry) -> list[str]:
    manifest, strategy = registry.manifest(args.version), load_strategy(settings).strategy
    query = LogQuery(
        model=manifest.name,
        archive=args.archive or settings.archive_path,
        offers=offer_facts(strategy),
        zone=ZoneInfo(strategy.time_zone),
        attribution_seconds=args.attribution_seconds or settings.attribution_seconds,
        period=TimeRange(since_ms=args.since),
    )
    comparison = compare_shadow(query, manifest.version, lambda line: print(line, file=sys.stderr, flush=True))
    return [manifest.version, "", *aligned(comparison_rows(comparison))]


def _who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actor", default=os.environ.get("USER", "operator"), help="who does this (default: you)")


def _approver(args: argparse.Namespace) -> str | None:
    found = getattr(args, "approved_by", None)
    return found if isinstance(found, str) else None


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"a share above 0 and below 1 (is {text})")
    return share


def _share_or_all(text: str) -> float:
    return 1.0 if float(text) == 1 else _share(text)


def _figure(manifest: Manifest, name: str) -> str:
    metric = manifest.metrics.get(name)
    return "-" if metric is None else f"{metric.value:.4f}"


def _rows(manifest: Manifest) -> str:
    return "-" if manifest.data is None else f"{manifest.data.rows:,}"
