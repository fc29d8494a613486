"""Volume constraints as a strategy writes them: what is read, and what is refused at its line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.strategy import Strategy, UnitCost, VolumePeriod, VolumeScope
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parent / "sample_strategy.yaml"
Load = Callable[[str], Strategy]
SHANGHAI_NOVEMBER_MS = 1_793_462_400_000
"""2026-11-01T00:00 in Shanghai."""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the sample strategy with a `volumes` section."""

    def loading(volumes: str) -> Strategy:
        path = tmp_path / "strategy.yaml"
        path.write_text(SAMPLE.read_text("utf-8") + "\nvolumes:\n" + volumes, encoding="utf-8")
        return load_strategy_file(path)

    return loading


def test_without_the_section_there_are_no_volumes() -> None:
    assert load_strategy_file(SAMPLE).volumes == ()


def test_the_least_a_volume_says_is_id_scope_resource_amount_and_period(load: Load) -> None:
    strategy = load("  - {id: passes, of: {offer: gold_card}, resource: stock, amount: 500, per: {calendar: month}}\n")
    (volume,) = strategy.volumes
    assert (volume.id, volume.resource, volume.amount) == ("passes", "stock", 500)
    assert volume.of == VolumeScope(kind="offer", name="gold_card")
    assert volume.unit_cost == UnitCost(units=1)
    assert volume.period == VolumePeriod(calendar="month")
    assert (volume.charged_on, volume.pacing, volume.hold_seconds) == ("reservation", "none", 604_800)


def test_a_budget_takes_its_unit_cost_from_the_offers_attribute(load: Load) -> None:
    strategy = load(
        "  - {id: budget, of: {attribute: rank, is: '3'}, resource: budget, amount: 9, unit_cost: {attribute: rank},\n"
        "     per: {from: 2026-11-01, until: 2026-12-01}, charged_on: accept, hold_seconds: 3600, pacing: even}\n"
    )
    (volume,) = strategy.volumes
    gold = next(offer for offer in strategy.offers if offer.name == "gold_card")
    assert volume.of.concerns(gold)
    assert volume.unit_cost.of(gold) == 3
    assert volume.period.from_ms == SHANGHAI_NOVEMBER_MS
    assert (volume.charged_on, volume.hold_seconds, volume.pacing) == ("accept", 3600, "even")


def test_a_volume_changes_the_strategy_version(load: Load) -> None:
    line = "  - {{id: passes, of: {{channel: branch}}, resource: capacity, amount: {}, per: {{calendar: day}}}}\n"
    assert load(line.format(5)).version != load(line.format(6)).version


@pytest.mark.parametrize(
    ("volume", "path", "message"),
    [
        ("{id: v, of: {offer: gold_cord}, resource: stock, amount: 5, per: {calendar: day}}",
         "volumes[v].of.offer", "did you mean gold_card?"),
        ("{id: v, of: {offer: gold_card, group: cards}, resource: stock, amount: 5, per: {calendar: day}}",
         "volumes[v].of", "names one of offer"),
        ("{id: v, of: {attribute: image_style, is: drak}, resource: stock, amount: 5, per: {calendar: day}}",
         "volumes[v].of.is", "did you mean dark?"),
        ("{id: v, of: {group: cards}, resource: stok, amount: 5, per: {calendar: day}}",
         "volumes[v].resource", "did you mean stock?"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 0, per: {calendar: day}}",
         "volumes[v].amount", "0 must be from 1"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, per: {calendar: year}}",
         "volumes[v].per.calendar", "'year' is none of day, week, month"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, per: {from: 2026-12-01}}",
         "volumes[v].per", "needs calendar"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, per: {from: 2026-12-01, until: 2026-11-01}}",
         "volumes[v].per.until", "later than from"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, per: {until: 2026-12-01}, pacing: even}",
         "volumes[v].pacing", "period with a beginning"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, unit_cost: {attribute: image_style},"
         " per: {calendar: day}}",
         "volumes[v].unit_cost.attribute", "gold_card needs a whole number"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, per: {calendar: day}, hold_seconds: 600}",
         "volumes[v].hold_seconds", "only what is charged on accept"),
        ("{id: v, of: {group: cards}, resource: stock, amount: 5, per: {calendar: day}, chraged_on: accept}",
         "volumes[v].chraged_on", "did you mean charged_on?"),
    ],
)  # fmt: skip
def test_a_fault_is_reported_where_it_stands(load: Load, volume: str, path: str, message: str) -> None:
    with pytest.raises(StrategyInvalid) as refused:
        load(f"  - {volume}\n")
    assert [(p.path, message in p.message) for p in refused.value.problems] == [(path, True)]


def test_two_volumes_cannot_share_an_id(load: Load) -> None:
    line = "  - {id: v, of: {group: cards}, resource: stock, amount: 5, per: {calendar: day}}\n"
    with pytest.raises(StrategyInvalid) as refused:
        load(line + line)
    assert [p.path for p in refused.value.problems] == ["volumes[v].id"]
