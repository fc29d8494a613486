"""How volumes and models are told to stand: pace by hand, prices by age, roles and proposals by what was said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from decision_engine.pacing import Pace, Period
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from decision_engine.strategy import UnitCost, VolumeConstraint, VolumePeriod, VolumeScope
from event_schemas.control import PricesSet, ResourcePrices
from models.manifest import Manifest, Metric, TrainingData
from models.registry import ModelRegistry
from services.adapters.file_strategy_source import load_strategy_file
from services.api.screens.console_card import card_blocks
from services.use_cases.model_acts import Act, challenge_of, promotion_of
from services.use_cases.models_now import ModelsNow
from services.use_cases.observing.model_health import ModelDesk, scored_by
from services.use_cases.observing.volumes import PricesNow, VolumeDesk
from services.use_cases.observing.volumes_pace import pace_of

GOLDEN = Path(__file__).parents[2] / "golden" / "decisions" / "strategy.yaml"
ZONE = ZoneInfo("Asia/Shanghai")
HOUR = 3_600_000
MIDNIGHT = 1_795_190_400_000
"""2026-11-21, 00:00 in Shanghai."""
TODAY = Period("day-2026-11-21", MIDNIGHT, MIDNIGHT + 24 * HOUR)
NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


def volume(amount: int = 100, pacing: str = "none", name: str = "coffee") -> VolumeConstraint:
    return VolumeConstraint(
        id=name, of=VolumeScope(kind="offer", name="gold_card"), resource="stock", amount=amount,
        unit_cost=UnitCost(units=1), period=VolumePeriod(calendar="day"), charged_on="accept", hold_seconds=600,
        pacing=pacing,
    )  # fmt: skip


def test_a_pace_leads_to_the_end_of_the_period_or_of_the_stock() -> None:
    pace = Pace(zone=ZONE)
    # 30 in 6 of 24 hours are 120 a day: the 70 that are left take another 14 hours.
    found = pace_of(volume(), TODAY, MIDNIGHT + 6 * HOUR, 30, pace)
    assert found.elapsed == pytest.approx(0.25)
    assert found.allowed is None
    assert found.at_end == pytest.approx(120)
    assert found.runs_out_ms == pytest.approx(MIDNIGHT + 20 * HOUR, abs=2)
    # 20 in 6 hours are 80 a day.
    slow = pace_of(volume(pacing="even"), TODAY, MIDNIGHT + 6 * HOUR, 20, pace)
    assert (slow.at_end, slow.runs_out_ms) == (pytest.approx(80), None)
    assert slow.allowed == 27  # a quarter, and two in a hundred of slack


def test_a_pace_by_hours_of_traffic_waits_for_the_busy_ones() -> None:
    hours = (0.0,) * 12 + (1 / 12,) * 12
    found = pace_of(volume(), TODAY, MIDNIGHT + 18 * HOUR, 40, Pace(zone=ZONE, hours=hours))
    assert (found.elapsed, found.at_end, found.runs_out_ms) == (pytest.approx(0.5), pytest.approx(80), None)


def test_little_says_nothing_of_the_end() -> None:
    pace = Pace(zone=ZONE)
    assert pace_of(volume(), TODAY, MIDNIGHT + 6 * HOUR, 4, pace).at_end is None
    assert pace_of(volume(), TODAY, MIDNIGHT + HOUR // 2, 50, pace).at_end is None
    assert pace_of(volume(), Period("total", None, None), MIDNIGHT, 50, pace).elapsed is None


class Shelf:
    """Pools by name; a pool is its volume's name."""

    def __init__(self, left: Mapping[str, int], held: Mapping[str, int] | None) -> None:
        self._left, self._held = left, held

    def pool(self, name: str, period: str) -> str:
        assert period.startswith("day-")
        return name

    async def is_open(self) -> bool:
        return True

    async def left(self, pools: Sequence[str]) -> dict[str, int]:
        return {pool: self._left[pool] for pool in pools if pool in self._left}

    async def held(self) -> Mapping[str, int] | None:
        return self._held


def prices(at: datetime, **of: float) -> PricesSet:
    data = ResourcePrices(strategy_version="s", computed_at=at, prices=of, decisions=7)
    return PricesSet(id="p", source="t", subject="prices:s", time=at, data=data)


@pytest.fixture(scope="module")
def prepared() -> PreparedStrategy:
    strategy = load_strategy_file(GOLDEN)
    return prepare(replace(strategy, volumes=(volume(), volume(name="tea"))))


