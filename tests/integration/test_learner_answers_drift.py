"""When customers' tastes turn, the learner notices and fits again on recent rows; the new version passes the checks."""

import json
import random
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from event_schemas.codec import decode
from event_schemas.control import ModelPromoted, ModelProposed
from models.decision_log.labelled_rows import LogQuery
from models.drift.reference import REFERENCE_FILE
from models.evaluation.promotion_checks import CHECKS_FILE
from models.registry import ModelRegistry
from services.__main__ import main
from services.adapters.parquet_archive import ParquetArchive
from services.adapters.prometheus_metrics import CONTRACT, PrometheusMetrics
from services.commands.learner import promoted_by_checks, proposed
from services.commands.model_drift import METRICS, export_drift
from services.ports import OutgoingEvent
from services.use_cases.model_acts import Act, declination_of
from services.workers.drift_watch import DriftSchedule, DriftWatch
from services.workers.learner import Learner
from services.workers.learner_tools import LearnerTools, Learnt, PutForward
from services.workers.learning_schedule import LearningSchedule

SCHEDULE = LearningSchedule(least_rows=1000, least_positives=50, step_rows=100_000, poll_seconds=60.0)
DRIFT = DriftSchedule(every_seconds=60.0, refit_rows=2000, rest_seconds=3600.0)
NOON = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)


class Bus:
    def __init__(self) -> None:
        self.promotions: list[ModelPromoted] = []
        self.proposals: list[ModelProposed] = []

    async def publish(self, events: list[OutgoingEvent]) -> None:
        decoded = [decode(event.value) for event in events]
        self.promotions += [event for event in decoded if isinstance(event, ModelPromoted)]
        self.proposals += [event for event in decoded if isinstance(event, ModelProposed)]

    def enqueue(self, event: OutgoingEvent) -> None:
        raise AssertionError("promotions are acknowledged")


class TurningBank:
    """An archive whose customers, from a row on, like what they disliked, and accept far more often."""

    def __init__(self, folder: Path, log: ModuleType) -> None:
        self.folder, self.log, self.bus = folder, log, Bus()
        self.registry = ModelRegistry(folder / "models")
        self.metrics = PrometheusMetrics({**CONTRACT, **METRICS})
        self.query = LogQuery(
            model="cross_sell",
            archive=folder / "archive",
            offers=log.OFFERS,
            zone=ZoneInfo("Asia/Shanghai"),
            attribution_seconds=30,
        )
        self.now, self.rows, self.records = NOON, 0, [0, 0]
        self.draw, self.ids = random.Random(3), iter(range(1000))

    def grow(self, rows: int, *, turned: bool = False) -> None:
        decisions, responses = [], []
        for number in range(self.rows, self.rows + rows):
            at = self.log.START + timedelta(minutes=number)
            spend, city = self.draw.uniform(0, 240), self.draw.choice(self.log.CITIES)
            offer = self.draw.choice(tuple(self.log.OFFERS))
            chance = self.log.acceptance(240 - spend if turned else spend, city, offer)
            decisions.append(self.log.make_decision(number, at, offer=offer, attributes={"spend": spend, "city": city}))
            responses.append(self.log.make_response(number, "impression", at + timedelta(seconds=2)))
            if self.draw.random() < (min(1.0, 1.8 * chance) if turned else chance):
                responses.append(self.log.make_response(number, "accept", at + timedelta(seconds=20)))
        self.rows += rows
        with ParquetArchive(self.query.archive) as archive:
            for part, (topic, values) in enumerate((("nbo.decisions.v1", decisions), ("nbo.responses.v1", responses))):
                archive.append(self.log.deliveries(topic, values, self.records[part]))
                self.records[part] += len(values)

    def learner(self, schedule: LearningSchedule = SCHEDULE, put_forward: PutForward = promoted_by_checks) -> Learner:
        watch = DriftWatch(
            registry=self.registry,
            schedule=DRIFT,
            now=lambda: self.now,
            on_report=lambda model, report: export_drift(self.metrics, model, report),
        )
        tools = LearnerTools(
            registry=self.registry,
            publisher=self.bus,
            new_id=lambda: f"E{next(self.ids)}",
            now=lambda: self.now,
            put_forward=put_forward,
            replay=True,
            drift=watch,
        )
        return Learner([self.query], schedule, tools)

    def page(self) -> str:
        return self.metrics.exposition()[0].decode()


@pytest.fixture
def bank(tmp_path: Path, log: ModuleType) -> TurningBank:
    return TurningBank(tmp_path, log)


