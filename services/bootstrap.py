"""The composition root: turns settings into open adapters and hands them to a role."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from decision_engine.features.compiled import CompiledFeatures, compile_features
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.online import OnlineTable
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import Strategy
from event_schemas.topics import CONTROL, CONVERSIONS, DECISIONS, OUTBOUND, STATE_TOPICS
from models.compatibility import available_columns
from models.registry import ModelRegistry
from services.access_wiring import access_checks, admission, load_gate, open_authenticator
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.control_topic import ControlTopic, Handler, NodeIdentity
from services.adapters.file_strategy_source import load_strategy_file, load_strategy_texts
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream, RevokedCallback
from services.adapters.log_lines import formatter_of
from services.adapters.log_masking import mask_logs
from services.adapters.log_repeats import FewRepeats
from services.adapters.online_beliefs import OnlineBeliefs
from services.adapters.parquet_archive import ArchiveReader
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_clock import RedisClock
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_customer_sample import RedisCustomerSample
from services.adapters.redis_decision_store import DecisionRetention, RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_online_store import OnlineKeys, RedisOnlineStore
from services.adapters.redis_screens import RedisScreens
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import (
    IDLE_SECONDS,
    VOLUME_LIBRARY,
    LeaseHolder,
    LeaseTerms,
    RedisVolumeLeases,
    VolumeKeys,
)
from services.adapters.scoring_forms import ScoringForms
from services.adapters.strategy_versions import StrategyVersions
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds
from services.adapters.yaml_source import read_source
from services.api.runtime import ApiRuntime
from services.api.stream_feed import FeedLimits, OutboundFeed
from services.bus_wiring import bus_security, publishing_noted
from services.erasure_wiring import erasure_requests
from services.governance_wiring import DeskAccess, Governance, governance_over, measured
from services.observing_wiring import ControlHeard, open_results
from services.ports import Clock, EventPublisher, Metrics, NamespaceUse, StrategyUnknown
from services.screen_wiring import decision_ports, open_leads, open_shelf
from services.settings import Settings
from services.strategy_switching import SwitchTools, following_versions
from services.threaded_archive import ThreadedArchive
from services.use_cases.authoring.tools import AuthoringTools
from services.use_cases.circuit_breaker import CircuitBreaker
from services.use_cases.circuit_watch import watched_circuit
from services.use_cases.governance.chain import CHAINED_TYPES
from services.use_cases.governance.log import GovernanceLog
from services.use_cases.kill_switches import KILL_SWITCH_SET, KillSwitches
from services.use_cases.live_strategy import ACTIVATING, ActiveVersion
from services.use_cases.log_pseudonyms import LogPseudonyms
from services.use_cases.make_decision import Live
from services.use_cases.person_export.export_person import ExportPerson
from services.use_cases.record_keeping import DRAIN_SECONDS, RecordKeeper
from services.use_cases.shadow_scoring import ShadowScoring
from services.use_cases.strategy_activation import Version
from services.use_cases.unpublished_records import OwnRecords

_EMPTY_SECONDS = 0.5
"""A log that gives nothing for so long has nothing."""
PRICES_SET = "nbo.control.prices.set"
UNTRUSTED_END_SLACK = 100_000
"""The embedded broker, known by its want of idempotence, reports the start of the last write as the end of the log."""


@dataclass(frozen=True, slots=True)
class LoadedStrategy:
    """A strategy in the three forms roles need: as declared, compiled to decide, compiled to fold and read."""

    strategy: Strategy
    prepared: PreparedStrategy
    features: CompiledFeatures


def load_strategy(settings: Settings) -> LoadedStrategy:
    """The strategy of the settings. Raises StrategyInvalid with every problem."""
    return load_strategy_at(settings.strategy_path)


def load_strategy_at(path: Path) -> LoadedStrategy:
    """The strategy in a file or folder. Raises StrategyInvalid with every problem."""
    strategy = load_strategy_file(path)
    return LoadedStrategy(strategy, prepare(strategy), compile_features(strategy.declarations, EVENT_FIELDS))


def load_kept_strategy(versions: StrategyVersions, version: str) -> LoadedStrategy:
    """A version from the strategy archive. Raises StrategyUnknown."""
    prepared = versions.prepared(version)
    return LoadedStrategy(prepared.strategy, prepared, compile_features(prepared.strategy.declarations, EVENT_FIELDS))


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


def open_publisher(settings: Settings, breaker: CircuitBreaker | None = None) -> KafkaEventPublisher:
    """The way onto the bus, to be entered."""
    return KafkaEventPublisher(
        settings.kafka_bootstrap_servers,
        idempotence=settings.kafka_idempotence,
        security=bus_security(settings),
        breaker=breaker,
    )


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
        security=bus_security(settings),
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
    settings: Settings,
    loaded: LoadedStrategy,
    clock: Clock,
    metrics: Metrics,
    node: str,
    idle_s: float = IDLE_SECONDS,
) -> AsyncIterator[RedisVolumeLeases]:
    """This node's part of the bank's volumes, of which the strategy may have none until another takes its place.
    `node` names one life of a process; one that decides now and then is told to count as idle soon (`idle_s`), so
    that it keeps nothing from those who could use it."""
    async with RedisClient.open(settings.redis_url, library=VOLUME_LIBRARY) as client:
        await _open_untouched(settings, RedisVolumeHolds(client, VolumeKeys(settings.namespace)))
        async with RedisVolumeLeases(
            client,
            VolumeKeys(settings.namespace),
            loaded.prepared.volumes,
            LeaseHolder(node=node, clock=clock, zone=loaded.prepared.zone, metrics=metrics),
            LeaseTerms(prices_fresh_s=settings.prices_fresh_seconds, idle_s=idle_s),
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
async def open_api(settings: Settings, loaded: LoadedStrategy | None = None) -> AsyncIterator[ApiRuntime]:
    """Everything the API needs, open and warm; closed in reverse on leaving. `loaded`: the strategy of the settings,
    where that was read already.

    Raises StrategyInvalid, StrategyNotKept, SettingsInvalid, StoreUnavailable, BusUnavailable or ControlUnread.
    """
    loaded, strategies = loaded or load_strategy(settings), open_strategy_versions(settings)
    strategies.register(loaded.strategy.version, settings.strategy_path)
    keys = RedisKeys(namespace=settings.namespace, layout=loaded.features.layout)
    metrics, ids = PrometheusMetrics(), UlidIds()
    provider = model_provider(settings, loaded, metrics)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_store(settings, metrics))
        clock = await stack.enter_async_context(open_clock(settings, client, keys))
        publisher = open_publisher(settings, watched_circuit("bus", metrics))
        own_records = await stack.enter_async_context(publishing_noted(settings, client, publisher, metrics))
        volumes = await stack.enter_async_context(open_volumes(settings, loaded, clock, metrics, ids.new_id()))
        active, switches, heard = ActiveVersion(), KillSwitches(metrics), ControlHeard()
        handlers = heard.beside(_api_handlers(provider, volumes, switches, active))
        governance = open_governance(settings, publisher, client, strategies, loaded.strategy.version)
        identity = node_identity("api", ids, loaded)
        following = open_control(settings, publisher, handlers, identity, metrics, governance.acts)
        control = await stack.enter_async_context(_governed(governance, following, metrics))
        store = RedisDecisionStore(client, keys, decision_retention(settings), own_records.node)
        tools = SwitchTools(strategies, RedisNamespaces(client, settings.namespace), store, provider, volumes)
        authenticator = await stack.enter_async_context(open_authenticator(settings, metrics))
        first = Live.of(loaded.prepared, loaded.features, provider.scorers())
        live, canary = await stack.enter_async_context(following_versions(first, active, tools, metrics, _use_of))
        runtime = ApiRuntime(
            live=live,
            pending=lambda: live.pending or canary.pending,
            live_for=canary.live_for,
            canary=lambda: canary.canary,
            store=store,
            ledger=RedisContactLedger(client, keys),
            publisher=publisher,
            clock=clock,
            ids=ids,
            metrics=metrics,
            authenticator=authenticator,
            admission=admission(settings, metrics),
            gate=load_gate(settings, metrics),
            exposition=metrics.exposition,
            checks=access_checks(authenticator, store=client.ping, bus=publisher.ping, control=control.check),
            switches=switches,
            online=await stack.enter_async_context(following_beliefs(settings, client, clock, metrics, live)),
            outbound=await stack.enter_async_context(_outbound_feed(settings, clock, metrics, switches).following()),
            strategies=strategies,
            volumes=volumes,
            keeper=await stack.enter_async_context(_keeping_records(metrics, own_records)),
            shadows=await stack.enter_async_context(_shadow_scoring(provider, publisher, metrics)),
            replays=settings.clock == "events",
            decision_timeout_ms=settings.decision_timeout_ms,
        )
        yield await stack.enter_async_context(_with_screens(runtime, settings, client, loaded, governance, heard))


def _store(settings: Settings, metrics: Metrics) -> AbstractAsyncContextManager[RedisClient]:
    breaker = watched_circuit("store", metrics)
    return RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY, breaker=breaker)


@asynccontextmanager
async def _with_screens(
    runtime: ApiRuntime,
    settings: Settings,
    client: RedisClient,
    loaded: LoadedStrategy,
    governance: Governance,
    heard: ControlHeard,
) -> AsyncIterator[ApiRuntime]:
    """The same with what people's screens and the endpoints of governance need."""
    screens = RedisScreens(client, settings.namespace, LogPseudonyms(settings.log_hash_key))
    archive = ThreadedArchive(ArchiveReader(settings.archive_path))
    conversions = partial(open_event_stream, settings, [CONVERSIONS])
    async with (
        open_leads(client, settings.namespace, conversions) as leads,
        open_shelf(settings.snapshot_path, loaded.prepared.zone) as snapshots,
        open_results(settings, runtime.live, heard) as results,
    ):
        yield replace(
            runtime,
            archive=archive,
            attribution=archive,
            authoring=_authoring_tools(settings, client),
            governance=governance.desk,
            simulations=governance.simulations,
            audit=governance.audit,
            sessions=screens,
            recent=screens,
            reasons=screens,
            snapshots=snapshots,
            leads=leads,
            results=results,
            decisions=decision_ports(settings.archive_path, settings.model_path),
            erasures=erasure_requests(settings, client, runtime.publisher, runtime.clock),
            export_person=ExportPerson(live=runtime.live, store=runtime.store, archive=archive, clock=runtime.clock),
        )