async def test_volumes_say_what_is_gone_what_is_held_and_what_a_unit_costs(prepared: PreparedStrategy) -> None:
    noted, now_ms = PricesNow(), round(NOW.timestamp() * 1000)
    await noted.note(prices(NOW - timedelta(minutes=15), coffee=80.0))
    await noted.note(prices(NOW - timedelta(minutes=30), coffee=10.0))  # older: no news
    desk = VolumeDesk(pools=Shelf({"coffee": 60}, {"coffee": 15}), prices=noted, fresh_ms=600_000)
    found = await desk.now(prepared, now_ms)
    coffee, tea = found.volumes
    assert (coffee.used, coffee.gone, coffee.held, coffee.left) == (40, 25, 15, 60)
    assert coffee.price == pytest.approx(40.0)  # five of the ten minutes in which it fades
    assert (tea.used, tea.held, tea.left, tea.price) == (0, 0, None, None)
    assert (found.open, found.decisions) == (True, 7)
    unknown = VolumeDesk(pools=Shelf({"coffee": 60}, None), prices=PricesNow(), fresh_ms=600_000)
    first = (await unknown.now(prepared, now_ms)).volumes[0]
    assert (first.used, first.gone, first.price) == (40, None, None)


# Models ------------------------------


def registered(registry: ModelRegistry, at: datetime, auc: float = 0.8) -> Manifest:
    draft = Manifest(
        name="cross_sell", version="", kind="gbdt", created_at="", files={},
        schema=FeatureSchema((Column(name="base_rate", source=ColumnSource.OFFER),)),
        metrics={"auc": Metric(value=auc, low=auc - 0.1, high=auc + 0.1), "rows": Metric(value=5.0)},
        data=TrainingData(
            since_ms=1, until_ms=3, held_out_since_ms=2, rows=500, positives=50, label="l", attribution_seconds=60,
            fingerprint="f",
        ),
        reason="rows",
    )  # fmt: skip
    return registry.save(draft, {"card.md": b"# Card\n"}, at)


async def test_a_model_says_who_serves_and_who_waits(tmp_path: Path) -> None:
    registry, acts = ModelRegistry(tmp_path / "models"), ModelsNow()
    strategy = load_strategy_file(GOLDEN)
    first, second = registered(registry, NOW), registered(registry, NOW + timedelta(hours=1), 0.9)
    act = Act(event_id="a", at=NOW, actor="lin", approved_by="zhao")
    await acts.note(promotion_of(first, event_id="p", at=NOW, actor="lin", approved_by="zhao"))
    await acts.note(challenge_of(second, replace(act, at=NOW + timedelta(hours=2)), 0.1))
    desk = ModelDesk(registry=registry, acts=acts, reports=tmp_path / "reports", proposal_days=7)
    (found,) = [model for model in desk.health(strategy, NOW) if model.name == "cross_sell"]
    assert found.offers == scored_by(strategy)["cross_sell"] > 0
    assert found.champion is not None
    assert found.challenger is not None
    serving = found.champion
    assert (serving.facts.version, serving.since, serving.approved_by) == (first.version, NOW, "zhao")
    assert (found.challenger.facts.version, found.challenger.share) == (second.version, 0.1)
    assert found.champion.facts.metrics == {"auc": Metric(value=0.8, low=0.8 - 0.1, high=0.8 + 0.1)}
    assert [facts.version for facts in found.registered] == [second.version, first.version]
    assert (found.faults, found.champion.facts.has_card, found.champion.facts.has_report) == ((), True, False)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / f"{first.version}.html").write_text("<p>", encoding="utf-8")
    assert desk.report(first.version) == b"<p>"
    assert desk.report(second.version) is None
    assert desk.card(first.version) == "# Card\n"


async def test_a_version_that_is_not_there_or_was_changed_is_a_fault(tmp_path: Path) -> None:
    registry, acts = ModelRegistry(tmp_path), ModelsNow()
    manifest = registered(registry, NOW)
    await acts.note(promotion_of(manifest, event_id="p", at=NOW, actor="lin"))
    path = tmp_path / manifest.version / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace("500", "5000"), encoding="utf-8")
    desk = ModelDesk(registry=registry, acts=acts, reports=tmp_path, proposal_days=7)
    (found,) = [model for model in desk.health(load_strategy_file(GOLDEN), NOW) if model.name == "cross_sell"]
    assert len(found.faults) == 1
    assert "changed" in found.faults[0]


def test_a_card_is_headings_paragraphs_lists_and_tables() -> None:
    text = "<!-- v -->\n# Card\n\nFor whom\nit is.\n\n## Data\n"
    text += "| a | b |\n| --- | --- |\n| 1 \\| 2 |  |\n\n- one\n- two\n"
    assert [(block.kind, block.rows) for block in card_blocks(text)] == [
        ("heading", (("Card",),)),
        ("paragraph", (("For whom it is.",),)),
        ("heading", (("Data",),)),
        ("table", (("a", "b"), ("1 | 2", ""))),
        ("list", (("one",), ("two",))),
    ]
