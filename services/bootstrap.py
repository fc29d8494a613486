"""The composition root: turns settings into open adapters and hands them to a role."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Strategy
from event_schemas.topics import CONTROL, DECISIONS
from models.compatibility import available_columns
from models.registry import ModelRegistry
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.control_topic import ControlTopic, Handler, NodeIdentity
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream, RevokedCallback
from services.adapters.parquet_archive import ArchiveReader
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_clock import RedisClock
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import DecisionRetention, RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import (
    VOLUME_LIBRARY,
    LeaseHolder,
    LeaseTerms,
    RedisVolumeLeases,
    VolumeKeys,
)
from services.adapters.strategy_versions import StrategyVersions
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds
from services.api.authentication import Authenticator, OpenAccess
from services.api.keys_file import load_api_keys
from services.api.runtime import ApiRuntime
from services.ports import Clock, Metrics, StrategyUnknown
from services.settings import Settings
from services.use_cases.explain_decision import ArchiveBusy
from services.use_cases.make_decision import Live
from services.use_cases.record_keeping import DRAIN_SECONDS, RecordKeeper

_EMPTY_SECONDS = 0.5
"""A log that gives nothing for so long has nothing."""
PRICES_SET = "nbo.control.prices.set"
ARCHIVE_READS = 2
"""Reads of the archive at once."""
ARCHIVE_WAITING = 8
"""Reads that wait for one of them to end; more are refused."""


@dataclass(frozen=True, slots=True)
class LoadedStrategy:
    """A strategy in the three forms roles need: as declared, compiled to decide, compiled to fold and read."""

    strategy: Strategy
    prepared: PreparedStrategy
    features: CompiledFeatures


def load_strategy(settings: Settings) -> LoadedStrategy:
    """The strategy of the settings. Raises StrategyInvalid with every problem."""
    strategy = load_strategy_file(settings.strategy_path)
    return LoadedStrategy(strategy, prepare(strategy), compile_features(strategy.declarations, EVENT_FIELDS))


def open_strategy_versions(settings: Settings) -> StrategyVersions:
    """Every strategy that ever decided."""
    return StrategyVersions(settings.strategy_archive, load_strategy_file)


def strategy_finder(settings: Settings) -> Callable[[str], PreparedStrategy | None]:
    """Any strategy that ever decided, by version; None for one that is not kept."""
    versions = open_strategy_versions(settings)

    def strategy_of(version: str) -> PreparedStrategy | None:
        try:
            return versions.prepared(version)
        except StrategyUnknown:
            return None

    return strategy_of


def open_publisher(settings: Settings) -> KafkaEventPublisher:
    """The way onto the bus, to be entered."""
    return KafkaEventPublisher(settings.kafka_bootstrap_servers, idempotence=settings.kafka_idempotence)


def open_event_stream(
    settings: Settings, topics: Sequence[str], group_id: str | None = None, on_revoked: RevokedCallback | None = None
) -> KafkaEventStream:
    """Records of these topics, to be entered; shared with the group's members, or all of them without a group."""
    return KafkaEventStream(
        settings.kafka_bootstrap_servers,
        topics,
        group_id,
        on_revoked=on_revoked,
        session_timeout_ms=settings.kafka_session_timeout_ms,
    )


@asynccontextmanager
async def open_clock(settings: Settings, client: RedisClient, keys: RedisKeys) -> AsyncIterator[Clock]:
    """The wall clock, or the one that follows the events."""
    if settings.clock == "system":
        yield SystemClock()
    else:
        async with RedisClock(client, keys).following() as clock:
            yield clock


@asynccontextmanager
async def open_volumes(
    settings: Settings, loaded: LoadedStrategy, clock: Clock, metrics: Metrics, node: str
) -> AsyncIterator[RedisVolumeLeases | None]:
    """This node's part of the bank's volumes, None where the strategy has none. `node` names one life of a process."""
    if not loaded.strategy.volumes:
        yield None
        return
    async with RedisClient.open(settings.redis_url, library=VOLUME_LIBRARY) as client:
        await _open_untouched(settings, RedisVolumeHolds(client, VolumeKeys(settings.namespace)))
        async with RedisVolumeLeases(
            client,
            VolumeKeys(settings.namespace),
            loaded.prepared.volumes,
            LeaseHolder(node=node, clock=clock, zone=loaded.prepared.zone, metrics=metrics),
            LeaseTerms(prices_fresh_s=settings.prices_fresh_seconds),
        ) as leases:
            yield leases