def _api_handlers(
    provider: ArtifactModelProvider, volumes: RedisVolumeLeases, switches: KillSwitches, active: ActiveVersion
) -> dict[str, Handler]:
    """What the API does about which acts."""
    handlers = model_handlers(provider) | {PRICES_SET: volumes.on_prices, KILL_SWITCH_SET: switches.on_set}
    return handlers | dict.fromkeys(ACTIVATING, active.on_act)


@asynccontextmanager
async def _governed(
    governance: Governance, following: AbstractAsyncContextManager[ControlTopic], metrics: Metrics
) -> AsyncIterator[ControlTopic]:
    """The control topic followed, with every submission at hand; simulations end on leaving."""
    measured(governance.acts, metrics)
    try:
        async with following as control:
            await governance.submissions.settled()
            yield control
    finally:
        await governance.simulations.close()


@asynccontextmanager
async def _keeping_records(metrics: Metrics, own_records: OwnRecords) -> AsyncIterator[RecordKeeper]:
    """Keeps records behind their answers; what is under way is finished on leaving."""
    keeper = RecordKeeper(metrics, on_withdrawn=own_records.withdrawn)
    try:
        yield keeper
    finally:
        await keeper.drain(DRAIN_SECONDS)


def open_governance(
    settings: Settings, publisher: EventPublisher, client: RedisClient, versions: StrategyVersions, serving: str
) -> Governance:
    """The desk of governance; `serving` is what decides where nothing was ever activated."""

    async def read(version: str) -> Version:
        kept = await asyncio.to_thread(load_kept_strategy, versions, version)
        return Version(name=kept.strategy.name, version=version, layout=kept.features.layout)

    access = DeskAccess(
        serving=serving,
        read=read,
        open_ends=lambda: open_event_stream(settings, STATE_TOPICS),
        open_acts=lambda: open_event_stream(settings, [CONTROL]),
        identity=lambda: node_identity("audit", UlidIds()),
    )
    return governance_over(settings, publisher, client, versions, access)


