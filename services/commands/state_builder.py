"""`kairos state-builder`: folds the bank's events into customer state until it is told to stop."""

import argparse
import asyncio
import gc
import logging
import os
import random
from contextlib import AsyncExitStack
from functools import partial

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import fold
from event_schemas.topics import STATE_TOPICS
from services.adapters.metrics_page import metrics_page
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_clock import RedisClock
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import configure_logging, load_strategy, open_event_stream, open_publisher
from services.commands.stopping import stop_on_signals
from services.ports import EventPublisher, Metrics
from services.settings import Settings, read_settings
from services.use_cases.ingest_events import IngestEvents
from services.workers.consumer import BatchConsumer, Pace
from services.workers.dead_letters import DeadLetters
from services.workers.state_builder import PreparedBatch, StateBuilder
from services.workers.store_progress import SeekableStream, StoreProgress

NAME = "state-builder"
HELP = "fold events from the bus into customer state, each exactly once"
EXAMPLE = "KAIROS_REDIS_URL=redis://127.0.0.1:6379/0 kairos state-builder"

UNTRUSTED_END_SLACK = 100_000
"""The embedded broker, known by its want of idempotence, reports the start of the last write as the end of the log."""
_PATIENT = ClientLimits(timeout_s=5.0, stall_s=15.0)
"""Nobody waits for a builder in milliseconds, and giving a call up only means doing the batch again."""
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: everything is a setting."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT, then finishes the batch in hand. Raises ShellError."""
    import uvloop

    settings = read_settings(os.environ)
    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    stop = stop_on_signals()
    features, metrics = load_strategy(settings).features, PrometheusMetrics()
    calm_collector()
    async with metrics_page(settings.host, settings.metrics_port, metrics.exposition):
        _log.info("building states of layout %s", features.layout, extra={"action": "start"})
        await build_states(settings, features, metrics, stop)
    _log.info("stopped", extra={"action": "stop"})


def calm_collector() -> None:
    """Collects cycles less often. A batch makes hundreds of thousands of objects and hardly a cycle, so the usual
    thresholds spend a fifth of the time on looking at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


async def build_states(settings: Settings, features: CompiledFeatures, metrics: Metrics, stop: asyncio.Event) -> None:
    """One state builder, a member of its layout's consumer group, until `stop` is set. Raises ShellError."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            RedisClient.open(settings.redis_url, limits=_PATIENT, library=FUNCTION_LIBRARY)
        )
        publisher = await stack.enter_async_context(open_publisher(settings))
        stream = open_event_stream(
            settings,
            STATE_TOPICS,
            consumer_group(features.layout),
            on_revoked=lambda lost: consumer.revoked(lost),  # noqa: PLW0108 - the consumer needs the stream first
        )
        work = await assemble(settings, features, metrics, client, publisher, stream)
        hand_over_s = settings.kafka_session_timeout_ms / 3000
        pace = Pace(jitter=random.random, max_records=settings.batch_records, hand_over_s=hand_over_s)
        consumer: BatchConsumer[PreparedBatch] = BatchConsumer(stream, work, pace)
        await stack.enter_async_context(stream)
        await consumer.run(stop)


def consumer_group(layout: str) -> str:
    """The group that builds the states of one layout; another layout reads the log on its own."""
    return f"kairos-state-builder-{layout}"


async def assemble(
    settings: Settings,
    features: CompiledFeatures,
    metrics: Metrics,
    client: RedisClient,
    publisher: EventPublisher,
    stream: SeekableStream,
) -> StateBuilder:
    """The work of a builder on open connections; begins the namespace of the layout."""
    keys = RedisKeys(settings.namespace, features.layout)
    store, wall_clock = RedisStateStore(client, keys), SystemClock()
    await store.begin_namespace()
    event_clock = RedisClock(client, keys) if settings.clock == "events" else None
    ingest = IngestEvents(
        store=store,
        ledger=RedisContactLedger(client, keys),
        fold=partial(fold, features),
        metrics=metrics,
        clock=event_clock or wall_clock,
        event_clock=event_clock,
    )
    return StateBuilder(
        ingest=ingest,
        dead_letters=DeadLetters(publisher, metrics),
        progress=StoreProgress(
            store, stream, metrics, end_slack=0 if settings.kafka_idempotence else UNTRUSTED_END_SLACK
        ),
        wall_clock=None if event_clock else wall_clock,
    )
