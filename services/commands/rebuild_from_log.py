"""The log's part of a rebuild: a member of the layout's consumer group that does nothing but fold, until it is to hand
over what it has made."""

import asyncio
import random
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.triggers.compiled import compile_triggers
from event_schemas.topics import STATE_TOPICS
from services.adapters.embedded_servers import die_with_parent
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_link_members import RedisLinkMembers
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.adapters.redis_trigger_store import RedisTriggerStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import (
    LoadedStrategy,
    configure_logging,
    load_kept_strategy,
    open_event_stream,
    open_publisher,
    open_strategy_versions,
)
from services.commands.rebuild_from_archive import give_way
from services.commands.state_builder import PATIENT, UNTRUSTED_END_SLACK, calm_collector, consumer_group
from services.commands.stopping import stop_on_signals
from services.erasure_wiring import erased_people
from services.ports import EventPublisher
from services.settings import Settings
from services.use_cases.ingest_events import IngestEvents
from services.use_cases.left_pending import LeftPending
from services.use_cases.match_triggers import MatchTriggers
from services.use_cases.recent_ledger import RecentLedger
from services.workers.consumer import BatchConsumer, Pace
from services.workers.dead_letters import DeadLetters
from services.workers.resting_builder import RestingBuilder
from services.workers.state_builder import PreparedBatch, StateBuilder
from services.workers.store_progress import StoreProgress
from services.workers.trigger_progress import TriggerProgress

Partition = tuple[str, int]
"""Topic and partition."""
_RECENT_MS = 86_400_000
"""What happened before is in the ledgers: nobody who serves is a day behind."""


class LogFolder:
    """A member of the layout's consumer group that folds, and matches triggers once it hands over."""

    def __init__(self, settings: Settings, loaded: LoadedStrategy, rest: float) -> None:
        self._settings = settings
        self._loaded = loaded
        self._rest = rest
        self._consumer: BatchConsumer[PreparedBatch] | None = None
        self._work: RestingBuilder | None = None
        self.opened = asyncio.Event()
        self.stream = open_event_stream(
            settings, STATE_TOPICS, consumer_group(loaded.features.layout), on_revoked=self._revoked
        )

    async def run(self, client: RedisClient, publisher: EventPublisher, until: asyncio.Event) -> None:
        """Until told. Raises ShellError."""
        try:
            work = self._work = await self._builder(client, publisher)
            hand_over_s = self._settings.kafka_session_timeout_ms / 3000
            pace = Pace(jitter=random.random, max_records=self._settings.batch_records, hand_over_s=hand_over_s)
            consumer = self._consumer = BatchConsumer[PreparedBatch](self.stream, work, pace)
            async with self.stream:
                self.opened.set()
                await consumer.run(until)
        finally:
            self.opened.set()

    async def hand_over(self, client: RedisClient, publisher: EventPublisher, within_s: float) -> bool:
        """Lets the strategy's triggers see what is folded here, as soon as those who serve have seen all that was;
        answers whether they do within the time. Not in a replay, whose clock nobody here moves."""
        if self._work is None or self._settings.clock == "events":
            return False
        self._work.hand_over(self._matching(client, publisher))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._work.matches.wait(), within_s)
        return self._work.matches.is_set()

    def _matching(self, client: RedisClient, publisher: EventPublisher) -> MatchTriggers | None:
        triggers, clock = compile_triggers(self._loaded.strategy, EVENT_FIELDS), SystemClock()
        if triggers.is_empty:
            return None
        return MatchTriggers(
            triggers=triggers,
            store=RedisTriggerStore(client, RedisKeys(self._settings.namespace, self._loaded.features.layout)),
            firings=LeftPending(triggers=triggers, publisher=publisher, clock=clock),
            read=partial(read_snapshot, self._loaded.features),
            clock=clock,
            metrics=PrometheusMetrics(),
        )

    async def _revoked(self, partitions: set[Partition]) -> None:
        if self._consumer is not None:
            await self._consumer.revoked(partitions)

    async def _builder(self, client: RedisClient, publisher: EventPublisher) -> RestingBuilder:
        settings, loaded = self._settings, self._loaded
        keys, wall_clock = RedisKeys(settings.namespace, loaded.features.layout), SystemClock()
        metrics = PrometheusMetrics()
        replays = settings.clock == "events"
        store = RedisStateStore(client, keys)
        await store.begin_namespace()
        ingest = IngestEvents(
            store=store,
            ledger=RecentLedger(RedisContactLedger(client, keys), 0 if replays else wall_clock.now_ms() - _RECENT_MS),
            fold=partial(fold, loaded.features),
            metrics=metrics,
            clock=wall_clock,
            links=loaded.strategy.links,
            members=RedisLinkMembers(client, keys) if loaded.strategy.links else None,
            read=partial(read_snapshot, loaded.features),
            erased=erased_people(settings, client, loaded.features),
        )
        slack = 0 if settings.kafka_idempotence else UNTRUSTED_END_SLACK
        triggers = TriggerProgress(store, serving=False)
        builder = StateBuilder(
            ingest=ingest,
            dead_letters=DeadLetters(publisher, metrics),
            progress=StoreProgress(store, self.stream, metrics, end_slack=slack, triggers=triggers),
            wall_clock=None if replays else wall_clock,
        )
        return RestingBuilder(builder, triggers, self._rest)


def spawned(settings: Settings, loaded: LoadedStrategy, rest: float, niceness: int) -> BaseProcess:
    """A further process that folds the log, to be terminated."""
    arguments = (settings, loaded.strategy.version, rest, niceness)
    process = get_context("spawn").Process(target=_fold_log, args=arguments, daemon=True)
    process.start()
    return process


def _fold_log(settings: Settings, version: str, rest: float, niceness: int) -> None:
    """A further process: a member of the same group, until it is told to end."""
    die_with_parent()
    give_way(niceness)
    configure_logging(settings)
    loaded = load_kept_strategy(open_strategy_versions(settings), version)
    calm_collector()
    asyncio.run(_until_stopped(LogFolder(settings, loaded, rest), settings))


async def _until_stopped(folder: LogFolder, settings: Settings) -> None:
    stop = stop_on_signals()
    async with (
        RedisClient.open(settings.redis_url, limits=PATIENT, library=FUNCTION_LIBRARY) as client,
        open_publisher(settings) as publisher,
    ):
        await folder.run(client, publisher, stop)