@asynccontextmanager
async def following_beliefs(
    settings: Settings, client: RedisClient, clock: Clock, metrics: Metrics, live: Callable[[], Live]
) -> AsyncIterator[Callable[[], OnlineTable | None]]:
    """What online learning believes at this moment, for the strategy that decides."""

    def reader(prepared: PreparedStrategy) -> RedisOnlineStore:
        terms = prepared.strategy.online
        if terms is None:
            raise ValueError(f"{prepared.strategy.version} does not learn online")
        return RedisOnlineStore(client, OnlineKeys(settings.namespace, terms))

    beliefs = OnlineBeliefs(reader, lambda: live().prepared, clock, metrics, lambda: live().scorers)
    async with beliefs.following():
        yield lambda: beliefs.table


def decision_retention(settings: Settings) -> DecisionRetention:
    """How long the store keeps what belongs to a decision."""
    return DecisionRetention(
        idempotency_s=settings.idempotency_seconds,
        record_s=settings.record_seconds,
        tracked_s=settings.tracked_seconds,
    )


LIBRARY_LEVELS = {"aiokafka": logging.ERROR, "httpx": logging.WARNING}
"""Below these, whatever level is asked for, libraries write what is nobody's to read: whole records of the bus, and
addresses of receivers."""


def configure_logging(settings: Settings) -> None:
    """One line an event on standard error: time, level, name, sentence. Ids only, never attributes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter_of(settings.log_format, {"node": socket.gethostname(), "process": str(os.getpid())}))
    handler.addFilter(FewRepeats(tuple(LIBRARY_LEVELS)))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for library, level in LIBRARY_LEVELS.items():
        logging.getLogger(library).setLevel(level)
    mask_logs(LogPseudonyms(settings.log_hash_key))


def node_identity(role: str, ids: UlidIds, loaded: LoadedStrategy | None = None) -> NodeIdentity:
    """This process, as it names itself on the control topic."""
    return NodeIdentity(
        node=node_name(role),
        role=role.replace("-", "_"),
        event_id=ids.new_id(),
        started_at=datetime.now(UTC),
        strategy_version=loaded.strategy.version if loaded else None,
    )


def node_name(role: str) -> str:
    """This process, the same for as long as it lives."""
    return f"{socket.gethostname()}-{role}-{os.getpid()}"


def namespace_use(role: str, node: str, prepared: PreparedStrategy, features: CompiledFeatures) -> NamespaceUse:
    """What a node says it serves or builds."""
    return NamespaceUse(role=role, node=node, layout=features.layout, version=prepared.strategy.version)


def _authoring_tools(settings: Settings, client: RedisClient) -> AuthoringTools:
    return AuthoringTools(
        read=read_source, load=load_strategy_texts, sample=RedisCustomerSample(client, settings.namespace)
    )


def _use_of(live: Live) -> NamespaceUse:
    return namespace_use("api", node_name("api"), live.prepared, live.features)


@asynccontextmanager
async def open_control(
    settings: Settings,
    publisher: EventPublisher,
    handlers: Mapping[str, Handler],
    identity: NodeIdentity,
    metrics: Metrics | None = None,
    acts: GovernanceLog | None = None,
) -> AsyncIterator[ControlTopic]:
    """The control topic, read from its beginning and followed; `metrics` tell whether it is. Handlers of acts of
    governance are told only of those that took effect, by `acts`. Raises BusUnavailable, ControlUnread."""
    chained = GovernanceLog() if acts is None else acts

    def on_followed(followed: bool) -> None:  # noqa: FBT001 - a callback with one answer
        if metrics is not None:
            metrics.gauge("control_followed", float(followed))

    async with open_event_stream(settings, [CONTROL]) as stream:
        control = ControlTopic(stream, publisher, identity, on_followed=on_followed, on_record=chained.on_record)
        for event_type, handler in handlers.items():
            (chained if event_type in CHAINED_TYPES else control).subscribe(event_type, handler)
        async with control:
            yield control


def model_provider(settings: Settings, loaded: LoadedStrategy, metrics: Metrics) -> ArtifactModelProvider:
    """The models of the registry that the strategy can fill, to be moved by what the control topic says."""
    return ArtifactModelProvider(
        ModelRegistry(settings.model_path),
        available_columns(loaded.strategy),
        lambda name: metrics.count("model_refusals_total", model=name),
        ScoringForms(metrics),
    )


def model_handlers(provider: ArtifactModelProvider) -> dict[str, Handler]:
    """What of the control topic concerns models."""
    return {
        "nbo.control.model.promoted": provider.on_promoted,
        "nbo.control.model.challenged": provider.on_challenged,
        "nbo.control.model.shadowed": provider.on_shadowed,
        "nbo.control.model.retired": provider.on_retired,
    }


@asynccontextmanager
async def _shadow_scoring(
    provider: ArtifactModelProvider, publisher: EventPublisher, metrics: Metrics
) -> AsyncIterator[ShadowScoring]:
    """The models in the shadow, asked in a thread of their own."""
    shadows = ShadowScoring(provider.shadows, publisher, metrics)
    async with shadows.running():
        yield shadows


def _outbound_feed(settings: Settings, clock: Clock, metrics: Metrics, switches: KillSwitches) -> OutboundFeed:
    """This node's view of the outbound topic."""
    slack = 0 if settings.kafka_idempotence else UNTRUSTED_END_SLACK
    limits = FeedLimits(end_slack=slack)
    return OutboundFeed(lambda: open_event_stream(settings, [OUTBOUND]), clock, metrics, limits, switches.stops)
