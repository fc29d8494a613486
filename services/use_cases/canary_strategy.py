"""A version that decides for a share of the customers, beside the one that decides for everybody else.

Who belongs to the share depends on the customer and the version alone, so a person meets one version for as long as the
share is not made smaller, on every node. A version is taken once its states are whole, as one for everybody is. When it
becomes active for all it goes on serving its share until it has taken over here, so that nobody is moved to and fro.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from decision_engine.errors import DecisionEngineError
from decision_engine.identifiers import CustomerId
from decision_engine.propensity import Scorers
from event_schemas.control import StrategyAct
from services.ports import Metrics, ShellError, StoreUnavailable
from services.use_cases.live_strategy import ActiveVersion, PendingVersion, ReadyStrategy, SwitchRefused
from services.use_cases.make_decision import Live
from services.use_cases.running_beside import running_beside
from services.use_cases.short_turns import short_turns
from services.use_cases.versions_now import is_in_share

RETRY_SECONDS = 1.0
_TAKING_OVER_SECONDS = 0.05
"""How often it is looked whether a canary that became active decides for everybody by now."""
_log = logging.getLogger(__name__)


class CanaryTools(Protocol):
    """What deciding by a second version needs from outside."""

    def load(self, version: str) -> ReadyStrategy:
        """Reads and prepares; not for the event loop. Raises StrategyUnknown."""
        ...

    def scorers(self) -> Scorers:
        """The models that are live now; the mapping is replaced, never changed."""
        ...

    def scorers_for(self, ready: ReadyStrategy) -> Scorers:
        """Those of them whose columns the version can fill."""
        ...

    async def is_whole(self, layout: str) -> bool:
        """Whether the states of the layout may be relied on. Raises StoreUnavailable."""
        ...

    async def adopt_beside(self, ready: ReadyStrategy) -> None:
        """Leases the version's volumes beside those in use. Raises StoreUnavailable."""
        ...

    async def release_beside(self, live: Live) -> None:
        """Lets go of what only the canary needed. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A version at work for a share; `seen` are the live models that its own were chosen from."""

    act: StrategyAct
    ready: ReadyStrategy
    live: Live
    seen: Scorers

    @property
    def version(self) -> str:
        """Its version."""
        return self.act.version

    @property
    def share(self) -> float:
        """Of the customers, above 0."""
        return self.act.share or 1.0


class CanaryStrategy:
    """Follows what is active for a share. `live` is what decides for everybody else, `settle_s` the longest a decision
    takes."""

    def __init__(
        self,
        live: Callable[[], Live],
        active: ActiveVersion,
        tools: CanaryTools,
        metrics: Metrics,
        *,
        settle_s: float = 2.0,
    ) -> None:
        self._live = live
        self._active = active
        self._tools = tools
        self._metrics = metrics
        self._settle_s = settle_s
        self._watcher = active.watch()
        self.canary: Canary | None = None
        """What decides for a share now."""
        self.pending: PendingVersion | None = None
        """What has a share and does not serve it here yet."""
        self.on_switched: Callable[[], None] = lambda: None

    def live_for(self, customer_id: CustomerId) -> Live:
        """What decides for this customer at this moment."""
        canary = self.canary
        if canary is None or not is_in_share(customer_id, canary.version, canary.share):
            return self._live()
        scorers = self._tools.scorers()
        if scorers is not canary.seen:
            live = replace(canary.live, scorers=self._tools.scorers_for(canary.ready))
            self.canary = canary = replace(canary, live=live, seen=scorers)
        return canary.live

    def serving(self) -> Live:
        """The canary, or what decides for everybody where there is none: what this node reads states for, beside."""
        return self._live() if self.canary is None else self.canary.live

    async def start(self) -> None:
        """Takes the version before anything is served, if it can be."""
        self._watcher.clear()
        await self._look(serving=False)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Begins and ends canaries as the acts say, while the context lasts."""
        async with running_beside(self._follow(), "strategy-canary"):
            yield

    async def _follow(self) -> None:
        while True:
            wait_s = RETRY_SECONDS if self.pending else _TAKING_OVER_SECONDS if self._is_taking_over() else None
            await self._active.until_changed(self._watcher, wait_s)
            await self._look(serving=True)

    async def _look(self, *, serving: bool) -> None:
        act = self._active.now().canary
        try:
            if act is not None:
                await self._begin(act)
            elif self.canary is not None and not self._is_taking_over():
                await self._end(settle_s=self._settle_s if serving else 0.0)
            else:
                self.pending = None
        except (ShellError, DecisionEngineError) as error:
            self._refuse(act, error)
        except Exception as error:  # noqa: BLE001 - a node that no longer follows would decide by an old version
            _log.exception("the canary could not be followed", extra={"action": "canary"})
            self._refuse(act, error)

    def _is_taking_over(self) -> bool:
        """Whether what had a share is for everybody now, and does not decide for them here yet."""
        active = self._active.act
        if self.canary is None or active is None or active.version != self.canary.version:
            return False
        return self._active.now().canary is None and self._live().prepared.strategy.version != active.version

    async def _begin(self, act: StrategyAct) -> None:
        """Raises SwitchRefused, StrategyUnknown, StoreUnavailable, having changed nothing."""
        known = self.canary
        if act.version == self._live().prepared.strategy.version:
            if known is not None:
                await self._end(settle_s=0.0)
            return
        if known is None or known.version != act.version:
            with short_turns():
                ready = await asyncio.to_thread(self._tools.load, act.version)
                live = await asyncio.to_thread(Live.of, ready.prepared, ready.features, {})
            layout = ready.features.layout
            if layout != self._live().features.layout and not await self._tools.is_whole(layout):
                raise SwitchRefused(f"the states of layout {layout} are not whole: kairos rebuild states makes them")
            await self._tools.adopt_beside(ready)
            live = replace(live, states=ready.states, scorers=self._tools.scorers_for(ready))
            known = Canary(act=act, ready=ready, live=live, seen=self._tools.scorers())
        self._put(replace(known, act=act))

    async def _end(self, *, settle_s: float) -> None:
        self._put(None)
        await asyncio.sleep(settle_s)
        with suppress(StoreUnavailable):  # what is not let go of now lapses by itself
            await self._tools.release_beside(self._live())

    def _put(self, canary: Canary | None) -> None:
        before, self.canary, self.pending = self.canary, canary, None
        if before is not None and (canary is None or canary.version != before.version):
            self._metrics.gauge("strategy_share", 0.0, version=before.version)
            _log.info("strategy %s has no share any more", before.version, extra={"action": "canary"})
        if canary is not None and (before is None or before.act != canary.act):
            self._metrics.gauge("strategy_share", canary.share, version=canary.version)
            _log.info("strategy %s decides for %.1f%%", canary.version, 100 * canary.share, extra={"action": "canary"})
        self.on_switched()

    def _refuse(self, act: StrategyAct | None, error: Exception) -> None:
        pending = PendingVersion("" if act is None else act.version, f"{error}" or type(error).__name__)
        if self.pending != pending:
            _log.error("version %s does not serve its share: %s", *(pending.version, pending.refusal))
        self.pending = pending
