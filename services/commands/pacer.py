"""`kairos pacer`: prices scarce resources from recent traffic, returns units that were held for nothing, and tells a
store that has lost data what was handed out."""

import argparse
import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from random import Random

from decision_engine.features.compiled import CompiledFeatures
from event_schemas.topics import DECISIONS, RESPONSES
from services.adapters.prometheus_metrics import Declared
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import VOLUME_LIBRARY, VolumeKeys
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import (
    LoadedStrategy,
    open_clock,
    open_event_stream,
    open_publisher,
)
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.running_role import run_role
from services.ports import Metrics
from services.settings import Settings
from services.workers.pacer import Pacer, PacerTools
from services.workers.recent_traffic import RecentTraffic

NAME = "pacer"
HELP = "price stock, budgets and capacities from recent traffic, and return what was held for nothing"
EXAMPLE = "KAIROS_PRICES_SECONDS=60 kairos pacer"

_log = logging.getLogger(__name__)
_METRICS = {
    "volume_price": Declared("gauge", ("resource",), "Dual price of a unit, in minor units of value"),
    "volume_holds_released_total": Declared("counter", (), "Holds of volumes that ended without a response"),
    "volume_units_corrected_total": Declared("counter", (), "Units the store had as left and the log as handed out"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: all is in the settings."""


def run(_: argparse.Namespace) -> int:
    """Paces until SIGINT or SIGTERM. Raises StrategyInvalid, StoreUnavailable, BusUnavailable."""
    return run_role(pace, _METRICS)


async def pace(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Paces for the active strategy until `stop` is set; while that has no volumes it waits."""

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        if not loaded.strategy.volumes:
            _log.warning("%s has no volumes", loaded.strategy.version, extra={"action": "start"})
            await until.wait()
            return
        async with AsyncExitStack() as stack:
            pacer = await _open(settings, loaded, metrics, stack)
            _log.info("pacing %d volumes", len(loaded.strategy.volumes), extra={"action": "start"})
            await pacer.run(until)

    async with active_strategy(settings, NAME) as active:
        await work_for_active(active, stop, work)


async def _open(settings: Settings, loaded: LoadedStrategy, metrics: Metrics, stack: AsyncExitStack) -> Pacer:
    client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=VOLUME_LIBRARY))
    clock = await stack.enter_async_context(open_clock(settings, client, _keys(settings, loaded.features)))
    tools = PacerTools(
        pools=RedisVolumeHolds(client, VolumeKeys(settings.namespace)),
        publisher=await stack.enter_async_context(open_publisher(settings)),
        clock=clock,
        new_id=UlidIds().new_id,
        prices_s=settings.prices_seconds,
        on_released=partial(metrics.count, "volume_holds_released_total"),
        on_prices=partial(_show, metrics),
        on_corrected=partial(metrics.count, "volume_units_corrected_total"),
    )
    stream = await stack.enter_async_context(open_event_stream(settings, [DECISIONS, RESPONSES]))
    prepared = loaded.prepared
    # Which decisions are sampled need not be repeatable; a fixed seed keeps two runs over one log alike.
    traffic = RecentTraffic(prepared, prepared.zone, Random(1))  # noqa: S311  # nosec B311
    return Pacer(stream, prepared, traffic, tools)


def _keys(settings: Settings, features: CompiledFeatures) -> RedisKeys:
    return RedisKeys(namespace=settings.namespace, layout=features.layout)


def _show(metrics: Metrics, prices: Mapping[str, float]) -> None:
    for name, price in prices.items():
        metrics.gauge("volume_price", price, resource=name)