async def test_a_turn_of_tastes_starts_a_fit_on_recent_rows_that_is_promoted_with_its_reason(
    bank: TurningBank, caplog: pytest.LogCaptureFixture
) -> None:
    learner = bank.learner()
    bank.grow(1600)
    first = await learner.look(bank.query)
    assert first is not None and first.manifest.reason == "rows" and REFERENCE_FILE in first.manifest.files
    bank.now += timedelta(hours=2)
    bank.grow(1200)
    assert await learner.look(bank.query) is None
    assert 'kairos_model_drift_alarm{kind="calibration",model="cross_sell"} 0.0' in bank.page()

    bank.grow(2000, turned=True)
    bank.now += timedelta(minutes=5)
    assert await learner.look(bank.query) is None  # one look is not yet an alarm that holds
    assert 'kairos_model_drift_alarm{kind="calibration",model="cross_sell"} 1.0' in bank.page()
    assert any(getattr(r, "kind", "") == "calibration" and r.levelname == "ERROR" for r in caplog.records)
    bank.now += timedelta(minutes=5)
    second = await learner.look(bank.query)

    assert second is not None and second.manifest.reason == "drift:calibration" and second.problems == ()
    assert second.manifest.data is not None and second.manifest.data.rows == 2000  # the newest alone
    checks = bank.registry.file(second.manifest.version, CHECKS_FILE)
    assert checks is not None and json.loads(checks)["reason"] == "drift:calibration"
    act = bank.bus.promotions[-1].data
    assert (act.version, act.reason) == (second.manifest.version, "drift:calibration")
    assert act.previous_version == first.manifest.version
    passed = {check.name: check.outcome for check in second.assessment.checks}
    assert passed["not_worse_than_champion"] == "passed"

    bank.now += timedelta(hours=3)
    bank.grow(800, turned=True)
    assert await learner.look(bank.query) is None and await learner.look(bank.query) is None
    assert 'kairos_model_drift_alarm{kind="calibration",model="cross_sell"} 0.0' in bank.page()


async def test_drift_starts_no_fit_soon_after_another_not_even_over_a_restart(bank: TurningBank) -> None:
    bank.grow(1600)
    assert await bank.learner().look(bank.query) is not None
    bank.grow(2000, turned=True)
    for learner in (bank.learner(), bank.learner()):
        await learner.on_control(bank.bus.promotions[0])
        for _ in range(4):
            bank.now += timedelta(minutes=5)
            assert await learner.look(bank.query) is None
    assert len(bank.registry.versions()) == 1


async def test_rows_from_before_the_turn_are_not_learnt_from_again(bank: TurningBank) -> None:
    bank.grow(1600)
    learner = bank.learner()
    await learner.look(bank.query)
    bank.grow(2000, turned=True)
    for _ in range(2):
        bank.now += timedelta(hours=2)
        refitted = await learner.look(bank.query)
    assert refitted is not None and refitted.manifest.data is not None
    restarted = Learner(
        [bank.query],
        LearningSchedule(least_rows=1000, least_positives=50, step_rows=400, poll_seconds=60.0),
        LearnerTools(
            registry=bank.registry,
            publisher=bank.bus,
            new_id=lambda: "E9",
            now=lambda: bank.now,
            put_forward=promoted_by_checks,
            replay=True,
        ),
    )
    await restarted.on_control(bank.bus.promotions[-1])
    assert await restarted.look(bank.query) is None  # 3,600 rows in all, but no 400 new ones
    bank.grow(500, turned=True)
    bank.now += timedelta(minutes=5)
    later = await restarted.look(bank.query)
    assert later is not None and later.manifest.reason == "rows" and later.manifest.data is not None
    assert later.manifest.data.since_ms == refitted.manifest.data.since_ms


@pytest.fixture
def soon() -> LearningSchedule:
    """A fit after every 400 rows."""
    return LearningSchedule(least_rows=1000, least_positives=50, step_rows=400, poll_seconds=60.0)


async def drifted(bank: TurningBank, put_forward: PutForward) -> tuple[Learnt, Learnt]:
    """A version in service, and one that drift has started since."""
    bank.grow(1600)
    first = await bank.learner().look(bank.query)
    bank.grow(2000, turned=True)
    bank.now += timedelta(hours=2)
    learner = bank.learner(put_forward=put_forward)
    await learner.on_control(bank.bus.promotions[0])
    await learner.look(bank.query)
    bank.now += timedelta(hours=2)
    second = await learner.look(bank.query)
    assert first is not None and second is not None and second.manifest.reason == "drift:calibration"
    return first, second


