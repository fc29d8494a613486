"""What a state builder needs to fire triggers: all that a decision needs at the API, and the outbound topic."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.updates import EVENT_FIELDS
from decision_engine.triggers.compiled import compile_triggers
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.kafka_outbound_log import KafkaOutboundLog
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import DecisionRetention, RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.adapters.redis_trigger_store import RedisTriggerStore
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds, ulid_of
from services.bootstrap import (
    PRICES_SET,
    LoadedStrategy,
    following_beliefs,
    model_handlers,
    model_provider,
    node_identity,
    open_clock,
    open_control,
    open_publisher,
    open_strategy_versions,
    open_volumes,
)
from services.bus_wiring import bus_security
from services.ports import Clock, Metrics
from services.settings import Settings
from services.strategy_switching import SwitchTools
from services.use_cases.canary_strategy import CanaryStrategy
from services.use_cases.decide_firing import DecideFiring
from services.use_cases.decision_outlet import DecisionOutlet
from services.use_cases.fire_triggers import FireTriggers, FiringPorts
from services.use_cases.kill_switches import KILL_SWITCH_SET, KillSwitches
from services.use_cases.live_strategy import ACTIVATING, ActiveVersion
from services.use_cases.make_decision import DecisionPorts, Live, MakeDecision
from services.use_cases.match_triggers import MatchTriggers
from services.use_cases.record_keeping import DRAIN_SECONDS, RecordKeeper
from services.workers.due_timers import DueTimers, LookPace, OwnedStream
from services.workers.firing_worker import FiringWorker
from services.workers.state_builder import StateBuilder

ROLE = "state-builder"
IDLE_SECONDS = 1.0
"""A builder decides now and then; it keeps no volume from the nodes that are asked all the time."""
_ANSWERED_SECONDS = 3 * 86_400
"""How long a firing's decision is found again under its id: longer than a firing stays pending."""
_CLAIM_SECONDS = 3
"""How long a claim stands that a crash left behind. An attempt under way takes two seconds at the most."""
_LIMITS = ClientLimits(timeout_s=2.0)
"""Nobody waits for these decisions in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggering:
    """Open and running: what the builder's work is extended by."""

    matching: MatchTriggers
    timers: DueTimers
    worker: FiringWorker

    def extend(self, work: StateBuilder, full_batch: int) -> StateBuilder:
        """The builder's work, with triggers."""
        ingest = replace(work.ingest, triggers=self.matching)
        # What an owner before has not matched is to be read first, and only the progress knows of it.
        timers = replace(self.timers, stream=work.progress)
        return replace(work, ingest=ingest, timers=timers, full_batch=full_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """Connections and clock that all parts share."""

    settings: Settings
    loaded: LoadedStrategy
    metrics: Metrics
    client: RedisClient
    keys: RedisKeys
    clock: Clock
    log: KafkaOutboundLog
    outlet: DecisionOutlet


@asynccontextmanager
async def open_triggering(
    settings: Settings, loaded: LoadedStrategy, metrics: Metrics, stream: OwnedStream
) -> AsyncIterator[Triggering | None]:
    """Triggers firing in the background; None where the strategy has none. Raises StoreUnavailable, BusUnavailable,
    ControlUnread."""
    triggers = compile_triggers(loaded.strategy, EVENT_FIELDS)
    if triggers.is_empty:
        yield None
        return
    async with AsyncExitStack() as stack:
        opened = await _open(settings, loaded, metrics, stack)
        decide, answers = await _open_deciding(opened, stack)
        store, clock = RedisTriggerStore(opened.client, opened.keys), opened.clock
        read = partial(read_snapshot, loaded.features)
        if settings.clock == "system":  # a clock that follows the events may not know the time yet
            await store.begun(clock.now_ms())
        fire = FireTriggers(
            FiringPorts(
                triggers=triggers,
                decide=decide,
                outlet=opened.outlet,
                store=store,
                decisions=answers,
                log=opened.log,
                publisher=opened.log,
                read=read,
                clock=clock,
                wall_clock=SystemClock(),
                metrics=metrics,
            )
        )
        worker = FiringWorker(fire, fire.withdraw)
        await stack.enter_async_context(worker.running(DRAIN_SECONDS))
        yield Triggering(
            matching=MatchTriggers(
                triggers=triggers, store=store, firings=worker, read=read, clock=clock, metrics=metrics
            ),
            timers=DueTimers(
                triggers=triggers,
                store=store,
                worker=worker,
                read=read,
                clock=clock,
                stream=stream,
                pace=LookPace(),
            ),
            worker=worker,
        )


async def _open(settings: Settings, loaded: LoadedStrategy, metrics: Metrics, stack: AsyncExitStack) -> _Opened:
    keys = RedisKeys(settings.namespace, loaded.features.layout)
    client = await stack.enter_async_context(
        RedisClient.open(settings.redis_url, limits=_LIMITS, library=FUNCTION_LIBRARY)
    )
    outbound = await stack.enter_async_context(open_publisher(settings))
    log = KafkaOutboundLog(settings.kafka_bootstrap_servers, outbound, security=bus_security(settings))
    return _Opened(
        settings=settings,
        loaded=loaded,
        metrics=metrics,
        client=client,
        keys=keys,
        clock=await stack.enter_async_context(open_clock(settings, client, keys)),
        log=log,
        outlet=DecisionOutlet(log),
    )


async def _open_deciding(opened: _Opened, stack: AsyncExitStack) -> tuple[DecideFiring, RedisDecisionStore]:
    """The same parts as at the API; answers are kept longer, and records go out before their contacts."""
    settings, loaded, metrics, ids = opened.settings, opened.loaded, opened.metrics, UlidIds()
    volumes = await stack.enter_async_context(
        open_volumes(settings, loaded, opened.clock, metrics, ids.new_id(), IDLE_SECONDS)
    )
    provider = model_provider(settings, loaded, metrics)
    switches, active = KillSwitches(metrics), ActiveVersion()
    handlers = model_handlers(provider) | {PRICES_SET: volumes.on_prices, KILL_SWITCH_SET: switches.on_set}
    handlers |= dict.fromkeys(ACTIVATING, active.on_act)
    identity = node_identity(ROLE, ids, loaded)
    await stack.enter_async_context(open_control(settings, opened.log, handlers, identity, metrics))
    keeper = RecordKeeper(metrics)
    stack.push_async_callback(keeper.drain, DRAIN_SECONDS)
    store = RedisDecisionStore(opened.client, opened.keys, _retention(settings))
    ledger = RedisContactLedger(opened.client, opened.keys)
    live = _live(loaded, provider)
    versions, namespaces = open_strategy_versions(settings), RedisNamespaces(opened.client, settings.namespace)
    tools = SwitchTools(versions, namespaces, store, provider, volumes)
    canary = CanaryStrategy(live, active, tools, metrics)
    await canary.start()
    await stack.enter_async_context(canary.following())
    ports = DecisionPorts(
        live=live,
        store=store,
        ledger=ledger,
        publisher=opened.outlet,
        clock=opened.clock,
        ids=ids,
        metrics=metrics,
        volumes=volumes,
        keeper=keeper,
        online=await stack.enter_async_context(following_beliefs(settings, opened.client, opened.clock, metrics, live)),
        switches=switches,
        live_for=canary.live_for,
    )
    decide = DecideFiring(
        live=live,
        make=MakeDecision(ports),
        answers=store,
        ledger=ledger,
        decision_id=ulid_of,
        superseded=opened.outlet.drop,
        clock=opened.clock,
        switches=switches,
        live_for=canary.live_for,
    )
    return decide, store


def _retention(settings: Settings) -> DecisionRetention:
    return DecisionRetention(
        idempotency_s=_ANSWERED_SECONDS,
        claim_s=_CLAIM_SECONDS,
        record_s=settings.record_seconds,
        tracked_s=settings.tracked_seconds,
    )


def _live(loaded: LoadedStrategy, provider: ArtifactModelProvider) -> Callable[[], Live]:
    """The builder works for one strategy at a time; its models change."""
    current = Live.of(loaded.prepared, loaded.features, provider.scorers())

    def live() -> Live:
        nonlocal current
        if (scorers := provider.scorers()) is not current.scorers:
            current = replace(current, scorers=scorers)
        return current

    return live
