"""`kairos online-learner`: keeps what has been learnt about treatments since the models were fitted."""

import argparse
import asyncio
import logging
import random
from contextlib import AsyncExitStack

from decision_engine.online import OnlineLearning
from services.adapters.prometheus_metrics import Declared
from services.adapters.redis_client import ClientLimits, RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_online_store import ONLINE_LIBRARY, OnlineKeys, RedisOnlineStore
from services.adapters.system_clock import SystemClock
from services.bootstrap import UNTRUSTED_END_SLACK, LoadedStrategy, open_clock, open_event_stream
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.running_role import run_role
from services.ports import Metrics
from services.settings import Settings
from services.workers.consumer import BatchConsumer, Pace
from services.workers.online_facts import TOPICS
from services.workers.online_learner import OnlineLearner, PlacedFact

NAME = "online-learner"
HELP = "learn from every response, per treatment and segment, between two fits of the models"
EXAMPLE = "KAIROS_STRATEGY_PATH=deploy/strategies/demo_bank kairos online-learner"

GROUP = "kairos-online-learner"
METRICS = {
    "online_updates_total": Declared("counter", ("kind",), "Impressions, acceptances and ends of windows counted"),
    "online_pending": Declared("gauge", ("state",), "Options under way: seen and still open, or not seen yet"),
    "online_shed_total": Declared("counter", (), "Facts of options not learnt from: too many were under way"),
    "online_unreadable_total": Declared("counter", ("topic",), "Records online learning could not read"),
    "online_rewinds_total": Declared("counter", (), "Partitions read again because another had written them"),
}
_PATIENT = ClientLimits(timeout_s=5.0, stall_s=15.0)
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether to begin anew; all else is a setting."""
    parser.add_argument("--rebuild", action="store_true", help="forget all evidence first, and read the log again")


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT, then finishes the batch in hand. Raises ShellError, StrategyInvalid."""

    async def work(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
        await learn_for_active(settings, metrics, stop, rebuild=arguments.rebuild)

    return run_role(work, METRICS)


async def learn_for_active(settings: Settings, metrics: Metrics, stop: asyncio.Event, *, rebuild: bool = False) -> None:
    """One learner after the other, each by the terms of the strategy active then; the first forgets all evidence
    where it is to `rebuild`. Raises ShellError, StrategyInvalid."""
    anew = rebuild

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        nonlocal anew
        terms = loaded.strategy.online
        if terms is None:
            _log.warning("%s has no section online_learning", loaded.strategy.version, extra={"action": "start"})
            await until.wait()
            return
        _log.info("learning online for %s", loaded.strategy.version, extra={"action": "start"})
        await learn_online(settings, terms, metrics, until, rebuild=anew)
        anew = False

    async with active_strategy(settings, NAME) as active:
        await work_for_active(active, stop, work)


async def learn_online(
    settings: Settings, terms: OnlineLearning, metrics: Metrics, stop: asyncio.Event, *, rebuild: bool = False
) -> None:
    """One learner, a member of the group, until `stop` is set. Raises ShellError."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            RedisClient.open(settings.redis_url, limits=_PATIENT, library=ONLINE_LIBRARY)
        )
        clock = await stack.enter_async_context(open_clock(settings, client, RedisKeys(settings.namespace, "")))
        store = RedisOnlineStore(client, OnlineKeys(settings.namespace, terms))
        if rebuild:
            await store.forget()
        stream = open_event_stream(
            settings,
            TOPICS,
            GROUP,
            on_revoked=lambda lost: consumer.revoked(lost),  # noqa: PLW0108 - the consumer needs the stream first
        )
        work = OnlineLearner(
            terms=terms,
            store=store,
            stream=stream,
            clock=clock,
            metrics=metrics,
            wall_clock=SystemClock() if settings.clock == "system" else None,
            most_options=settings.online_options_most,
            end_slack=0 if settings.kafka_idempotence else UNTRUSTED_END_SLACK,
        )
        pace = Pace(
            jitter=random.random,
            max_records=settings.batch_records,
            hand_over_s=settings.kafka_session_timeout_ms / 3000,
        )
        consumer: BatchConsumer[list[PlacedFact]] = BatchConsumer(stream, work, pace)
        await stack.enter_async_context(stream)
        await consumer.run(stop)
