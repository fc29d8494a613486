"""`kairos rebuild states`: the states of a strategy, made in the background beside those that serve, then switched to.

From the log, or from the archive and then the log from where the archive ends. Everything it has done is in the store,
so it goes on where it was interrupted. It takes no part in serving: it fires no triggers, brings nothing old to the
contact ledgers, and rests after every write.
"""

import asyncio
import getpass
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from event_schemas.control import StrategyActivated
from event_schemas.topics import STATE_TOPICS
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.redis_chain_head import RedisChainHead
from services.adapters.redis_client import RedisClient
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import (
    LoadedStrategy,
    namespace_use,
    node_name,
    open_event_stream,
    open_publisher,
)
from services.commands.active_strategy import HAND_OVER_SECONDS, active_version
from services.commands.rebuild_from_archive import NICENESS, ArchiveRebuild
from services.commands.rebuild_from_log import LogFolder, spawned
from services.commands.state_builder import PATIENT
from services.governance_wiring import keeping
from services.ports import EventPublisher, NamespaceUse, ShellError
from services.settings import Settings
from services.simulation.progress import progress
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.governance.writer import ChainWriter
from services.use_cases.live_strategy import ActiveVersion
from services.use_cases.strategy_activation import ActivateStrategy, Announced, Version

Partition = tuple[str, int]
"""Topic and partition."""
LOG, ARCHIVE = "log", "archive"
_LOOK_SECONDS = 0.2
_MATCH_SECONDS = 10.0
"""How long the switch waits for the triggers to have seen what is folded: they are behind only where builders are."""


class BegunOtherwise(ShellError):
    """The namespace was begun from the log, so the archive must not be folded over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildOrder:
    """What to rebuild, and how. `rest` is how long a writer rests after each write, in times of its length.
    `niceness` is how far its processes stand behind others on the machine."""

    loaded: LoadedStrategy
    source: str = LOG
    switch: bool = True
    workers: int = 1
    rest: float = 1.0
    niceness: int = NICENESS
    spill: Path = Path("var/rebuild")
    hand_over_s: float = HAND_OVER_SECONDS
    comment: str | None = None
    announced: Announced = StrategyActivated
    """What the control topic says of the switch."""

    @property
    def layout(self) -> str:
        """The namespace the states go to."""
        return self.loaded.features.layout

    @property
    def version(self) -> Version:
        """What becomes active."""
        strategy = self.loaded.strategy
        return Version(name=strategy.name, version=strategy.version, layout=self.layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """Open connections of one rebuild."""

    settings: Settings
    order: RebuildOrder
    namespaces: RedisNamespaces
    client: RedisClient
    publisher: EventPublisher
    active: ActiveVersion
    activate: ActivateStrategy
    stop: asyncio.Event


async def rebuild_states(settings: Settings, order: RebuildOrder, stop: asyncio.Event) -> bool:
    """Rebuilds, and switches unless told otherwise; False when stopped before that. Raises ShellError."""
    async with AsyncExitStack() as stack:
        tools = await _open(settings, order, stop, stack)
        users = await tools.namespaces.in_use()
        layout, version = order.layout, order.version.version
        if any(use.role == "state-builder" and use.layout == layout for use in users):
            say(f"the states of layout {layout} are built by the state builders: nothing to rebuild")
            return await _switched(tools, None)
        use = namespace_use("rebuild", node_name("rebuild"), order.loaded.prepared, order.loaded.features)
        await stack.enter_async_context(tools.namespaces.announcing(lambda: use))
        say(f"rebuilding the states of {version} into layout {layout}")
        if not await _from_archive(tools):
            return False
        following = await stack.enter_async_context(_following_the_log(tools))
        return await _caught_up(tools) and await _switched(tools, following)


async def _open(settings: Settings, order: RebuildOrder, stop: asyncio.Event, stack: AsyncExitStack) -> _Tools:
    client = await stack.enter_async_context(
        RedisClient.open(settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY)
    )
    publisher = await stack.enter_async_context(open_publisher(settings))
    acts = GovernanceLog()
    active = await stack.enter_async_context(active_version(settings, "rebuild", publisher, acts))
    log = await stack.enter_async_context(open_event_stream(settings, STATE_TOPICS))
    log.seek(await log.end_offsets())  # only asked where it ends: nothing is to be fetched
    namespaces = RedisNamespaces(client, settings.namespace)
    head = keeping(RedisChainHead(client, settings.namespace))
    writer = ChainWriter(log=acts, publisher=publisher, ids=UlidIds(), on_head=head)
    activate = ActivateStrategy(namespaces=namespaces, log=log, writer=writer)
    return _Tools(
        settings=settings,
        order=order,
        namespaces=namespaces,
        client=client,
        publisher=publisher,
        active=active,
        activate=activate,
        stop=stop,
    )


async def _from_archive(tools: _Tools) -> bool:
    """The archive's part, where there is one; False when stopped."""
    order = tools.order
    rebuild = ArchiveRebuild(
        settings=tools.settings,
        loaded=order.loaded,
        namespaces=tools.namespaces,
        spill=order.spill,
        workers=order.workers,
        rest=order.rest,
        niceness=order.niceness,
    )
    plan = await rebuild.planned()
    if plan is None and order.source == ARCHIVE:
        if await tools.namespaces.begun(order.layout):
            if await tools.namespaces.is_whole(order.layout):
                return True
            raise BegunOtherwise(
                f"layout {order.layout} was begun from the log: go on with kairos rebuild states --from log, or remove "
                "what there is with kairos rebuild cancel"
            )
        plan = await rebuild.plan()
    if plan is None or await tools.namespaces.is_whole(order.layout):
        return True
    folded = await rebuild(plan, tools.stop)
    if folded is None:
        return False
    say(
        f"from the archive: {folded.customers:,} customers from {folded.events:,} events, {folded.unreadable:,} "
        f"of them unreadable; {folded.impossible:,} customers could not be folded"
    )
    return True


