"""`kairos learner`: fits models from the archive and puts forward those that pass their checks."""

import argparse
import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from decision_engine.strategy import Strategy
from event_schemas.control import ModelPromoted, ModelProposed
from event_schemas.topics import CONTROL
from models.decision_log.contact_index import ContactIndex
from models.decision_log.input_meanings import input_meanings
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts, unlearnable_attributes
from models.evaluation.promotion_checks import BESIDE_CHAMPION, Assessment
from models.manifest import Manifest
from models.registry import ModelRegistry
from models.training.recorded_groups import recorded_groups
from services.adapters.control_topic import ControlTopic, NodeIdentity
from services.adapters.prometheus_metrics import CONTRACT, Declared, PrometheusMetrics
from services.adapters.ulid_ids import UlidIds
from services.bootstrap import LoadedStrategy, open_event_stream, open_publisher
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.model_drift import METRICS as DRIFT_METRICS
from services.commands.model_drift import export_drift
from services.commands.running_role import run_role
from services.ports import SettingsInvalid
from services.settings import Settings
from services.use_cases.model_acts import Act, promotion_of, proposal_of
from services.workers.drift_watch import DriftSchedule, DriftWatch
from services.workers.learner import Learner
from services.workers.learner_tools import LearnerTools, Learnt
from services.workers.learning_schedule import LearningSchedule, Timetable, timetable_from

NAME = "learner"
HELP = "fit models from the archive as responses come in, and put forward those that pass their checks"
EXAMPLE = "KAIROS_LEARNER_MIN_ROWS=3000 kairos learner --model cross_sell"

_log = logging.getLogger(__name__)
_METRICS = {
    "model_fits_total": Declared(
        "counter", ("model", "outcome"), "Models fitted, put forward or rejected by the checks"
    )
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models."""
    parser.add_argument(
        "--model", action="append", default=[], help="model to learn; may be repeated (default: all of the strategy)"
    )
    parser.add_argument(
        "--snapshots", type=Path, default=Path("var/snapshots"), help="for attributes fairness is judged by"
    )


def run(args: argparse.Namespace) -> int:
    """Learns until SIGINT or SIGTERM. Raises StrategyInvalid, SettingsInvalid, BusUnavailable."""
    asked = Asked(models=tuple(args.model), snapshots=args.snapshots)

    async def work(settings: Settings, metrics: PrometheusMetrics, stop: asyncio.Event) -> None:
        await learn(settings, asked, metrics, stop)

    return run_role(work, {**CONTRACT, **_METRICS, **DRIFT_METRICS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which models to learn (none: all), and where snapshots are."""

    models: tuple[str, ...]
    snapshots: Path


async def learn(settings: Settings, asked: Asked, metrics: PrometheusMetrics, stop: asyncio.Event) -> None:
    """Learns for the active strategy until `stop` is set; a fit that has begun is finished and registered."""

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        await _learn_for(settings, loaded.strategy, asked, metrics, until)

    async with active_strategy(settings, NAME) as active:
        await work_for_active(active, stop, work)


async def _learn_for(
    settings: Settings, strategy: Strategy, asked: Asked, metrics: PrometheusMetrics, until: asyncio.Event
) -> None:
    contacts = ContactIndex()
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(open_publisher(settings))
        stream = await stack.enter_async_context(open_event_stream(settings, [CONTROL]))
        ids = UlidIds()
        tools = LearnerTools(
            registry=ModelRegistry(settings.model_path),
            publisher=publisher,
            new_id=ids.new_id,
            now=_now,
            put_forward=proposed if settings.learner_approval == "person" else promoted_by_checks,
            replay=settings.clock == "events",
            on_learnt=partial(_count_fit, metrics),
            protected=partial(recorded_groups, snapshots=asked.snapshots),
            contacts=contacts,
            proposal_days=settings.proposal_days,
            drift=_drift_watch(settings, metrics, contacts),
        )
        learner = Learner(log_queries(settings, strategy, asked.models), _schedule(settings), tools)
        control = ControlTopic(stream, publisher, _identity(strategy, ids.new_id()))
        for kind in ("promoted", "proposed", "declined", "retired"):
            control.subscribe(f"nbo.control.model.{kind}", learner.on_control)
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
            training=strategy.training(model),
            meanings=input_meanings(strategy),
        )
        for model in models or strategy.models
    ]


def _drift_watch(settings: Settings, metrics: PrometheusMetrics, contacts: ContactIndex) -> DriftWatch | None:
    if settings.learner_drift_seconds <= 0:
        return None
    return DriftWatch(
        registry=ModelRegistry(settings.model_path),
        schedule=DriftSchedule(
            every_seconds=settings.learner_drift_seconds,
            refit_rows=settings.learner_drift_rows,
            rest_seconds=settings.learner_drift_rest_seconds,
        ),
        now=_now,
        contacts=contacts,
        on_report=partial(export_drift, metrics),
    )


def _schedule(settings: Settings) -> LearningSchedule:
    return LearningSchedule(
        least_rows=settings.learner_min_rows,
        least_positives=settings.learner_min_positives,
        step_rows=settings.learner_step_rows,
        poll_seconds=settings.learner_poll_seconds,
        timetable=_timetable(settings),
    )


def _timetable(settings: Settings) -> Timetable | None:
    try:
        return timetable_from(settings.learner_timetable)
    except ValueError as error:
        raise SettingsInvalid(f"KAIROS_LEARNER_TIMETABLE: {error} (is {settings.learner_timetable!r})") from None


def proposed(
    manifest: Manifest, assessment: Assessment, *, event_id: str, at: datetime, actor: str
) -> ModelPromoted | ModelProposed:
    """Asks a second person."""
    return proposal_of(manifest, assessment, Act(event_id=event_id, at=at, actor=actor))


def promoted_by_checks(
    manifest: Manifest, assessment: Assessment, *, event_id: str, at: datetime, actor: str
) -> ModelPromoted | ModelProposed:
    """Where the bank has decided that the checks are enough: in service at once, approved by nobody. A version that
    could not be compared with the one it would replace is for a person to judge all the same."""
    if assessment.champion is not None and any(
        check.name == BESIDE_CHAMPION and check.outcome == "not_known" for check in assessment.checks
    ):
        return proposed(manifest, assessment, event_id=event_id, at=at, actor=actor)
    return promotion_of(manifest, event_id=event_id, at=at, actor=actor, previous_version=assessment.champion)


def _count_fit(metrics: PrometheusMetrics, learnt: Learnt) -> None:
    name, version = learnt.manifest.name, learnt.manifest.version
    metrics.count("model_fits_total", model=name, outcome="rejected" if learnt.problems else "put_forward")
    error = learnt.manifest.metrics["calibration_error"].value
    metrics.forget("model_calibration_error", model=name)  # of the newest version alone: there is no end of them
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
