"""`kairos guard`: watches a new version beside the one before, and takes it back when it is worse beyond doubt."""

import argparse
import asyncio
import logging
from contextlib import AsyncExitStack

from decision_engine.guard_terms import GuardTerms
from event_schemas.topics import DECISIONS, RESPONSES
from services.adapters.prometheus_metrics import CONTRACT, Declared
from services.adapters.redis_client import RedisClient
from services.adapters.system_clock import SystemClock
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import (
    load_strategy,
    node_identity,
    open_control,
    open_event_stream,
    open_governance,
    open_publisher,
    open_strategy_versions,
)
from services.commands.running_role import run_role
from services.ports import Metrics
from services.settings import Settings
from services.workers.guard import Guard, GuardTools

NAME = "guard"
HELP = "take a new strategy version back when it is worse than the one before, beyond doubt"
EXAMPLE = "KAIROS_STRATEGY_PATH=deploy/strategies/demo_bank kairos guard"

METRICS = {
    "guard_watching": Declared("gauge", (), "1 while a new version is watched"),
    "guard_share": Declared("gauge", ("measure", "version"), "Share of customers, of the new version and of before"),
    "guard_rollbacks_total": Declared("counter", ("measure", "outcome"), "Versions taken back, by what was worse"),
    "control_followed": CONTRACT["control_followed"],
}
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none: the terms are the strategy's, all else is a setting."""
    parser.set_defaults()


def run(_: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT. Raises StrategyInvalid, StoreUnavailable, BusUnavailable, ControlUnread."""
    return run_role(guard_versions, METRICS)


async def guard_versions(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> None:
    """Watches until `stop` is set. Raises StrategyInvalid, StoreUnavailable, BusUnavailable, ControlUnread."""
    serving, versions = load_strategy(settings).strategy.version, open_strategy_versions(settings)

    def terms_of(version: str) -> GuardTerms:
        return versions.prepared(version).strategy.guard or GuardTerms()

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url))
        publisher = await stack.enter_async_context(open_publisher(settings))
        governance = open_governance(settings, publisher, client, versions, serving)
        identity = node_identity(NAME, UlidIds())
        await stack.enter_async_context(open_control(settings, publisher, {}, identity, metrics, governance.acts))
        stream = await stack.enter_async_context(open_event_stream(settings, [DECISIONS, RESPONSES]))
        tools = GuardTools(desk=governance.desk, terms_of=terms_of, clock=SystemClock(), metrics=metrics)
        _log.info("watching new versions beside the ones before", extra={"action": "start"})
        await Guard(stream, tools).run(stop)
