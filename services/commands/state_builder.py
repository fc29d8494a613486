"""`kairos state-builder`: folds the bank's events into customer state until it is told to stop."""

import argparse
import asyncio
import gc
import logging
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial

from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import fold
from decision_engine.features.linked import Link
from decision_engine.features.snapshot import read_snapshot
from event_schemas.topics import DECISIONS, PROFILE_UPDATES, RESPONSES, STATE_TOPICS
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_clock import RedisClock
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_ledger_mark import RedisLedgerMark
from services.adapters.redis_link_members import RedisLinkMembers
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import LoadedStrategy, node_name, open_clock, open_event_stream, open_publisher
from services.commands.active_strategy import ActiveStrategy, active_strategy, work_for_active
from services.commands.running_role import run_role
from services.commands.triggering import open_triggering
from services.erasure_wiring import erased_people, erasure_sweeper, pseudonyms_of
from services.ports import BusUnavailable, Clock, EventPublisher, Metrics, ShellError
from services.settings import Settings
from services.telemetry import tracing
from services.use_cases.contacts_in_log import ContactsInLog
from services.use_cases.ingest_events import IngestEvents
from services.use_cases.rebuild_ledger import RebuildLedger
from services.use_cases.running_beside import running_beside
from services.workers.consumer import BatchConsumer, Pace
from services.workers.dead_letters import DeadLetters
from services.workers.ledger_restore import LedgerRestore
from services.workers.state_builder import PreparedBatch, StateBuilder
from services.workers.store_progress import SeekableStream, StoreProgress
from services.workers.trigger_progress import TriggerProgress

NAME = "state-builder"
HELP = "fold events from the bus into customer state, each exactly once"
EXAMPLE = "KAIROS_REDIS_URL=redis://127.0.0.1:6379/0 kairos state-builder"

UNTRUSTED_END_SLACK = 100_000
"""The embedded broker, known by its want of idempotence, reports the start of the last write as the end of the log."""
PATIENT = ClientLimits(timeout_s=5.0, stall_s=15.0)
"""Nobody waits for a builder in milliseconds, and giving a call up only means doing the batch again."""
LAG_SECONDS = 5.0
"""How often it is looked how far behind the builder is."""
BESIDE_LOOK_SECONDS = 0.5
"""How often it is looked whether a canary has states of its own."""
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: everything is a setting."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT, then finishes the batch in hand. Raises ShellError."""
    return run_role(build_for_active, on_uvloop=True)


