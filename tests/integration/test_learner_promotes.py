"""The learner fits when there is enough, promotes only what is good, and repeats nothing over restarts."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from event_schemas.codec import decode
from event_schemas.control import ModelPromoted
from models.decision_log.labelled_rows import LogQuery
from models.decision_log.offer_catalogue import encode_catalogue
from models.registry import ModelRegistry
from models.training.__main__ import main as train_from_the_command_line
from services.adapters.artifact_model_provider import promotion_of
from services.adapters.parquet_archive import ParquetArchive
from services.ports import BusUnavailable, OutgoingEvent
from services.workers.learner import Learner, LearnerTools, LearningSchedule

SCHEDULE = LearningSchedule(least_rows=1000, least_positives=50, step_rows=500, poll_seconds=60.0)
NOON = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)


class Bus:
    """Keeps what was published; away while told so."""

    def __init__(self) -> None:
        self.promotions: list[ModelPromoted] = []
        self.away = False

    async def publish(self, events: list[OutgoingEvent]) -> None:
        if self.away:
            raise BusUnavailable
        self.promotions += [e for e in (decode(event.value) for event in events) if isinstance(e, ModelPromoted)]

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

    def learner(self) -> Learner:
        tools = LearnerTools(
            registry=self.registry,
            publisher=self.bus,
            new_id=lambda: f"E{next(self.ids)}",
            now=lambda: next(self.moments),
            promotion_of=promotion_of,
        )
        return Learner([self.query], SCHEDULE, tools)

    def promoted(self) -> list[str]:
        return [event.data.version for event in self.bus.promotions]


@pytest.fixture(scope="module")
def log() -> ModuleType:
    spec = spec_from_file_location("learning_log", Path(__file__).parents[1] / "learning_log.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["learning_log"] = module
    spec.loader.exec_module(module)
    return module


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
    monkeypatch.setattr("services.workers.learner.labelled_examples", lambda *_: pytest.fail("read in vain"))
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
