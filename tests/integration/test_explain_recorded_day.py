"""Every decision of a recorded stretch of the simulated bank computes again byte for byte, from the archive alone.

The stretch has three strategies and two models, volumes and their prices, three ways of exploration, every arm of the
experiment, customers who declined personalisation, places lost to other decisions, and a store, a ledger and a model
that fail now and then. Recomputing starts from nothing but the folders of archive, strategies and models, as after a
restart.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import lightgbm
import numpy as np
import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.features.compiled import compile_features
from decision_engine.identifiers import CustomerId
from decision_engine.outcomes import Outcome
from decision_engine.prepared import prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Scorers
from event_schemas.codec import decode
from loadtests.replayed_bank import Leases, LinkedStates, ReplayedBank, Unreliable
from models.manifest import Manifest
from models.registry import ModelRegistry
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.parquet_archive import ArchiveReader, ParquetArchive
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.strategy_versions import StrategyVersions
from services.commands.replay_check import CheckedDecisions, check_decisions
from services.ports import Delivery
from services.simulation.asking import Asking
from services.simulation.bank import BankConfig, BankStream
from services.simulation.cloud_events import EventHead, cloud_event
from services.simulation.visits import Visit
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.decision_replay import Replayer, ReplayImpossible
from services.use_cases.make_decision import DecisionPorts, Live, MakeDecision

SMALL_BANK = Path(__file__).parents[1] / "unit" / "simulation" / "small_bank.yaml"
DECISIONS = 2_200
CUSTOMERS = 120
NOON = datetime(2026, 3, 1, 4, tzinfo=UTC)
SCHEMA = FeatureSchema(
    (
        Column(name="card_spend_sum_30d", source=ColumnSource.ATTRIBUTE),
        Column(name="age", source=ColumnSource.ATTRIBUTE),
        Column(name="base_rate", source=ColumnSource.OFFER),
    )
)
OUTCOMES = (Outcome.IMPRESSION, Outcome.REJECT, Outcome.ACCEPT, Outcome.IMPRESSION)


def model_version(registry: ModelRegistry, number: int) -> str:
    """A small tree model of acceptance, registered; each number another."""
    draw = np.random.default_rng(number)
    matrix = np.column_stack([draw.uniform(0, 1e6, 600), draw.uniform(18, 80, 600), draw.uniform(0, 0.1, 600)])
    labels = (draw.uniform(size=600) < matrix[:, 2] + matrix[:, 0] / 4e6).astype(float)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 6}
    booster = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), 8)
    files = {"model.txt": booster.model_to_string().encode(), "calibration.json": b'{"kind": "identity"}'}
    draft = Manifest(name="cross_sell", version="", kind="gbdt", schema=SCHEMA, files={}, created_at="")
    return registry.save(draft, files, NOON + timedelta(minutes=number)).version


@dataclass
class Recorded:
    """The folders a recorded stretch leaves behind, and what was in it."""

    archive: Path
    strategies: Path
    models: Path
    records: list[bytes]


class RecordedStretch:
    """Runs the bank through its changes and archives what was decided."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = ModelRegistry(folder / "models")
        self.versions = StrategyVersions(folder / "strategies", load_strategy_file)
        self.first = self._strategy("first", lambda text: text)
        self.second = self._strategy("second", changed)
        self.third = self._strategy("third", changed_again)
        self.stream = BankStream(BankConfig(seed=3, customers=CUSTOMERS, start=date(2026, 3, 1)))
        self.bank = ReplayedBank(states=LinkedStates(compile_features(self.first.declarations)))
        self.asking = Asking(self.first)
        self.live: Live | None = None
        self.make = MakeDecision(
            DecisionPorts(
                live=self._live, store=self.bank, ledger=self.bank, publisher=self.bank, clock=self.bank,
                ids=self.bank, metrics=PrometheusMetrics(), volumes=Leases(("plastic", "loans"), self.bank),
            )
        )  # fmt: skip

    def _strategy(self, name: str, change: Callable[[str], str]) -> Any:
        path = self.folder / f"{name}.yaml"
        path.write_text(change(SMALL_BANK.read_text("utf-8")), "utf-8")
        strategy = load_strategy_file(path)
        self.versions.register(strategy.version, path)
        path.unlink()  # what is edited away tomorrow must still be known
        return strategy

    def _live(self) -> Live:
        assert self.live is not None
        return self.live

    def serve(self, strategy: Any, model: str | None) -> None:
        scorers: Scorers = {}
        if model is not None:
            scorers = {"cross_sell": Unreliable(self.registry.load(model), self.bank)}
        self.live = Live.of(prepare(strategy), compile_features(strategy.declarations), scorers)

    async def run(self) -> None:
        models = [model_version(self.registry, number) for number in (1, 2)]
        changes = {
            0: (self.first, None),
            DECISIONS // 5: (self.first, models[0]),
            DECISIONS * 2 // 5: (self.second, models[0]),
            DECISIONS * 3 // 5: (self.second, models[1]),
            DECISIONS * 4 // 5: (self.third, models[1]),
        }
        self._decline_personalisation()
        while self.bank.number < DECISIONS:
            day = self.stream.next_day()
            self.bank.states.add(day.events)
            for visit in day.visits:
                for asked in range(4):  # a visit looks at several pages
                    if self.bank.number in changes:
                        self.serve(*changes.pop(self.bank.number))
                    await self._decide(visit, visit.at_ms + 1_000 * asked)

    async def _decide(self, visit: Visit, at_ms: int) -> None:
        asked = self.asking.question(visit)
        if asked is None:
            return
        bank = self.bank
        bank.moment = at_ms
        customer = CustomerId("retail:404" if bank.number % 41 == 0 else f"retail:{visit.customer + 1}")
        answer = await self.make(
            DecisionCommand(
                client="app", customer_id=customer, channel=asked.channel,
                placements=(PlacementRequest(id=asked.placement, count=1 + bank.number % 3),), context=asked.context,
                locale="en", started_s=perf_counter(), timeout_ms=60_000, request_id=f"r{bank.number}",
            )
        )  # fmt: skip
        self._respond(customer, orjson.loads(answer))

    def _respond(self, customer: str, answer: dict[str, Any]) -> None:
        """Some show, some are refused, so that ledgers have something to say."""
        for option in answer["placements"][0].get("options", ()):
            self.bank.note(customer, option["tracking_id"], OUTCOMES[self.bank.number % len(OUTCOMES)])

    def _decline_personalisation(self) -> None:
        numbers = count()
        for customer in range(0, CUSTOMERS, 5):
            head = EventHead(
                id=f"declined-{next(numbers)}", type="bank.consent.changed", source="bank",
                subject=f"retail:{customer + 1}", at_ms=1_700_000_000_000,
            )  # fmt: skip
            self.bank.states.add([cloud_event(head, {"purpose": "personalisation", "granted": False})])

    def archive(self) -> Recorded:
        records = [event.value for event in self.bank.published]
        with ParquetArchive(self.folder / "archive") as archive:
            archive.append(
                [
                    Delivery(event.topic, 0, offset, event.key.encode(), event.value, ())
                    for offset, event in enumerate(self.bank.published)
                ]
            )
        return Recorded(self.folder / "archive", self.folder / "strategies", self.folder / "models", records)


