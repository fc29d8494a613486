"""`kairos rebuild`: makes anew, in the background, what the store holds, and sees to the states of several versions."""

import argparse
import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from event_schemas.control import StrategyRolledBack
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.bootstrap import (
    LoadedStrategy,
    configure_logging,
    load_kept_strategy,
    load_strategy,
    load_strategy_at,
    open_clock,
    open_event_stream,
    open_strategy_versions,
)
from services.commands import rebuild_namespaces
from services.commands.rebuild_from_archive import NICENESS, give_way
from services.commands.rebuild_states import ARCHIVE, LOG, RebuildOrder, rebuild_states
from services.commands.stopping import stop_on_signals
from services.settings import Settings, read_settings
from services.simulation.progress import progress
from services.use_cases.contacts_in_log import ContactsInLog
from services.use_cases.rebuild_ledger import RebuildLedger, Rebuilt, log_length

NAME = "rebuild"
HELP = "rebuild states for changed features, or contact ledgers, while decisions go on; safe to repeat"
EXAMPLE = "kairos rebuild states --strategy deploy/strategies/demo_bank --from archive"
STOPPED = 130
_SPILL = Path("var/rebuild")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to rebuild, and what to do with what was rebuilt."""
    acts = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    states = _act(acts, "states", "make the states of a strategy beside those that serve, then switch to it", _states)
    _choose_version(states)
    states.add_argument("--from", dest="source", choices=(LOG, ARCHIVE), default=LOG, help="where from (default log)")
    states.add_argument("--no-switch", action="store_true", help="leave it at the states; another version decides on")
    _how(states)
    back = _act(acts, "rollback", "catch up the states of the version before, and switch back to it", _rollback)
    _how(back)
    to = _act(acts, "switch", "switch at once to a version whose states are kept whole and current", _switch)
    _choose_version(to)
    _act(acts, "status", "every namespace: whole or not, how far behind, used by whom", _status)
    cancel = _act(acts, "cancel", "give up a rebuild: remove its unfinished states", _cancel)
    _choose_version(cancel)
    cancel.add_argument("--layout", help="the namespace itself, as kairos rebuild status names it")
    cancel.add_argument("--spill", type=Path, default=_SPILL, help=f"folder of sorted events (default {_SPILL})")
    clean = _act(acts, "clean", "remove states that nobody has used for a while; never those that serve", _clean)
    clean.add_argument("--grace-hours", type=float, default=24.0, help="how long they are kept unused (default 24)")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    _act(acts, "ledger", "everybody's contacts, and which responses were counted, from the bus", _ledger)


def run(args: argparse.Namespace) -> int:
    """Status 0 only when all of it was done. Raises ShellError, StrategyInvalid."""
    settings = read_settings(os.environ)
    act: Callable[[argparse.Namespace, Settings], int] = args.act
    return act(args, settings)


def _act(
    acts: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    text: str,
    act: Callable[[argparse.Namespace, Settings], int],
) -> argparse.ArgumentParser:
    parser = acts.add_parser(name, help=text, description=text, epilog=f"example:\n  kairos rebuild {name}")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(act=act)
    return parser


def _choose_version(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--strategy", type=Path, help="folder or file of the strategy (default KAIROS_STRATEGY_PATH)")
    which.add_argument("--version", help="a version from the strategy archive")


def _how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=1, help="processes that fold (default 1)")
    parser.add_argument("--rest", type=float, default=1.0, help="pause after a write, in times its length (default 1)")
    parser.add_argument("--nice", type=int, default=NICENESS, help=f"priority given up (default {NICENESS})")
    parser.add_argument("--spill", type=Path, default=_SPILL, help=f"folder for sorted events (default {_SPILL})")
    parser.add_argument("--comment", help="why, for the record")


def _states(args: argparse.Namespace, settings: Settings) -> int:
    return _rebuild(_order(args, _chosen(args, settings)), settings)


def _rollback(args: argparse.Namespace, settings: Settings) -> int:
    order = _order(args, asyncio.run(rebuild_namespaces.version_before(settings)))
    return _rebuild(replace(order, announced=StrategyRolledBack), settings)


def _rebuild(order: RebuildOrder, settings: Settings) -> int:
    configure_logging(settings)
    give_way(order.niceness)

    async def work() -> bool:
        return await rebuild_states(settings, order, stop_on_signals())

    if asyncio.run(work()):
        return 0
    print(
        "kairos rebuild: stopped; the same command goes on from here, and kairos rebuild cancel "
        f"--version {order.version.version} removes what there is"
    )
    return STOPPED


def _order(args: argparse.Namespace, loaded: LoadedStrategy) -> RebuildOrder:
    return RebuildOrder(
        loaded=loaded,
        source=getattr(args, "source", LOG),
        switch=not getattr(args, "no_switch", False),
        workers=max(1, args.workers),
        rest=args.rest,
        niceness=args.nice,
        spill=args.spill,
        comment=args.comment,
    )


def _chosen(args: argparse.Namespace, settings: Settings) -> LoadedStrategy:
    """The strategy, kept in the archive of strategies, from which every node loads it. Raises StrategyInvalid,
    StrategyUnknown, StrategyNotKept."""
    versions = open_strategy_versions(settings)
    if args.version:
        return load_kept_strategy(versions, args.version)
    path: Path = args.strategy or settings.strategy_path
    loaded = load_strategy_at(path)
    versions.register(loaded.strategy.version, path)
    return loaded


def _switch(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(rebuild_namespaces.switch(settings, RebuildOrder(loaded=_chosen(args, settings))))
    return 0


def _status(_: argparse.Namespace, settings: Settings) -> int:
    print("\n".join(asyncio.run(rebuild_namespaces.show(settings))))
    return 0


def _cancel(args: argparse.Namespace, settings: Settings) -> int:
    layout: str = args.layout or _chosen(args, settings).features.layout
    removed = asyncio.run(rebuild_namespaces.cancel(settings, layout, args.spill))
    print(f"removed layout {layout}: {removed:,} keys")
    return 0


def _clean(args: argparse.Namespace, settings: Settings) -> int:
    removed = asyncio.run(rebuild_namespaces.clean(settings, args.grace_hours * 3600, only_say=args.dry_run))
    print(f"removed {len(removed)} namespaces, {sum(removed.values()):,} keys")
    return 0


def _ledger(_: argparse.Namespace, settings: Settings) -> int:
    rebuilt = asyncio.run(rebuild_ledgers(settings))
    print(
        f"rebuilt the ledgers of {rebuilt.customers:,} customers from {rebuilt.events:,} events: "
        f"{rebuilt.contacts:,} accounts of contacts, {rebuilt.responses:,} responses, {rebuilt.unreadable:,} unreadable"
    )
    return 0


async def rebuild_ledgers(settings: Settings) -> Rebuilt:
    """Merges what the bus says into the ledgers of the settings' namespace."""
    loaded = load_strategy(settings)
    keys = RedisKeys(namespace=settings.namespace, layout=loaded.features.layout)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        clock = await stack.enter_async_context(open_clock(settings, client, keys))
        logs = [
            await stack.enter_async_context(open_event_stream(settings, [topic]))
            for topic in (PROFILE_UPDATES, RESPONSES, DECISIONS)
        ]
        rebuild = RebuildLedger(
            ledger=RedisContactLedger(client, keys),
            contacts=ContactsInLog.of(loaded.strategy),
            clock=clock,
            on_progress=stack.enter_context(progress("rebuild", await log_length(logs))),
        )
        return await rebuild(*logs)
