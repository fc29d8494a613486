"""State namespaces by hand: what there is, switching to one that is kept, giving one up, removing old ones."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from event_schemas.topics import STATE_TOPICS
from services.adapters.redis_chain_head import RedisChainHead
from services.adapters.redis_client import RedisClient
from services.adapters.redis_namespaces import Namespace, RedisNamespaces
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import (
    LoadedStrategy,
    load_kept_strategy,
    load_strategy,
    open_event_stream,
    open_publisher,
    open_strategy_versions,
)
from services.commands.active_strategy import active_version
from services.commands.rebuild_states import RebuildOrder, actor, say, version_served
from services.commands.state_builder import PATIENT
from services.governance_wiring import keeping
from services.ports import NamespaceUse, ShellError
from services.settings import Settings
from services.simulation.progress import progress
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.governance.writer import ChainWriter
from services.use_cases.live_strategy import ActiveVersion
from services.use_cases.strategy_activation import ActivateStrategy


class NamespaceNeeded(ShellError):
    """Somebody uses the states, or decisions would have none without them."""


class NothingBefore(ShellError):
    """No version was active before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The namespaces of a deployment, who uses which, and the layout of the active version."""

    namespaces: Sequence[Namespace]
    users: Sequence[NamespaceUse]
    active: str

    def why_kept(self, namespace: Namespace, grace_ms: int, now_ms: int) -> str | None:
        """Why it must stay; None when it may go. One that nobody is known to have used counts from its beginning."""
        users = sorted({f"{use.role} {use.version}" for use in self.users if use.layout == namespace.layout})
        if users:
            return f"used by {', '.join(users)}"
        if namespace.layout == self.active:
            return "of the active version"
        idle_ms = now_ms - max(namespace.used_ms, namespace.begun_ms)
        return f"used {idle_ms / 3_600_000:.1f} hours ago" if idle_ms < grace_ms else None


@asynccontextmanager
async def deployment(settings: Settings) -> AsyncIterator[tuple[RedisNamespaces, ActiveVersion, ActivateStrategy]]:
    """Open connections. Raises StoreUnavailable, BusUnavailable."""
    acts = GovernanceLog()
    async with (
        RedisClient.open(settings.redis_url, limits=PATIENT) as client,
        open_publisher(settings) as publisher,
        active_version(settings, "rebuild", publisher, acts) as active,
        open_event_stream(settings, STATE_TOPICS) as log,
    ):
        namespaces = RedisNamespaces(client, settings.namespace)
        head = keeping(RedisChainHead(client, settings.namespace))
        writer = ChainWriter(log=acts, publisher=publisher, ids=UlidIds(), on_head=head)
        yield namespaces, active, ActivateStrategy(namespaces=namespaces, log=log, writer=writer)


async def show(settings: Settings) -> list[str]:
    """One line a namespace, and the version that is active."""
    async with deployment(settings) as (namespaces, active, activate):
        standing = await _standing(settings, namespaces, active)
        act = active.act
        lines = [f"active: {'the strategy of the settings' if act is None else act.version}, layout {standing.active}"]
        for namespace in standing.namespaces:
            kept = standing.why_kept(namespace, 0, _now_ms()) or "not used"
            state = "whole" if namespace.whole else "unfinished"
            behind = await activate.behind(namespace.layout)
            lines.append(f"{namespace.layout}  {state:<10}  {behind:>12,} events behind  {kept}")
        return lines


async def switch(settings: Settings, order: RebuildOrder) -> None:
    """Makes a version active whose states are kept whole and current. Raises SwitchRefused."""
    async with deployment(settings) as (namespaces, active, activate):
        previous = version_served(active, await namespaces.in_use())
        await activate(order.version, actor(), previous, order.comment)
        say(f"{order.version.version} is active")


async def version_before(settings: Settings) -> LoadedStrategy:
    """The version that was active before the one that is. Raises NothingBefore, StrategyUnknown."""
    async with deployment(settings) as (_, active, _activate):
        act = active.act
        if act is None:
            raise NothingBefore("no version was ever made active here")
        if act.previous_version in (None, act.version):
            raise NothingBefore(f"nothing is known of what decided before {act.version}: name it with --version")
        return load_kept_strategy(open_strategy_versions(settings), str(act.previous_version))


async def cancel(settings: Settings, layout: str, spill: Path) -> int:
    """Removes an unfinished namespace and the events sorted for it. Answers how many keys there were. Raises
    NamespaceNeeded."""
    async with deployment(settings) as (namespaces, active, _):
        users = [use for use in await namespaces.in_use() if use.layout == layout]
        if users:
            names = ", ".join(f"{use.role} {use.node}" for use in users)
            raise NamespaceNeeded(f"layout {layout} is used by {names}: end that first, and wait ten seconds")
        if layout == await _active_layout(settings, active):
            raise NamespaceNeeded(f"layout {layout} is that of the active version")
        removed = await namespaces.remove(layout)
    await asyncio.to_thread(_remove_sorted, spill, layout)
    return removed


async def clean(settings: Settings, grace_s: float, *, only_say: bool) -> Mapping[str, int]:
    """Removes every namespace that nobody has used for `grace_s`; answers how many keys each had."""
    removed: dict[str, int] = {}
    async with deployment(settings) as (namespaces, active, _):
        standing = await _standing(settings, namespaces, active)
        for namespace in standing.namespaces:
            kept = standing.why_kept(namespace, round(grace_s * 1000), _now_ms())
            begun = datetime.fromtimestamp(namespace.begun_ms / 1000, UTC).isoformat(timespec="minutes")
            say(f"layout {namespace.layout}, begun {begun}: {kept or 'to be removed'}")
            if kept is None and not only_say:
                with progress(f"removing {namespace.layout}", 0) as told:
                    removed[namespace.layout] = await namespaces.remove(namespace.layout, told)
    return removed


async def _standing(settings: Settings, namespaces: RedisNamespaces, active: ActiveVersion) -> Standing:
    return Standing(
        namespaces=await namespaces.namespaces(),
        users=await namespaces.in_use(),
        active=await _active_layout(settings, active),
    )


async def _active_layout(settings: Settings, active: ActiveVersion) -> str:
    """Raises StrategyUnknown, StrategyInvalid: without it nothing may be removed."""
    if active.act is None:
        return (await asyncio.to_thread(load_strategy, settings)).features.layout
    versions = open_strategy_versions(settings)
    return (await asyncio.to_thread(load_kept_strategy, versions, active.act.version)).features.layout


def _remove_sorted(spill: Path, layout: str) -> None:
    for folder in spill.glob(f"{layout}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