EPSILON = "exploration: {kind: epsilon_greedy, epsilon: 0.2}"
ARMS = "experiment: {salt: test, shares: {random_eligible: 0.1}}"


def changed(text: str) -> str:
    """The second strategy: other values, levers and rules, volumes, every arm, and another way to explore."""
    text = text.replace("value: 9000", "value: 12500").replace("when: 'age >= 18'", "when: 'age >= 21'")
    text = text.replace("{name: cards, issue: acquire, lever: 0,", "{name: cards, issue: acquire, lever: 25,").replace(
        EPSILON, "exploration: {kind: inverse_gap, gamma: 0.05}"
    )
    shares = "random_eligible: 0.1, no_levers: 0.1, propensity_only: 0.1, prior: 0.1, holdout: 0.1"
    volumes = """
volumes:
  - {id: plastic, of: {group: cards}, resource: stock, amount: 1000, per: {calendar: month}}
  - {id: loans, of: {group: loans}, resource: budget, amount: 9000, unit_cost: 2, per: {calendar: day}}
"""
    return text.replace(ARMS, f"experiment: {{salt: test, shares: {{{shares}}}}}") + volumes


def changed_again(text: str) -> str:
    """The third: Thompson sampling, and placements solved together."""
    text = changed(text).replace("{kind: inverse_gap, gamma: 0.05}", "{kind: thompson, rounds: 50}")
    return text + "slate: {assignment: by_value, limits: {groups: {cards: 1}}}\n"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    stretch = RecordedStretch(tmp_path_factory.mktemp("stretch"))
    asyncio.run(stretch.run())
    return stretch.archive()


