"""Roles beside the API follow the active strategy, too: each works for one version until another is served.

A role that builds states goes on with those of the version before for as long as an API node still reads them, and only
then takes up the next: no decision stands on states that nobody keeps current.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from services.adapters.redis_client import RedisClient
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.strategy_files import KeptSubmissions
from services.adapters.strategy_versions import StrategyVersions
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import (
    LoadedStrategy,
    load_kept_strategy,
    load_strategy,
    namespace_use,
    node_identity,
    node_name,
    open_control,
    open_publisher,
    open_strategy_versions,
)
from services.ports import EventPublisher, NamespaceUse, ShellError, StoreUnavailable
from services.settings import Settings
from services.use_cases.governance.chain import SUBMITTED
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.live_strategy import ACTIVATING, ActiveVersion

HAND_OVER_SECONDS = 60.0
"""Longest time to go on for API nodes that do not leave the version before: such a node is stuck, not slow."""
_LOOK_SECONDS = 0.2
_RETRY_SECONDS = 5.0
_log = logging.getLogger(__name__)

Work = Callable[[LoadedStrategy, asyncio.Event], Awaitable[None]]
"""The role's work for one strategy, until the event is set."""


@dataclass(slots=True, kw_only=True)
class ActiveStrategy:
    """The version this role works for, and the one that is active."""

    role: str
    loaded: LoadedStrategy
    active: ActiveVersion
    versions: StrategyVersions
    namespaces: RedisNamespaces | None = None
    """Of a role that keeps states; others need not wait for anybody."""
    announce: Callable[[], None] = field(default=lambda: None)
    _canary: str | None = None

    @property
    def version(self) -> str:
        """What the role works for now."""
        return self.loaded.strategy.version

    def use(self) -> NamespaceUse:
        """What the role says it uses."""
        return namespace_use(self.role, node_name(self.role), self.loaded.prepared, self.loaded.features)

    def canary_version(self) -> str | None:
        """The version that decides for a share, also while the role does not work for it yet though it became active
        for all; None where there is none."""
        now = self.active.now()
        if now.canary is not None:
            self._canary = now.canary.version
        elif now.active is None or now.active.version != self._canary or self.version == self._canary:
            self._canary = None
        return self._canary

    async def beside(self) -> LoadedStrategy | None:
        """The canary, where its states are of another layout than the role's own."""
        version = self.canary_version()
        if version is None:
            return None
        try:
            loaded = await asyncio.to_thread(load_kept_strategy, self.versions, version)
        except ShellError as error:
            _log.error("the canary %s cannot be read: %s", *(version, error), extra={"action": "follow"})
            return None
        return None if loaded.features.layout == self.loaded.features.layout else loaded

    async def is_beside(self, loaded: LoadedStrategy | None) -> bool:
        """Whether `beside` would answer the same."""
        if loaded is None:
            return self.canary_version() is None or await self.beside() is None
        own = self.loaded.features.layout == loaded.features.layout
        return not own and self.canary_version() == loaded.strategy.version

    async def next(self) -> LoadedStrategy:
        """Returns once another version is active, can be read, and is what the API serves."""
        while True:
            act = self.active.act
            if act is not None and act.version != self.version:
                try:
                    loaded = await asyncio.to_thread(load_kept_strategy, self.versions, act.version)
                except ShellError as error:
                    _log.error(
                        *("the active version cannot be read, %s goes on: %s", self.version, error),
                        extra={"action": "follow"},
                    )
                else:
                    if await self._taken_up(loaded):
                        return loaded
            self.active.changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.active.changed.wait(), _RETRY_SECONDS)

    async def _taken_up(self, coming: LoadedStrategy) -> bool:
        """Waits until no API node reads the states built here; False when meanwhile yet another became active."""
        waited = 0.0
        while (
            self.namespaces is not None
            and coming.features.layout != self.loaded.features.layout
            and waited < HAND_OVER_SECONDS
        ):
            with suppress(StoreUnavailable):
                users = await self.namespaces.in_use()
                if not any(u.role == "api" and u.layout == self.loaded.features.layout for u in users):
                    break
            await asyncio.sleep(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
        act = self.active.act
        return act is not None and act.version == coming.strategy.version


@asynccontextmanager
async def active_version(
    settings: Settings, role: str, publisher: EventPublisher, acts: GovernanceLog | None = None
) -> AsyncIterator[ActiveVersion]:
    """What the control topic says is active, followed while the context lasts, along with `acts`. Raises
    BusUnavailable, ControlUnread."""
    active, submissions = ActiveVersion(), KeptSubmissions(open_strategy_versions(settings))
    acts = GovernanceLog() if acts is None else acts
    acts.subscribe(SUBMITTED, submissions.on_submitted)
    identity = node_identity(role.replace("-", "_"), UlidIds())
    handlers = dict.fromkeys(ACTIVATING, active.on_act)
    async with open_control(settings, publisher, handlers, identity, acts=acts):
        await submissions.settled()
        yield active


@asynccontextmanager
async def active_strategy(
    settings: Settings, role: str, *, keeps_states: bool = False
) -> AsyncIterator[ActiveStrategy]:
    """The active strategy, followed while the context lasts: what the control topic says, and without any act there the
    strategy of the settings. A role that keeps states tells everybody whose. Raises StrategyInvalid, StrategyUnknown,
    StoreUnavailable, BusUnavailable, ControlUnread."""
    versions = open_strategy_versions(settings)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(open_publisher(settings))
        active = await stack.enter_async_context(active_version(settings, role, publisher))
        loaded = await asyncio.to_thread(_first, settings, active, versions)
        following = ActiveStrategy(role=role, loaded=loaded, active=active, versions=versions)
        if keeps_states:
            client = await stack.enter_async_context(RedisClient.open(settings.redis_url))
            following.namespaces = RedisNamespaces(client, settings.namespace)
            following.announce = await stack.enter_async_context(following.namespaces.announcing(following.use))
        yield following


async def work_for_active(following: ActiveStrategy, stop: asyncio.Event, work: Work) -> None:
    """Runs the work for one version after the other until `stop` is set. Raises what the work raises."""
    while not stop.is_set():
        until = asyncio.Event()
        coming = asyncio.create_task(following.next(), name="next-strategy")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        working = asyncio.ensure_future(work(following.loaded, until))
        try:
            await asyncio.wait({coming, stopping, working}, return_when=asyncio.FIRST_COMPLETED)
            until.set()
            await working
            if coming.done() and not stop.is_set():
                following.loaded = coming.result()
                following.announce()
                _log.info("working for strategy %s now", following.version, extra={"action": "follow"})
            elif not stop.is_set():
                return
        finally:
            until.set()
            tasks = (coming, stopping, working)
            for task in tasks:
                task.cancel()  # the work is under way here only when this role itself is cancelled
            await asyncio.gather(*tasks, return_exceptions=True)


def _first(settings: Settings, active: ActiveVersion, versions: StrategyVersions) -> LoadedStrategy:
    if active.act is None:
        return load_strategy(settings)
    try:
        return load_kept_strategy(versions, active.act.version)
    except ShellError as error:
        _log.error("%s; the strategy of the settings stands in", error, extra={"action": "follow"})
        return load_strategy(settings)