async def build_for_active(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    """One builder after the other, each of the strategy that is active then, and beside it one for a canary's states,
    and what rids the store of erased people: where that fails the role ends, since nobody else would erase. Raises
    ShellError."""

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        _log.info("building states of layout %s", loaded.features.layout, extra={"action": "start"})
        links = loaded.strategy.links
        await build_states(settings, loaded.features, metrics, until, links=links, firing_for=loaded)

    async with AsyncExitStack() as stack:
        stack.enter_context(tracing(settings, NAME))
        active = await stack.enter_async_context(active_strategy(settings, NAME, keeps_states=True))
        calm_collector()
        async with (
            running_beside(build_beside(settings, active, metrics, stop), "canary-states"),
            running_beside(erase_from_store(settings, stop), "erasures"),
        ):
            await work_for_active(active, stop, work)


async def erase_from_store(settings: Settings, stop: asyncio.Event) -> None:
    """Rids the store of erased people, until told to stop; where erasure is not set up there is nothing to do."""
    if pseudonyms_of(settings) is None:
        return
    async with (
        RedisClient.open(settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client,
        open_publisher(settings) as publisher,
        open_clock(settings, client, RedisKeys(settings.namespace, "")) as clock,
    ):
        await erasure_sweeper(settings, client, publisher, clock, node_name("state-builder")).run(stop)


async def build_beside(settings: Settings, active: ActiveStrategy, metrics: Metrics, stop: asyncio.Event) -> None:
    """Keeps the states of a canary current where its layout is one of its own, for as long as it decides for a share,
    and until the role itself works for the version. It contacts nobody."""
    while not stop.is_set():
        loaded = await active.beside()
        until, building = asyncio.Event(), None
        if loaded is not None:
            _log.info("building states of layout %s beside", loaded.features.layout, extra={"action": "canary"})
            links = loaded.strategy.links
            building = asyncio.create_task(build_states(settings, loaded.features, metrics, until, links=links))
        try:
            while await active.is_beside(loaded) and not (building is not None and building.done()):  # noqa: ASYNC110
                await asyncio.sleep(BESIDE_LOOK_SECONDS)
        finally:
            until.set()
            if building is not None:
                await _ended(building)


async def _ended(building: "asyncio.Task[None]") -> None:
    """Waits for the builder of a canary's states; that it failed is no reason to stop building the others'."""
    try:
        await building
    except ShellError as error:
        _log.error("the canary's states are not built: %s", error, extra={"action": "try again"})
    except Exception:  # noqa: BLE001 - whatever a canary brings, the states of everybody else are kept current
        _log.exception("the canary's states are not built", extra={"action": "try again"})
    else:
        return
    await asyncio.sleep(BESIDE_LOOK_SECONDS)


def calm_collector() -> None:
    """Collects cycles less often. A batch makes hundreds of thousands of objects and hardly a cycle, so the usual
    thresholds spend a fifth of the time on looking at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


async def build_states(
    settings: Settings,
    features: CompiledFeatures,
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    links: tuple[Link, ...] = (),
    firing_for: LoadedStrategy | None = None,
) -> None:
    """One state builder, a member of its layout's consumer group, until `stop` is set. Only with a strategy to fire for
    does it contact anybody. Raises ShellError."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            RedisClient.open(settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY)
        )
        publisher = await stack.enter_async_context(open_publisher(settings))
        stream = open_event_stream(
            settings,
            STATE_TOPICS,
            consumer_group(features.layout),
            on_revoked=lambda lost: revoked(lost),  # noqa: PLW0108 - the consumer needs the stream first
        )
        connections = Connections(client, publisher, stream)
        work = await assemble(settings, features, metrics, connections, links, serving=firing_for is not None)
        hand_over_s = settings.kafka_session_timeout_ms / 3000
        triggering = None
        if firing_for is not None:
            triggering = await stack.enter_async_context(open_triggering(settings, firing_for, metrics, stream))
        if triggering is not None:
            work = triggering.extend(work, settings.batch_records)
        pace = Pace(jitter=random.random, max_records=settings.batch_records, hand_over_s=hand_over_s)
        consumer: BatchConsumer[PreparedBatch] = BatchConsumer(stream, work, pace)

        async def revoked(lost: set[tuple[str, int]]) -> None:
            await consumer.revoked(lost)
            if triggering is not None:
                await triggering.worker.revoked({number for _, number in lost}, hand_over_s)

        if firing_for is not None:
            keys = RedisKeys(settings.namespace, features.layout)
            clock = await stack.enter_async_context(open_clock(settings, client, keys))
            restore = ledger_restore(settings, client, firing_for, clock)
            await stack.enter_async_context(running_beside(restore.run(), "ledgers"))
            await restore.first()
        await stack.enter_async_context(stream)
        async with running_beside(watch_lag(stream, metrics), "lag"):
            await consumer.run(stop)


def ledger_restore(settings: Settings, client: RedisClient, serving: LoadedStrategy, clock: Clock) -> LedgerRestore:
    """What brings reservations back into the ledgers of a store that has lost them."""
    keys, strategy = RedisKeys(settings.namespace, serving.features.layout), serving.strategy
    holds_ms = [strategy.reservation_seconds * 1000, *(trigger.expires_ms for trigger in strategy.triggers)]
    return LedgerRestore(
        mark=RedisLedgerMark(client, keys),
        rebuild=lambda: RebuildLedger(
            ledger=RedisContactLedger(client, keys), contacts=ContactsInLog.of(strategy), clock=clock
        ),
        open_logs=tuple(
            partial(open_event_stream, settings, [topic]) for topic in (PROFILE_UPDATES, RESPONSES, DECISIONS)
        ),
        wall_clock=SystemClock(),
        lasting_ms=max(holds_ms),
    )


async def watch_lag(stream: KafkaEventStream, metrics: Metrics) -> None:
    """Tells how far behind this builder is, every few seconds and also while a batch cannot be applied, for ever. A bus
    that does not answer leaves the figure as it was: the alert on what is applied then speaks."""
    while True:
        with suppress(BusUnavailable, TimeoutError):
            async with asyncio.timeout(LAG_SECONDS):
                for topic, records in (await stream.lag()).items():
                    metrics.gauge("bus_lag_records", records, topic=topic)
        await asyncio.sleep(LAG_SECONDS)


def consumer_group(layout: str) -> str:
    """The group that builds the states of one layout; another layout reads the log on its own."""
    return f"kairos-state-builder-{layout}"


@dataclass(frozen=True, slots=True)
class Connections:
    """What a builder stands on, open."""

    client: RedisClient
    publisher: EventPublisher
    stream: SeekableStream


async def assemble(
    settings: Settings,
    features: CompiledFeatures,
    metrics: Metrics,
    open_to: Connections,
    links: tuple[Link, ...] = (),
    *,
    serving: bool = False,
) -> StateBuilder:
    """The work of a builder on open connections; begins the namespace of the layout. `serving` says whether it builds
    for a strategy that decides, whose triggers then see what is folded."""
    keys = RedisKeys(settings.namespace, features.layout)
    store, wall_clock = RedisStateStore(open_to.client, keys), SystemClock()
    await store.begin_namespace()
    event_clock = RedisClock(open_to.client, keys) if settings.clock == "events" else None
    ingest = IngestEvents(
        store=store,
        ledger=RedisContactLedger(open_to.client, keys),
        fold=partial(fold, features),
        metrics=metrics,
        clock=event_clock or wall_clock,
        event_clock=event_clock,
        links=links,
        members=RedisLinkMembers(open_to.client, keys) if links else None,
        read=partial(read_snapshot, features),
        erased=erased_people(settings, open_to.client, features, (open_to.publisher, event_clock or wall_clock)),
    )
    return StateBuilder(
        ingest=ingest,
        dead_letters=DeadLetters(open_to.publisher, metrics),
        progress=StoreProgress(
            store,
            open_to.stream,
            metrics,
            end_slack=0 if settings.kafka_idempotence else UNTRUSTED_END_SLACK,
            triggers=TriggerProgress(store, serving=serving),
            ledger=RedisLedgerMark(open_to.client, keys) if serving else None,
        ),
        wall_clock=None if event_clock else wall_clock,
        arrivals=wall_clock,
    )