async def _caught_up(tools: _Tools) -> bool:
    """Waits until the states hold what the log holds; False when stopped."""
    layout, activate = tools.order.layout, tools.activate
    total = await activate.behind(layout)
    with progress("reading the log", total) as told:
        while not tools.stop.is_set():
            if await tools.namespaces.is_whole(layout) and await activate.is_current(layout):
                told(total)
                return True
            told(max(0, total - await activate.behind(layout)))
            await _pause(tools.stop)
    return False


async def _switched(tools: _Tools, following: "_Following | None") -> bool:
    """Makes the version active and sees it served, then hands the states over to the state builders."""
    order, version = tools.order, tools.order.version
    while not await tools.namespaces.is_whole(order.layout):
        if tools.stop.is_set():
            return False
        await _pause(tools.stop)
    if not order.switch:
        say(f"layout {order.layout} is whole; kairos rebuild switch {version.version} makes it decide")
        return True
    users = await tools.namespaces.in_use()
    before = version_served(tools.active, users)
    builders = [use for use in users if use.role == "state-builder"]
    if following is not None and builders:
        await following.match(tools)
    if tools.active.act is None or tools.active.act.version != version.version:
        await tools.activate(version, actor(), before, order.comment, order.announced)
        say(f"{version.version} is active")
    await _served(tools)
    if following is not None:
        await _handed_over(tools, following.reader.stream, builders)
    return True


async def _served(tools: _Tools) -> None:
    waited, left = 0.0, await tools.activate.elsewhere(tools.order.version.version)
    while left and waited < tools.order.hand_over_s and not tools.stop.is_set():
        await _pause(tools.stop)
        waited += _LOOK_SECONDS
        left = await tools.activate.elsewhere(tools.order.version.version)
    if left:
        names = ", ".join(use.node for use in left)
        say(f"not served yet by {names}: their /readyz says why (strategy_pending)")
    else:
        say("every API node serves it")


async def _handed_over(tools: _Tools, stream: KafkaEventStream, builders: Sequence[NamespaceUse]) -> None:
    """Keeps the states current until another builder of theirs has its share of the partitions."""
    if not builders:
        say("no state builder runs: the states stand still until one is started")
        return
    waited, every = 0.0, len(await stream.beginning_offsets())
    while waited < tools.order.hand_over_s and not tools.stop.is_set():
        users = await tools.namespaces.in_use()
        taken_up = any(use.role == "state-builder" and use.layout == tools.order.layout for use in users)
        if taken_up and len(stream.assigned()) < every:
            say("the state builders go on from here")
            return
        await _pause(tools.stop)
        waited += _LOOK_SECONDS
    say("no state builder took the states over in time: look into why they do not follow")


@dataclass(frozen=True, slots=True)
class _Following:
    """Who folds what the log brings: this process, and further ones."""

    reader: LogFolder
    others: Sequence[BaseProcess]

    async def match(self, tools: _Tools) -> None:
        """Lets the triggers see what is folded from here on, so that nobody misses it while the builders change. One
        process is enough for what comes in now."""
        await self.end_others()
        if not await self.reader.hand_over(tools.client, tools.publisher, _MATCH_SECONDS):
            say("what comes in while the state builders change is read again for the triggers by those that follow")

    async def end_others(self) -> None:
        """Returns when the further processes have ended."""
        for process in self.others:
            process.terminate()
        for process in self.others:
            await asyncio.to_thread(process.join)


@asynccontextmanager
async def _following_the_log(tools: _Tools) -> AsyncIterator[_Following]:
    """Folds what the log brings while the context lasts, here and in further processes."""
    order = tools.order
    others = [spawned(tools.settings, order.loaded, order.rest, order.niceness) for _ in range(order.workers - 1)]
    until = asyncio.Event()
    reader = LogFolder(tools.settings, order.loaded, order.rest)
    following = _Following(reader, others)
    folding = asyncio.create_task(reader.run(tools.client, tools.publisher, until), name="fold-log")
    folding.add_done_callback(lambda task: tools.stop.set() if not task.cancelled() and task.exception() else None)
    try:
        await reader.opened.wait()
        yield following
    finally:
        until.set()
        await following.end_others()
        await folding


async def _pause(stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)


def version_served(active: ActiveVersion, users: Sequence[NamespaceUse]) -> str | None:
    """The version that decides now: the active one, or where none was ever activated the one that most nodes serve."""
    if active.act is not None:
        return active.act.version
    served = [use.version for use in users if use.role == "api"]
    return max(sorted(set(served)), key=served.count, default=None)


def actor() -> str:
    """Who acts, for the record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"[:128]


def say(sentence: str) -> None:
    """A line for whoever watches."""
    print(f"kairos rebuild: {sentence}", file=sys.stderr, flush=True)
