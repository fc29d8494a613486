"""The learner fits when there is enough, promotes only what is good, and repeats nothing over restarts."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from event_schemas.codec import decode
from event_schemas.control import ModelDeclined, ModelPromoted, ModelProposed
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import encode_catalogue
from models.registry import ModelRegistry
from models.training.__main__ import main as train_from_the_command_line
from services.adapters.parquet_archive import ParquetArchive
from services.commands.learner import promoted_by_checks, proposed
from services.ports import BusUnavailable, OutgoingEvent
from services.workers.learner import Learner
from services.workers.learner_tools import LearnerTools, PutForward
from services.workers.learning_schedule import LearningSchedule, Timetable

SCHEDULE = LearningSchedule(least_rows=1000, least_positives=50, step_rows=500, poll_seconds=60.0)
NOON = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)


class Bus:
    """Keeps what was published; away while told so."""

    def __init__(self) -> None:
        self.promotions: list[ModelPromoted] = []
        self.proposals: list[ModelProposed] = []
        self.away = False

    async def publish(self, events: list[OutgoingEvent]) -> None:
        if self.away:
            raise BusUnavailable
        decoded = [decode(event.value) for event in events]
        self.promotions += [event for event in decoded if isinstance(event, ModelPromoted)]
        self.proposals += [event for event in decoded if isinstance(event, ModelProposed)]

    def enqueue(self, event: OutgoingEvent) -> None:
        raise AssertionError("promotions are acknowledged")


class World:
    """An archive that grows, a registry, a bus, and learners that come and go."""

    def __init__(self, folder: Path, log: ModuleType) -> None:
        self.folder, self.log, self.bus = folder, log, Bus()
        self.registry = ModelRegistry(folder / "models")
        self.query = LogQuery(
            model="cross_sell",
            archive=folder / "archive",
            offers=log.OFFERS,
            zone=ZoneInfo("Asia/Shanghai"),
            attribution_seconds=30,
        )
        self.archived = [0, 0]
        self.moments: Iterator[datetime] = (NOON + timedelta(minutes=n) for n in range(1000))
        self.ids = iter(range(1000))

    def grow_to(self, rows: int, *, learnable: bool = True) -> None:
        with ParquetArchive(self.query.archive) as archive:
            both = self.log.batches(*self.log.make_log(rows, learnable=learnable))
            for part, records in enumerate(both):
                archive.append(records[self.archived[part] :])
                self.archived[part] = len(records)

    def learner(
        self, schedule: LearningSchedule = SCHEDULE, put_forward: PutForward = promoted_by_checks, replay: bool = True
    ) -> Learner:
        tools = LearnerTools(
            registry=self.registry,
            publisher=self.bus,
            new_id=lambda: f"E{next(self.ids)}",
            now=lambda: next(self.moments),
            put_forward=put_forward,
            replay=replay,
        )
        return Learner([self.query], schedule, tools)

    def promoted(self) -> list[str]:
        return [event.data.version for event in self.bus.promotions]


@pytest.fixture
def world(tmp_path: Path, log: ModuleType) -> World:
    return World(tmp_path, log)


async def test_the_first_model_waits_for_enough_rows_and_is_then_promoted(world: World) -> None:
    learner = world.learner()
    assert await learner.look(world.query) is None
    world.grow_to(600)
    assert await learner.look(world.query) is None
    world.grow_to(1600)
    learnt = await learner.look(world.query)
    assert learnt is not None and learnt.problems == ()
    assert world.promoted() == world.registry.versions() == [learnt.manifest.version]


async def test_the_next_model_waits_for_the_next_step(world: World) -> None:
    world.grow_to(1600)
    learner = world.learner()
    await learner.look(world.query)
    world.grow_to(2000)
    assert await learner.look(world.query) is None
    world.grow_to(2200)
    assert await learner.look(world.query) is not None
    assert world.promoted() == world.registry.versions() and len(world.promoted()) == 2


async def test_a_restart_repeats_neither_the_fit_nor_the_promotion(world: World) -> None:
    world.grow_to(1600)
    await world.learner().look(world.query)
    restarted = world.learner()
    await restarted.on_control(world.bus.promotions[0])
    assert await restarted.look(world.query) is None
    assert len(world.promoted()) == len(world.registry.versions()) == 1


async def test_a_promotion_lost_in_a_crash_is_made_after_the_restart(world: World) -> None:
    world.grow_to(1600)
    world.bus.away = True
    assert await world.learner().look(world.query) is None
    assert len(world.registry.versions()) == 1 and world.promoted() == []
    world.bus.away = False
    restarted = world.learner()
    await restarted.look(world.query)
    await restarted.look(world.query)
    assert world.promoted() == world.registry.versions()


async def test_a_version_somebody_replaced_since_is_left_alone(world: World) -> None:
    world.grow_to(1600)
    await world.learner().look(world.query)
    rolled_back = world.bus.promotions[0].model_copy(update={"time": NOON + timedelta(days=1)})
    restarted = world.learner()
    await restarted.on_control(rolled_back)
    await restarted.look(world.query)
    assert len(world.promoted()) == 1


async def test_where_a_person_approves_a_good_version_is_proposed_once_with_what_was_checked(world: World) -> None:
    world.grow_to(1600)
    await world.learner(put_forward=proposed).look(world.query)
    (proposal,) = world.bus.proposals
    assert world.promoted() == [] and proposal.data.version == world.registry.versions()[0]
    assert proposal.data.reason == "rows" and proposal.data.actor == "learner"
    assert proposal.data.checks["ranks"].startswith("passed: AUC is above 0.5")
    assert proposal.data.checks["not_worse_than_champion"] == "not_known: no version is in service"
    restarted = world.learner(put_forward=proposed)
    await restarted.on_control(proposal)
    await restarted.look(world.query)
    assert len(world.bus.proposals) == 1


async def test_a_declined_version_is_not_proposed_again(world: World) -> None:
    world.grow_to(1600)
    world.bus.away = True
    await world.learner(put_forward=proposed).look(world.query)
    world.bus.away = False
    (version,) = world.registry.versions()
    restarted = world.learner(put_forward=proposed)
    body = {"name": "cross_sell", "version": version, "actor": "zhao.min"}
    declined = {"id": "d1", "source": "test", "subject": "model:cross_sell:proposal", "data": body}
    await restarted.on_control(ModelDeclined.model_validate(declined | {"time": NOON + timedelta(days=1)}))
    await restarted.look(world.query)
    assert world.bus.proposals == []


async def test_the_next_version_is_compared_with_the_one_in_service_on_rows_neither_has_seen(world: World) -> None:
    world.grow_to(1600)
    learner = world.learner()
    first = await learner.look(world.query)
    world.grow_to(3600)
    second = await learner.look(world.query)
    assert first is not None and second is not None
    assert second.assessment.champion == first.manifest.version
    compared = next(check for check in second.assessment.checks if check.name == "not_worse_than_champion")
    assert compared.outcome == "passed" and first.manifest.version in compared.finding
    assert world.bus.promotions[1].data.previous_version == first.manifest.version


async def test_the_timetable_fits_with_fewer_rows_than_a_step_and_once_a_moment(world: World) -> None:
    hourly = replace(SCHEDULE, timetable=Timetable(every=timedelta(hours=1)))
    world.grow_to(1600)
    learner = world.learner(hourly)
    await learner.look(world.query)
    world.grow_to(1800)
    assert await learner.look(world.query) is None, "its hour has not come"
    world.moments = (NOON + timedelta(hours=2, minutes=n) for n in range(1000))
    learnt = await learner.look(world.query)
    assert learnt is not None and learnt.assessment.reason == "schedule"
    assert await learner.look(world.query) is None


async def test_a_version_learnt_from_an_old_log_is_not_put_forward(world: World) -> None:
    world.grow_to(1600)
    world.moments = (NOON + timedelta(days=60, minutes=n) for n in range(1000))
    learnt = await world.learner(replay=False).look(world.query)
    assert learnt is not None and [problem.split(":")[0] for problem in learnt.problems] == ["data_recent"]
    assert world.promoted() == []


async def test_noise_is_registered_with_its_measures_but_never_promoted(world: World) -> None:
    world.grow_to(1600, learnable=False)
    learner = world.learner()
    learnt = await learner.look(world.query)
    assert learnt is not None and learnt.problems != ()
    await learner.look(world.query)
    assert world.promoted() == [] and len(world.registry.versions()) == 1


async def test_a_damaged_newest_version_is_replaced_by_a_fresh_fit(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.grow_to(1600)
    await world.learner().look(world.query)
    (world.folder / "models" / world.promoted()[0] / "manifest.json").write_text("{}")
    assert await world.learner().look(world.query) is not None
    assert "cannot be trusted" in caplog.text
    assert len(world.promoted()) == 2


async def test_an_archive_without_enough_new_impressions_is_not_read_through(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.grow_to(1600)
    learner = world.learner()
    await learner.look(world.query)
    monkeypatch.setattr("services.workers.model_fits.labelled_examples", lambda *_: pytest.fail("read in vain"))
    world.grow_to(1700)
    assert await learner.look(world.query) is None


def test_the_command_trains_from_archive_and_catalogue_alone(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    world.grow_to(1600)
    catalogue = tmp_path / "offers.json"
    catalogue.write_text(encode_catalogue(world.log.OFFERS))
    arguments = ["--archive", str(world.query.archive), "--catalogue", str(catalogue), "--out", str(tmp_path / "out")]
    assert train_from_the_command_line([*arguments, "--model", "cross_sell", "--attribution-seconds", "30"]) == 0
    printed = capsys.readouterr().out
    (version,) = ModelRegistry(tmp_path / "out").versions("cross_sell")
    assert version in printed and "AUC" in printed and "log loss gained" in printed
    assert train_from_the_command_line([*arguments, "--model", "churn"]) == 1
    assert "churn" in capsys.readouterr().err