async def _open_untouched(settings: Settings, pools: RedisVolumeHolds) -> None:
    """Where nothing was ever decided nothing was handed out; all else is for the pacer to tell."""
    if await pools.is_open():
        return
    async with open_event_stream(settings, [DECISIONS]) as stream:
        ends, beginnings = await stream.end_offsets(), await stream.beginning_offsets()
        # The embedded broker understates the end of its log, so an empty one is also read.
        if not any(ends.values()) and not any(beginnings.values()) and not await stream.poll(1, _EMPTY_SECONDS):
            await pools.open({}, [])


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[ApiRuntime]:
    """Everything the API needs, open and warm; closed in reverse on leaving.

    Raises StrategyInvalid, StrategyNotKept, SettingsInvalid, StoreUnavailable, BusUnavailable or ControlUnread.
    """
    loaded = load_strategy(settings)
    strategies = open_strategy_versions(settings)
    strategies.register(loaded.strategy.version, settings.strategy_path)
    keys = RedisKeys(namespace=settings.namespace, layout=loaded.features.layout)
    metrics, ids = PrometheusMetrics(), UlidIds()
    authenticator = _authenticator(settings)
    provider = ArtifactModelProvider(
        ModelRegistry(settings.model_path),
        available_columns(loaded.strategy),
        lambda name: metrics.count("model_refusals_total", model=name),
    )
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY))
        clock = await stack.enter_async_context(open_clock(settings, client, keys))
        publisher = await stack.enter_async_context(open_publisher(settings))
        volumes = await stack.enter_async_context(open_volumes(settings, loaded, clock, metrics, ids.new_id()))
        handlers = _model_handlers(provider) | ({} if volumes is None else {PRICES_SET: volumes.on_prices})
        await stack.enter_async_context(_control(settings, loaded, publisher, handlers, stack, ids))
        keeper = RecordKeeper(metrics)
        stack.push_async_callback(keeper.drain, DRAIN_SECONDS)
        retention = DecisionRetention(
            idempotency_s=settings.idempotency_seconds,
            record_s=settings.record_seconds,
            tracked_s=settings.tracked_seconds,
        )
        yield ApiRuntime(
            live=_live(loaded, provider),
            store=RedisDecisionStore(client, keys, retention),
            ledger=RedisContactLedger(client, keys),
            publisher=publisher,
            clock=clock,
            ids=ids,
            metrics=metrics,
            authenticator=authenticator,
            exposition=metrics.exposition,
            checks={"store": client.ping, "bus": publisher.ping},
            archive=ThreadedArchive(ArchiveReader(settings.archive_path)),
            strategies=strategies,
            volumes=volumes,
            keeper=keeper,
            replays=settings.clock == "events",
            decision_timeout_ms=settings.decision_timeout_ms,
        )


def configure_logging(settings: Settings) -> None:
    """One line an event on standard error: time, level, name, sentence. Ids only, never attributes."""
    logging.basicConfig(
        level=settings.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        force=True,
    )
    logging.getLogger("aiokafka").setLevel(logging.ERROR)


def node_identity(role: str, ids: UlidIds, loaded: LoadedStrategy | None = None) -> NodeIdentity:
    """This process, as it names itself on the control topic."""
    return NodeIdentity(
        node=f"{socket.gethostname()}-{role}-{os.getpid()}",
        role=role,
        event_id=ids.new_id(),
        started_at=datetime.now(UTC),
        strategy_version=loaded.strategy.version if loaded else None,
    )


@asynccontextmanager
async def _control(
    settings: Settings,
    loaded: LoadedStrategy,
    publisher: KafkaEventPublisher,
    handlers: Mapping[str, Handler],
    stack: AsyncExitStack,
    ids: UlidIds,
) -> AsyncIterator[ControlTopic]:
    stream = await stack.enter_async_context(open_event_stream(settings, [CONTROL]))
    control = ControlTopic(stream, publisher, node_identity("api", ids, loaded))
    for event_type, handler in handlers.items():
        control.subscribe(event_type, handler)
    async with control:
        yield control


def _model_handlers(provider: ArtifactModelProvider) -> dict[str, Handler]:
    return {
        "nbo.control.model.promoted": provider.on_promoted,
        "nbo.control.model.retired": provider.on_retired,
    }


def _live(loaded: LoadedStrategy, provider: ArtifactModelProvider) -> Callable[[], Live]:
    current = Live.of(loaded.prepared, loaded.features, provider.scorers())

    def live() -> Live:
        nonlocal current
        scorers = provider.scorers()
        if scorers is not current.scorers:
            current = replace(current, scorers=scorers)
        return current

    return live


def _authenticator(settings: Settings) -> Authenticator:
    if settings.auth == "api_key" and settings.api_keys_file is not None:
        return load_api_keys(settings.api_keys_file)
    return OpenAccess()


class ArchivedRecords(Protocol):
    """Records of decisions by id; reads files, so not for the event loop."""

    def read_decision(self, decision_id: str) -> bytes | None: ...


class ThreadedArchive:
    """Reads of the archive off the event loop, a few at a time: each goes through many files. Raises ArchiveBusy when
    too many wait already."""

    def __init__(self, reader: ArchivedRecords) -> None:
        self._reader = reader
        self._slots = asyncio.Semaphore(ARCHIVE_READS)
        self._asked = 0

    async def read_decision(self, decision_id: str) -> bytes | None:
        """The event as published; None where the archive has none."""
        if self._asked >= ARCHIVE_READS + ARCHIVE_WAITING:
            raise ArchiveBusy(f"{self._asked} reads of the archive are under way or wait")
        self._asked += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(self._reader.read_decision, decision_id)
        finally:
            self._asked -= 1
