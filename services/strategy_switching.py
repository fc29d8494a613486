"""How a node comes to decide by other versions: what a switch, or a canary, needs over open connections."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from decision_engine.errors import SchemaMismatch
from decision_engine.features.compiled import compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.propensity import Scorer, Scorers
from models.compatibility import AvailableColumns, available_columns
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_volume_leases import RedisVolumeLeases
from services.adapters.strategy_versions import StrategyVersions
from services.ports import Metrics, NamespaceUse
from services.use_cases.canary_strategy import CanaryStrategy
from services.use_cases.live_strategy import ActiveVersion, LiveStrategy, ReadyStrategy
from services.use_cases.make_decision import Live
from services.use_cases.model_traffic import scorers_where


@dataclass(frozen=True, slots=True)
class SwitchTools:
    """What a switch to another strategy needs (`use_cases.live_strategy.SwitchTools`), or a canary beside the one that
    decides (`use_cases.canary_strategy.CanaryTools`)."""

    versions: StrategyVersions
    namespaces: RedisNamespaces
    store: RedisDecisionStore
    models: ArtifactModelProvider
    volumes: RedisVolumeLeases

    def load(self, version: str) -> ReadyStrategy:
        """Reads files: not for the event loop. Raises StrategyUnknown."""
        prepared = self.versions.prepared(version)
        features = compile_features(prepared.strategy.declarations, EVENT_FIELDS)
        return ReadyStrategy(prepared, features, self.store.of_layout(features.layout))

    def scorers(self) -> Scorers:
        """The models that are live now."""
        return self.models.scorers()

    def scorers_for(self, ready: ReadyStrategy) -> Scorers:
        """Those of them whose columns the version can fill."""
        return _that_fit(self.models.scorers(), available_columns(ready.prepared.strategy))

    async def is_whole(self, layout: str) -> bool:
        """Whether decisions may rely on the layout's states. Raises StoreUnavailable."""
        return await self.namespaces.is_whole(layout)

    async def adopt(self, ready: ReadyStrategy) -> None:
        """Volumes first, models last. Raises StoreUnavailable."""
        await self.volumes.adopt(ready.prepared.volumes, ready.prepared.zone)
        await self.models.adopt(available_columns(ready.prepared.strategy))

    async def release(self, ready: ReadyStrategy) -> None:
        """Leases this version's volumes alone. Raises StoreUnavailable."""
        await self.volumes.release(ready.prepared.volumes)

    async def adopt_beside(self, ready: ReadyStrategy) -> None:
        """Leases the canary's volumes beside those in use. Raises StoreUnavailable."""
        await self.volumes.adopt(ready.prepared.volumes, ready.prepared.zone)

    async def release_beside(self, live: Live) -> None:
        """Leases the volumes of what decides for everybody alone. Raises StoreUnavailable."""
        await self.volumes.release(live.prepared.volumes)


@asynccontextmanager
async def following_versions(
    first: Live,
    active: ActiveVersion,
    tools: SwitchTools,
    metrics: Metrics,
    use_of: Callable[[Live], NamespaceUse],
) -> AsyncIterator[tuple[LiveStrategy, CanaryStrategy]]:
    """What decides for everybody and for a share, begun with what is active now and followed while the context lasts;
    what they use of the store is said as `use_of` puts it."""
    live = LiveStrategy(first, active, tools, metrics)
    canary = CanaryStrategy(live, active, tools, metrics)
    announcing = tools.namespaces.announcing
    async with AsyncExitStack() as stack:
        await live.start()
        await stack.enter_async_context(live.following())
        live.on_switched = await stack.enter_async_context(announcing(lambda: use_of(live())))
        await canary.start()
        await stack.enter_async_context(canary.following())
        canary.on_switched = await stack.enter_async_context(announcing(lambda: use_of(canary.serving())))
        yield live, canary


def _that_fit(scorers: Scorers, available: AvailableColumns) -> Scorers:
    def fits(scorer: Scorer) -> bool:
        with suppress(SchemaMismatch):
            available.require(scorer.schema)
            return True
        return False

    return scorers_where(scorers, fits)