def checked(recorded: Recorded, strategies: Path | None = None) -> CheckedDecisions:
    """As the command does it in a process of its own."""
    registry = ModelRegistry(recorded.models)
    versions = StrategyVersions(strategies or recorded.strategies, load_strategy_file)

    def load(used: Any) -> Scorers:
        return {name: registry.load(version) for name, version in used.items()}

    return check_decisions(ArchiveReader(recorded.archive).iter_decisions(), Replayer(versions.prepared, load))


def test_every_archived_decision_is_identical(recorded: Recorded) -> None:
    found = checked(recorded)
    assert (found.count, found.differing, found.impossible) == (len(recorded.records), [], [])
    assert found.identical >= DECISIONS
    assert found.sound


def test_the_recorded_stretch_has_everything_a_replay_must_stand(recorded: Recorded) -> None:
    data = [orjson.loads(record)["data"] for record in recorded.records]
    assert len({d["strategy_version"] for d in data}) == 3
    assert len({version for d in data for version in d["models"].values()} - {"prior"}) == 2
    assert {d["arm"] for d in data} == {
        "full", "random_eligible", "no_levers", "propensity_only", "prior", "holdout",
    }  # fmt: skip
    assert any(d["volumes"] for d in data)
    assert {cause for d in data for cause in d["degraded_causes"]} >= {
        "state_unavailable", "state_unreadable", "state_rebuilding", "ledger_unavailable", "ledger_unreadable",
        "model_failed", "volumes_rebuilding",
    }  # fmt: skip
    assert {d["personalised"] for d in data} == {True, False}
    assert any(1 in d["taken"] for d in data)
    assert any(None in d["taken"] for d in data)
    assert any(d["ledger"] for d in data)
    assert any(not d["known"] for d in data)


def test_every_record_decodes_as_a_published_event(recorded: Recorded) -> None:
    for record in recorded.records[::7]:
        assert decode(record).type == "nbo.decision.made"


def test_one_changed_byte_of_one_decision_is_found(recorded: Recorded) -> None:
    registry, versions = ModelRegistry(recorded.models), StrategyVersions(recorded.strategies, load_strategy_file)
    replayer = Replayer(versions.prepared, lambda used: {n: registry.load(v) for n, v in used.items()})
    record = next(r for r in recorded.records if b'"value":' not in r and b'"age":4' in r)
    found = check_decisions([record, record.replace(b'"age":4', b'"age":1', 1)], replayer)
    assert (found.count, found.identical, found.missed) == (2, 1, 1)


def test_without_its_strategy_a_decision_is_said_to_be_impossible_to_compute(
    recorded: Recorded, tmp_path: Path
) -> None:
    found = checked(recorded, tmp_path)
    assert (found.identical, found.sound) == (0, False)
    assert "is not kept" in found.impossible[0]


def test_without_its_model_a_decision_is_said_to_be_impossible_to_compute(recorded: Recorded) -> None:
    versions = StrategyVersions(recorded.strategies, load_strategy_file)

    def gone(used: Any) -> Scorers:
        raise ReplayImpossible(f"{used} is not in the registry")

    with_model = next(r for r in recorded.records if b'"cross_sell":"cross_sell-' in r)
    found = check_decisions([with_model], Replayer(versions.prepared, gone))
    assert "is not in the registry" in found.impossible[0]
