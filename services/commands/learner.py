"""`kairos learner`: fits models from the archive and promotes those that pass their checks."""

import argparse
import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from decision_engine.strategy import Strategy
from event_schemas.topics import CONTROL
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts, unlearnable_attributes
from models.registry import ModelRegistry
from services.adapters.artifact_model_provider import promotion_of
from services.adapters.control_topic import ControlTopic, NodeIdentity
from services.adapters.metrics_page import metrics_page
from services.adapters.prometheus_metrics import CONTRACT, Declared, PrometheusMetrics
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import LoadedStrategy, configure_logging, open_event_stream, open_publisher
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.stopping import stop_on_signals
from services.ports import Metrics
from services.settings import Settings, read_settings
from services.workers.learner import Learner, LearnerTools, LearningSchedule, Learnt

NAME = "learner"
HELP = "fit models from the archive as responses come in, and promote those that pass their checks"
EXAMPLE = "KAIROS_LEARNER_MIN_ROWS=3000 kairos learner --model cross_sell"

_log = logging.getLogger(__name__)
_METRICS = {"model_fits_total": Declared("counter", ("model", "outcome"), "Models fitted, promoted or not")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models."""
    parser.add_argument(
        "--model", action="append", default=[], help="model to learn; may be repeated (default: all of the strategy)"
    )


def run(args: argparse.Namespace) -> int:
    """Learns until SIGINT or SIGTERM. Raises StrategyInvalid, BusUnavailable."""
    settings = read_settings(os.environ)
    configure_logging(settings)
    asyncio.run(learn(settings, tuple(args.model)))
    return 0


async def learn(settings: Settings, models: tuple[str, ...]) -> None:
    """Runs the role until the process is told to stop; a fit that has begun is finished and registered."""
    stopping, metrics = stop_on_signals(), PrometheusMetrics({**CONTRACT, **_METRICS})

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        await _learn_for(settings, loaded.strategy, models, metrics, until)

    async with (
        metrics_page(settings.host, settings.metrics_port, metrics.exposition),
        active_strategy(settings, NAME) as active,
    ):
        await work_for_active(active, stopping, work)


async def _learn_for(
    settings: Settings, strategy: Strategy, models: tuple[str, ...], metrics: PrometheusMetrics, until: asyncio.Event
) -> None:
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(open_publisher(settings))
        stream = await stack.enter_async_context(open_event_stream(settings, [CONTROL]))
        ids = UlidIds()
        tools = LearnerTools(
            registry=ModelRegistry(settings.model_path),
            publisher=publisher,
            new_id=ids.new_id,
            now=_now,
            promotion_of=promotion_of,
            on_learnt=partial(_count_fit, metrics),
        )
        learner = Learner(log_queries(settings, strategy, models), _schedule(settings), tools)
        control = ControlTopic(stream, publisher, _identity(strategy, ids.new_id()))
        control.subscribe("nbo.control.model.promoted", learner.on_control)
        control.subscribe("nbo.control.model.retired", learner.on_control)
        await stack.enter_async_context(control)
        _log.info("learning from %s", settings.archive_path, extra={"action": "start"})
        await learner.run(until)


def log_queries(settings: Settings, strategy: Strategy, models: tuple[str, ...]) -> list[LogQuery]:
    """What to learn: the named models, or all that the strategy's offers refer to."""
    return [
        LogQuery(
            model=model,
            archive=settings.archive_path,
            offers=offer_facts(strategy),
            zone=ZoneInfo(strategy.time_zone),
            attribution_seconds=settings.attribution_seconds,
            excluded=unlearnable_attributes(strategy),
        )
        for model in models or strategy.models
    ]


def _schedule(settings: Settings) -> LearningSchedule:
    return LearningSchedule(
        least_rows=settings.learner_min_rows,
        least_positives=settings.learner_min_positives,
        step_rows=settings.learner_step_rows,
        poll_seconds=settings.learner_poll_seconds,
    )


def _count_fit(metrics: Metrics, learnt: Learnt) -> None:
    name, version = learnt.manifest.name, learnt.manifest.version
    metrics.count("model_fits_total", model=name, outcome="not_promoted" if learnt.problems else "promoted")
    error = learnt.manifest.metrics["calibration_error"].value
    metrics.gauge("model_calibration_error", error, model=name, version=version)


def _identity(strategy: Strategy, event_id: str) -> NodeIdentity:
    return NodeIdentity(
        node=f"learner-{socket.gethostname()}"[:100],
        role="learner",
        event_id=event_id,
        started_at=_now(),
        strategy_version=strategy.version,
    )


def _now() -> datetime:
    return datetime.now(UTC)