async def test_a_declined_drift_fit_leaves_no_row_behind(bank: TurningBank, soon: LearningSchedule) -> None:
    _, second = await drifted(bank, proposed)
    declined = declination_of(
        bank.bus.proposals[-1].data, Act(event_id="E-no", at=bank.now, actor="zhao.min"), "tastes will turn back"
    )
    restarted = bank.learner(schedule=soon)
    for told in (bank.bus.promotions[0], bank.bus.proposals[-1], declined):
        await restarted.on_control(told)
    assert await restarted.look(bank.query) is None  # declining brings no new rows
    bank.grow(500, turned=True)
    bank.now += timedelta(minutes=5)
    third = await restarted.look(bank.query)
    assert third is not None and third.manifest.reason == "rows"
    assert third.manifest.data is not None and second.manifest.data is not None
    assert third.manifest.data.rows >= 4099 and third.manifest.data.since_ms < second.manifest.data.since_ms


async def test_while_a_drift_fit_waits_for_a_person_its_window_holds(bank: TurningBank, soon: LearningSchedule) -> None:
    _, second = await drifted(bank, proposed)
    restarted = bank.learner(schedule=soon)
    for told in (bank.bus.promotions[0], bank.bus.proposals[-1]):
        await restarted.on_control(told)
    assert await restarted.look(bank.query) is None  # 3,600 rows in all, but no 400 since the drift fit
    bank.now += timedelta(days=8)  # nobody answered: what serves is followed again
    third = await restarted.look(bank.query)
    assert third is None
    bank.grow(500, turned=True)
    third = await restarted.look(bank.query)
    assert third is not None and third.manifest.data is not None and third.manifest.data.rows >= 4099
    assert second.manifest.data is not None


async def test_the_second_fit_after_an_approved_drift_fit_keeps_its_window_too(
    bank: TurningBank, soon: LearningSchedule
) -> None:
    _, second = await drifted(bank, promoted_by_checks)
    for _ in range(2):
        bank.grow(500, turned=True)
        bank.now += timedelta(minutes=5)
        restarted = bank.learner(schedule=soon)
        await restarted.on_control(bank.bus.promotions[-1])
        later = await restarted.look(bank.query)
        assert later is not None and later.manifest.reason == "rows"
        assert later.manifest.data is not None and second.manifest.data is not None
        assert later.manifest.data.since_ms == second.manifest.data.since_ms


async def test_a_version_without_a_reference_is_said_not_to_be_watched(
    bank: TurningBank, caplog: pytest.LogCaptureFixture
) -> None:
    bank.grow(1600)
    learner = bank.learner()
    learnt = await learner.look(bank.query)
    assert learnt is not None
    (bank.folder / "models" / learnt.manifest.version / REFERENCE_FILE).write_text("{}")
    bank.grow(500)
    watch = DriftWatch(registry=bank.registry, schedule=DRIFT, now=lambda: bank.now)
    assert watch.due(bank.query, learnt.manifest.version, None) is None
    assert REFERENCE_FILE in caplog.text


async def test_the_command_prints_and_writes_the_drift_of_a_version(
    bank: TurningBank, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], two_cards: Path
) -> None:
    bank.grow(1600)
    learnt = await bank.learner().look(bank.query)
    assert learnt is not None
    bank.grow(2000, turned=True)
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(two_cards))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(bank.query.archive))
    monkeypatch.setenv("KAIROS_MODEL_PATH", str(bank.folder / "models"))
    out = bank.folder / "drift.json"
    assert main(["models", "drift", learnt.manifest.version, "--out", str(out)]) == 0
    assert "ALARM    calibration" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["alarm"] and written["reason"].startswith("drift:calibration")
    assert main(["models", "drift", "nonsense"]) == 1


@pytest.fixture
def two_cards(tmp_path: Path, log: ModuleType) -> Path:
    spec = spec_from_file_location("learner_commands", Path(__file__).with_name("test_learner_commands.py"))
    assert spec is not None and spec.loader is not None
    commands = module_from_spec(spec)
    spec.loader.exec_module(commands)
    strategy = tmp_path / "strategy.yaml"
    offers = "".join(commands.OFFER.format(name=name) for name in log.OFFERS)
    strategy.write_text(commands.STRATEGY + offers, encoding="utf-8")
    return strategy
