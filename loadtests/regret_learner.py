"""The learner of one simulated life: the role's own class on an archive and a registry of that life.

Every evening the day's decisions and responses are written as the archiver writes them, then the learner looks twice, a
quarter of an hour apart (an alarm of drift must be there twice in a row). What it promotes serves from the next day.
The bank of these lives lets the checks decide, and shows some three hundred options a day, so rows are counted in
thousands where a deployment's defaults count in tens of thousands; all else is as the role has it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from shutil import copytree
from zoneinfo import ZoneInfo

from decision_engine.propensity import Scorers
from decision_engine.strategy import Strategy
from event_schemas.codec import decode
from event_schemas.control import ModelPromoted
from loadtests.simulated_archive import WINDOW_SECONDS, ArchiveWriter, KeptStates
from models.decision_log.contact_index import ContactIndex
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import offer_facts, unlearnable_attributes
from models.registry import ModelRegistry
from services.commands.learner import promoted_by_checks
from services.ports import OutgoingEvent
from services.simulation.served_decisions import Served
from services.use_cases.model_acts import promotion_of
from services.workers.drift_watch import DriftSchedule, DriftWatch
from services.workers.learner import Learner
from services.workers.learner_tools import LearnerTools, Learnt
from services.workers.learning_schedule import LearningSchedule, Timetable

LEAST_ROWS, LEAST_POSITIVES = 2_000, 100
REFIT_EVERY = timedelta(days=3)
DRIFT_ROWS, DRIFT_REST = 20_000, timedelta(hours=6)
_QUARTER = timedelta(minutes=15)
_ARCHIVE, _MODELS = "archive", "models"


class Promotions:
    """The bus of a life, of which only promotions matter."""

    def __init__(self) -> None:
        self.taken: list[ModelPromoted] = []

    async def publish(self, events: Sequence[OutgoingEvent]) -> Sequence[tuple[str, int, int]]:
        """Takes them."""
        self.taken += [e for e in (decode(event.value) for event in events) if isinstance(e, ModelPromoted)]
        return [(event.topic, 0, 0) for event in events]

    def enqueue(self, event: OutgoingEvent) -> None:
        """Promotions are acknowledged, never queued."""
        raise AssertionError(event)


@dataclass(slots=True, kw_only=True)
class LifeLearner:
    """Archive, registry and learner of a life, whose evening it is at `now`. `scorers` serve; `fits` are all fits."""

    strategy: Strategy
    folder: Path
    writer: ArchiveWriter
    now: datetime
    scorers: Scorers = field(default_factory=dict)
    bus: Promotions = field(default_factory=Promotions)
    fits: list[Learnt] = field(default_factory=list)
    _query: LogQuery = field(init=False)
    _learner: Learner = field(init=False)

    def __post_init__(self) -> None:
        self._query = _query(self.strategy, self.folder / _ARCHIVE)
        self._learner = self._made()

    @classmethod
    def new(cls, strategy: Strategy, folder: Path, first_day: date) -> "LifeLearner":
        """Nothing has been decided yet."""
        start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=ZoneInfo(strategy.time_zone))
        return cls(strategy=strategy, folder=folder, writer=ArchiveWriter(strategy, folder / _ARCHIVE), now=start)

    def continued(self, strategy: Strategy, folder: Path) -> "LifeLearner":
        """The same log and versions in a folder of their own; a learner that has been started anew."""
        writer = self.writer.continued(folder / _ARCHIVE)
        copytree(self.folder / _MODELS, folder / _MODELS)
        other = LifeLearner(strategy=strategy, folder=folder, writer=writer, now=self.now, scorers=self.scorers)
        other.told(self.bus.taken)
        return other

    def told(self, promotions: Sequence[ModelPromoted]) -> None:
        """What the control topic tells a learner that starts."""
        for event in promotions:
            self.bus.taken.append(event)
            asyncio.run(self._learner.on_control(event))

    def serve_refused(self) -> bool:
        """Puts the newest fit into service although its checks refused it; whether there was any to put."""
        if self.fits:
            manifest, at = self.fits[-1].manifest, self.now.astimezone(UTC)
            self.told([promotion_of(manifest, event_id="E-refused", at=at, actor="regret", previous_version=None)])
            self._serve_newest()
        return bool(self.fits)

    @property
    def promoted(self) -> list[Learnt]:
        """The fits that were put into service."""
        versions = {event.data.version for event in self.bus.taken}
        return [learnt for learnt in self.fits if learnt.manifest.version in versions]

    def note(self, served: Served) -> None:
        """A decision of the day."""
        self.writer.note(served)

    def day_over(self, states: KeptStates, *, look: bool = True) -> None:
        """Archives the day; the learner looks, and what it has promoted is in `scorers`."""
        self.writer.flush(states.kept)
        self.now += timedelta(days=1)
        if look:
            before = len(self.bus.taken)
            asyncio.run(self._look())
            if len(self.bus.taken) > before:
                self._serve_newest()

    def _serve_newest(self) -> None:
        version = self.bus.taken[-1].data.version
        self.scorers = {self._query.model: ModelRegistry(self.folder / _MODELS).load(version)}

    async def _look(self) -> None:
        evening = self.now
        for _ in range(2):
            await self._learner.look(self._query)
            self.now += _QUARTER
        self.now = evening

    def _made(self) -> Learner:
        registry, contacts, ids = ModelRegistry(self.folder / _MODELS), ContactIndex(), count()
        drift = DriftWatch(
            registry=registry,
            schedule=DriftSchedule(every_seconds=60, refit_rows=DRIFT_ROWS, rest_seconds=DRIFT_REST.total_seconds()),
            now=lambda: self.now,
            contacts=contacts,
        )
        tools = LearnerTools(
            registry=registry,
            publisher=self.bus,
            new_id=lambda: f"E{len(self.bus.taken)}-{next(ids)}",
            now=lambda: self.now.astimezone(UTC),
            put_forward=promoted_by_checks,
            replay=True,
            on_learnt=self.fits.append,
            contacts=contacts,
            drift=drift,
        )
        schedule = LearningSchedule(
            least_rows=LEAST_ROWS,
            least_positives=LEAST_POSITIVES,
            step_rows=10_000_000,  # the clock and drift start the later fits
            poll_seconds=60,
            timetable=Timetable(every=REFIT_EVERY),
        )
        return Learner([self._query], schedule, tools)


def _query(strategy: Strategy, archive: Path) -> LogQuery:
    (model,) = strategy.models
    return LogQuery(
        model=model,
        archive=archive,
        offers=offer_facts(strategy),
        zone=ZoneInfo(strategy.time_zone),
        attribution_seconds=WINDOW_SECONDS,
        excluded=unlearnable_attributes(strategy),
        training=strategy.training(model),
    )
