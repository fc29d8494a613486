"""`kairos attributor`: credits conversions to the contacts before them."""

import argparse
import asyncio
import logging
import random
from contextlib import AsyncExitStack

from decision_engine.attribution_rules import CompiledAttribution, compile_attribution
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.strategy import Strategy
from services.adapters.prometheus_metrics import Declared
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import LoadedStrategy, open_event_stream, open_publisher
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.running_role import run_role
from services.erasure_wiring import erased_in_attribution
from services.ports import EventPublisher, Metrics
from services.settings import Settings
from services.workers.attributor import Attributor, FactBatch
from services.workers.attributor_events import ConversionEvents
from services.workers.attributor_facts import FactReader
from services.workers.consumer import BatchConsumer, Pace
from services.workers.store_progress import SeekableStream, StoreProgress

NAME = "attributor"
HELP = "credit conversions, from responses and the bank's own events, to the contacts before them"
EXAMPLE = "KAIROS_STRATEGY_PATH=deploy/strategies/demo_bank kairos attributor"

GROUP = "kairos-attributor"
LAYOUT = "attribution"
"""Where the memories stand in the store: beside the states, under a layout of their own."""
UNTRUSTED_END_SLACK = 100_000
"""As for states: the embedded broker reports the start of the last write as the end of the log."""
METRICS = {
    "conversions_attributed_total": Declared("counter", (), "Conversions published, corrections among them"),
    "attribution_unreadable_total": Declared("counter", ("topic",), "Records or memories attribution could not read"),
    "state_rewinds_total": Declared(
        "counter", ("topic",), "Times the store had lost memories and the log was read again"
    ),
}
_PATIENT = ClientLimits(timeout_s=5.0, stall_s=15.0)
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: everything is a setting."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT, then finishes the batch in hand. Raises ShellError, StrategyInvalid."""
    return run_role(attribute_for_active, METRICS)


async def attribute_for_active(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    """One attributor after the other, each of the strategy that is active then. Raises ShellError, StrategyInvalid."""

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        await attribute_conversions(settings, loaded.strategy, metrics, until)

    async with active_strategy(settings, NAME) as active:
        await work_for_active(active, stop, work)


async def attribute_conversions(settings: Settings, strategy: Strategy, metrics: Metrics, stop: asyncio.Event) -> None:
    """One attributor of one strategy, a member of the group, until `stop` is set; it waits for that where the strategy
    attributes nothing. Raises ShellError."""
    attribution = compile_attribution(strategy, EVENT_FIELDS)
    if attribution is None:
        _log.warning("%s has no section attribution", strategy.version, extra={"action": "wait for another version"})
        await stop.wait()
        return
    _log.info("attributing conversions of %s", strategy.version, extra={"action": "start"})
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            RedisClient.open(settings.redis_url, limits=_PATIENT, library=FUNCTION_LIBRARY)
        )
        publisher = await stack.enter_async_context(open_publisher(settings))
        reader = FactReader(attribution, SystemClock() if settings.clock == "system" else None)
        stream = open_event_stream(
            settings,
            reader.topics(),
            GROUP,
            on_revoked=lambda lost: consumer.revoked(lost),  # noqa: PLW0108 - the consumer needs the stream first
        )
        events = ConversionEvents(attribution, strategy.version, strategy.currency)
        work = await assemble(settings, reader, events, (client, publisher, stream), attribution, metrics)
        pace = Pace(
            jitter=random.random,
            max_records=settings.batch_records,
            hand_over_s=settings.kafka_session_timeout_ms / 3000,
        )
        consumer: BatchConsumer[FactBatch] = BatchConsumer(stream, work, pace)
        await stack.enter_async_context(stream)
        await consumer.run(stop)


async def assemble(
    settings: Settings,
    reader: FactReader,
    events: ConversionEvents,
    connections: tuple[RedisClient, EventPublisher, SeekableStream],
    attribution: CompiledAttribution,
    metrics: Metrics,
) -> Attributor:
    """The work of an attributor on open connections."""
    client, publisher, stream = connections
    store = RedisStateStore(client, RedisKeys(settings.namespace, LAYOUT))
    await store.begin_namespace()
    slack = 0 if settings.kafka_idempotence else UNTRUSTED_END_SLACK
    return Attributor(
        store=store,
        publisher=publisher,
        progress=StoreProgress(store, stream, metrics, end_slack=slack),
        reader=reader,
        events=events,
        terms=attribution.terms,
        metrics=metrics,
        erased=erased_in_attribution(settings, client),
    )
