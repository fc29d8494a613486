"""The strategy that decides on this node, and its change while decisions go on.

Which version is active stands on the compacted control topic. A node loads it from the strategy archive, makes it ready
off the event loop, and puts it in place by one reference, so that every decision is made wholly by one version: rules,
features, words, models, and the namespace its states are read from. A version whose states are not whole is not taken:
it is looked at again until they are, while the one before goes on serving.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from decision_engine.errors import DecisionEngineError
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from event_schemas.codec import Event
from event_schemas.control import ACTIVE_SUBJECT, StrategyAct, StrategyActivated, StrategyRolledBack
from services.ports import CustomerReader, Metrics, ShellError, StoreUnavailable
from services.use_cases.make_decision import Live
from services.use_cases.running_beside import running_beside
from services.use_cases.short_turns import short_turns
from services.use_cases.versions_now import VersionsNow

ACTIVATING = (
    "nbo.control.strategy.activated",
    "nbo.control.strategy.rolled_back",
    "nbo.control.strategy.retired",
)
"""The acts that may change what decides."""
RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class SwitchRefused(ShellError):
    """The version cannot decide, now or here."""


@dataclass(frozen=True, slots=True)
class ReadyStrategy:
    """A version made ready: to decide, and to read the states of its layout."""

    prepared: PreparedStrategy
    features: CompiledFeatures
    states: CustomerReader


class SwitchTools(Protocol):
    """What a switch needs from outside."""

    def load(self, version: str) -> ReadyStrategy:
        """Reads and prepares; not for the event loop. Raises StrategyUnknown."""
        ...

    def scorers(self) -> Scorers:
        """The models that are live now; the mapping is replaced, never changed."""
        ...

    async def is_whole(self, layout: str) -> bool:
        """Whether the states of the layout may be relied on. Raises StoreUnavailable."""
        ...

    async def adopt(self, ready: ReadyStrategy) -> None:
        """Leases the version's volumes beside those in use, then puts in place the models it can fill, as its very
        last step: what decides is replaced before anything else runs. Raises StoreUnavailable."""
        ...

    async def release(self, ready: ReadyStrategy) -> None:
        """Lets go of what only the version before needed. Called once nothing it decided is under way. Raises
        StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class PendingVersion:
    """A version that is active and cannot decide here yet, and why."""

    version: str
    refusal: str


class ActiveVersion:
    """Follows the acts that say which version decides, for everybody and for a share."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set with every act; for whoever follows alone."""
        self._watchers = [self.changed]
        self._versions = VersionsNow()

    @property
    def act(self) -> StrategyAct | None:
        """The act behind what decides for everybody now; None: nobody said."""
        return self.now().active

    def now(self) -> VersionsNow:
        """Which versions decide at this moment."""
        self._versions = self._versions.at(datetime.now(UTC))
        return self._versions

    def watch(self) -> asyncio.Event:
        """An event of one's own that is set with every act."""
        watcher = asyncio.Event()
        self._watchers.append(watcher)
        return watcher

    async def on_act(self, event: Event) -> None:
        """To be subscribed to the types in `ACTIVATING`."""
        if isinstance(event, StrategyActivated | StrategyRolledBack) and event.subject != ACTIVE_SUBJECT:
            return
        self._versions = self._versions.after(event)
        for watcher in self._watchers:
            watcher.set()

    async def until_changed(self, watcher: asyncio.Event, most_s: float | None) -> None:
        """Returns with the next act, when a scheduled one takes effect, or after so long."""
        due_s = self.now().wait_s(datetime.now(UTC))
        waits = [seconds for seconds in (most_s, due_s) if seconds is not None]
        with suppress(TimeoutError):
            await asyncio.wait_for(watcher.wait(), min(waits) if waits else None)
        watcher.clear()


class LiveStrategy:
    """What decides now (call it), switched to what is active. `settle_s` is the longest a decision takes."""

    def __init__(
        self, first: Live, active: ActiveVersion, tools: SwitchTools, metrics: Metrics, *, settle_s: float = 2.0
    ) -> None:
        self._live = first
        self._active = active
        self._tools = tools
        self._metrics = metrics
        self._settle_s = settle_s
        self._watcher = active.watch()
        self.pending: PendingVersion | None = None
        """What is active but not served here yet."""
        self.on_switched: Callable[[], None] = lambda: None

    def __call__(self) -> Live:
        """What decides at this moment, with the models that are live now."""
        scorers = self._tools.scorers()
        if scorers is not self._live.scorers:
            self._live = replace(self._live, scorers=scorers)
        return self._live

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Switches whenever another version becomes active, while the context lasts."""
        async with running_beside(self._follow(), "strategy-switch"):
            yield

    async def start(self) -> None:
        """Takes the active version before anything is served. Its states need not be whole: if they are lost, those who
        build states make them anew, and of no other version. Where it cannot be loaded the settings' own serves."""
        act = self._active.act
        self._watcher.clear()
        if act is None:
            return
        try:
            await self._switch(act, serving=False)
        except (ShellError, DecisionEngineError) as error:
            self._refuse(act.version, error)

    async def _follow(self) -> None:
        while True:
            await self._active.until_changed(self._watcher, RETRY_SECONDS if self.pending else None)
            act = self._active.act
            if act is None:
                continue
            try:
                await self._switch(act, serving=True)
            except (ShellError, DecisionEngineError) as error:
                self._refuse(act.version, error)
            except Exception as error:  # noqa: BLE001 - a node that no longer follows would decide by an old version
                _log.exception("version %s could not be made ready", act.version, extra={"action": "switch"})
                self._refuse(act.version, error)

    async def _switch(self, act: StrategyAct, *, serving: bool) -> None:
        """Raises SwitchRefused, StrategyUnknown, StoreUnavailable, having changed nothing."""
        before = self._live
        if act.version == before.prepared.strategy.version:
            self.pending = None
            return
        with short_turns():
            ready = await asyncio.to_thread(self._tools.load, act.version)
            live = await asyncio.to_thread(Live.of, ready.prepared, ready.features, before.scorers)
        layout = ready.features.layout
        if serving and layout != before.features.layout and not await self._tools.is_whole(layout):
            raise SwitchRefused(f"the states of layout {layout} are not whole: kairos rebuild states makes them")
        await self._tools.adopt(ready)
        self._live = replace(live, states=ready.states, scorers=self._tools.scorers())
        self.pending = None
        self._tell(before, self._live)
        if serving:
            await asyncio.sleep(self._settle_s)
        with suppress(StoreUnavailable):  # what is not let go of now lapses by itself
            await self._tools.release(ready)

    def _tell(self, before: Live, now: Live) -> None:
        old, new = before.prepared.strategy.version, now.prepared.strategy.version
        self._metrics.gauge("strategy_info", 0, version=old)
        self._metrics.gauge("strategy_info", 1, version=new)
        _log.info("strategy %s decides now, %s does no longer", new, old, extra={"action": "switch"})
        self.on_switched()

    def _refuse(self, version: str, error: Exception) -> None:
        pending = PendingVersion(version, f"{error}" or type(error).__name__)
        if self.pending != pending:
            serving = self._live.prepared.strategy.version
            _log.error(
                *("version %s was refused, %s goes on deciding: %s", version, serving, pending.refusal),
                extra={"action": "switch"},
            )
        self.pending = pending
