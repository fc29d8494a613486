"""A draft strategy over a recorded day: the same choices where nothing changes, and what comes of a change."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decision_engine.identifiers import StrategyVersion
from decision_engine.strategy import Strategy
from event_schemas.topics import DECISIONS
from loadtests.recorded_day_world import RecordedBank, RecordedDay, record_day
from models.decision_log.archive_files import ARCHIVE_SCHEMA, day_folder, file_name
from models.evaluation.off_policy.judgement import JudgingRule
from services.__main__ import main
from services.adapters.file_strategy_source import load_strategy_file
from services.commands.day_simulation import newest_day
from services.simulation.recorded_day.day_findings import DayFindings, find
from services.simulation.recorded_day.day_page import day_page
from services.simulation.recorded_day.day_text import as_json, text_lines
from services.simulation.recorded_day.failures import SimulationCancelled, SimulationRefused
from services.simulation.recorded_day.group_rules import GroupRule, read_group
from services.simulation.recorded_day.sides import ACTIVE, DRAFT
from services.simulation.recorded_day.simulate import SimulationOrder, simulate_day

SOURCE = Path(__file__).with_name("small_bank.yaml")
RULE = JudgingRule(replicates=100, seed=3)
EXPLORING = "exploration: {kind: epsilon_greedy, epsilon: 0.4}"


def text_of(*further: str) -> str:
    lines = [line for line in SOURCE.read_text().splitlines() if not line.startswith("exploration:")]
    return "\n".join([*lines, EXPLORING, *further, ""])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Strategy, RecordedDay]:
    root = tmp_path_factory.mktemp("recorded")
    (root / "live.yaml").write_text(text_of())
    strategy = load_strategy_file(root / "live.yaml")
    day = record_day(RecordedBank(strategy=strategy, customers=150, history_days=8, seed=2, visits=3), root / "archive")
    return root, strategy, day


@pytest.fixture
def order(world: tuple[Path, Strategy, RecordedDay]) -> SimulationOrder:
    root, strategy, day = world
    return SimulationOrder(
        archive=root / "archive",
        models=root / "models",
        active=strategy,
        draft=strategy,
        since_ms=day.since_ms,
        until_ms=day.until_ms,
        attribution_seconds=600,
        partitions=3,
    )


def draft(tmp_path: Path, text: str) -> Strategy:
    (tmp_path / "draft.yaml").write_text(text)
    return load_strategy_file(tmp_path / "draft.yaml")


def found(order: SimulationOrder) -> DayFindings:
    return find(simulate_day(order), RULE)


def test_the_strategy_that_made_the_log_decides_as_recorded(world: Any, order: SimulationOrder) -> None:
    """From states folded anew with fewer features, and contacts carried on: the same choices, the same scores."""
    totals = simulate_day(order).totals
    assert totals.requests == totals.compared == world[2].decisions > 100
    assert totals.same_choice == totals.same_score == totals.requests
    assert totals.changed == 0


def test_a_day_with_kill_switches_is_decided_under_them_again(tmp_path: Path) -> None:
    (tmp_path / "live.yaml").write_text(text_of())
    strategy = load_strategy_file(tmp_path / "live.yaml")
    bank = RecordedBank(
        strategy=strategy, customers=60, history_days=4, seed=2, switches=("group:cards", "model:cross_sell")
    )
    day = record_day(bank, tmp_path / "archive")
    order = SimulationOrder(
        archive=tmp_path / "archive", models=tmp_path / "models", active=strategy, draft=strategy,
        since_ms=day.since_ms, until_ms=day.until_ms, attribution_seconds=600, partitions=2,
    )  # fmt: skip
    totals = simulate_day(order).totals
    assert totals.requests == totals.compared == totals.same_choice == totals.same_score > 20
    assert all(side.dropped["availability", "kill_switch", "KILL_SWITCH"] > 0 for side in totals.sides.values())


def test_the_recorded_strategy_is_worth_what_the_log_earned(order: SimulationOrder) -> None:
    report = found(order).off_policy["accepted"]
    assert not isinstance(report, str)
    for policy in report.policies:
        assert next(iter(policy.estimates.values())).value == pytest.approx(report.logged.value)


def test_deciding_together_or_one_by_one_is_the_same(order: SimulationOrder, tmp_path: Path) -> None:
    changed = replace(order, draft=draft(tmp_path, text_of().replace("base_rate: 0.04", "base_rate: 0.01")))
    assert as_json(found(changed)) == as_json(found(replace(changed, plain=True)))


def test_the_number_of_processes_changes_nothing(order: SimulationOrder, tmp_path: Path) -> None:
    stock = "{id: stock, of: {group: cards}, resource: stock, amount: 9, per: {calendar: day}, charged_on: accept}"
    changed = replace(order, draft=draft(tmp_path, text_of(f"volumes: [{stock}]")))
    assert as_json(found(changed)) == as_json(found(replace(changed, processes=2)))


def test_a_draft_may_read_what_nobody_recorded(order: SimulationOrder, tmp_path: Path) -> None:
    """A feature of its own is folded from the archived events."""
    feature = (
        "  - {name: logins_ever, source: bank.channel.login, aggregate: count, theme: behaviour, "
        "description: {en: Logins}}"
    )
    rule = (
        "  - {scope: all, layer: eligibility, "
        "rules: [{id: often, when: 'logins_ever >= 3', code: UNDER_AGE, text: {en: Too few logins}}]}"
    )
    text = text_of().replace("features:\n", f"features:\n{feature}\n", 1)
    text = text.replace("policies:\n", f"policies:\n{rule}\n", 1)
    findings = found(replace(order, draft=draft(tmp_path, text)))
    (step,) = [step for step in findings.funnel if step.rule == "often"]
    assert step.active == 0 < step.draft < findings.candidates[1]
    assert findings.lost > 0 == findings.gained


def test_a_withdrawn_offer_loses_and_its_rivals_gain(order: SimulationOrder) -> None:
    most = max(found(order).offers, key=lambda each: each.active.options).name
    kept = tuple(offer for offer in order.active.offers if offer.name != most)
    without = replace(order.active, offers=kept, version=StrategyVersion("without"))
    findings = found(replace(order, draft=without))
    (gone,) = [each for each in findings.offers if each.name == most]
    assert gone.draft.options == 0 < gone.active.options
    assert any(each.draft.options > each.active.options for each in findings.offers)
    assert findings.day.totals.changed >= gone.active.decisions
    assert sum(tenth.customers for tenth in findings.tenths) == findings.gained + findings.lost + findings.equal


def test_no_more_is_handed_out_than_there_is(order: SimulationOrder, tmp_path: Path) -> None:
    most = max(found(order).offers, key=lambda each: each.active.options)
    volume = (
        f"volumes: [{{id: stock, of: {{offer: {most.name}}}, resource: stock, amount: 5, per: {{calendar: day}}, "
        "charged_on: reservation}]"
    )
    findings = found(replace(order, draft=draft(tmp_path, text_of(volume))))
    (scarce,) = [each for each in findings.offers if each.name == most.name]
    assert most.active.options > 5
    assert 0 < scarce.draft.options <= 5
    assert next(step.draft for step in findings.funnel if step.stage == "volume") > 0
    assert findings.volumes[0].amounts == (None, 5)


def test_candidates_are_accounted_for_by_the_funnel(order: SimulationOrder) -> None:
    findings = found(order)
    passed = [total - sum(getattr(s, side) for s in findings.funnel)
              for total, side in zip(findings.candidates, (ACTIVE, DRAFT), strict=True)]  # fmt: skip
    assert min(passed) >= findings.whole.active.options > 0


def test_groups_are_told_apart_and_judged_by_four_fifths(order: SimulationOrder) -> None:
    findings = found(replace(order, groups=(GroupRule("age", (30.0, 60.0)),)))
    groups = {group.group: group for group in findings.fairness}
    assert {"below 30", "30 to below 60"} <= set(groups)
    assert max(group.ratios[0] for group in groups.values()) == pytest.approx(1.0, abs=0.3)
    for group in groups.values():
        assert group.below[0] == (group.ratios[0] < 0.8 and group.customers >= 30 and group.group != "unknown")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nobody", "no such attribute"),
        ("age", "say where to part"),
        ("age:60,30", "must ascend"),
        ("age:x", "not numbers"),
    ],
)
def test_an_odd_group_is_refused_with_its_reason(order: SimulationOrder, text: str, why: str) -> None:
    with pytest.raises(SimulationRefused, match=why):
        read_group(text, order.active)


def test_a_day_that_is_not_archived_is_refused(order: SimulationOrder) -> None:
    later = 40 * 86_400_000
    with pytest.raises(SimulationRefused, match="has no decisions from"):
        simulate_day(replace(order, since_ms=order.since_ms + later, until_ms=order.until_ms + later))
    with pytest.raises(SimulationRefused, match="there is no archive"):
        simulate_day(replace(order, archive=order.archive / "nowhere"))


def test_an_unreadable_decision_is_refused_by_its_place_and_field(order: SimulationOrder, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for path in sorted(order.archive.rglob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        if f"topic={DECISIONS}" in path.parts:
            values = ['{"data": {"decision_id": "broken"}}', *table["value"].to_pylist()[1:]]
            table = table.set_column(table.schema.get_field_index("value"), "value", [values])
        copy = archive / path.relative_to(order.archive)
        copy.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, copy)
    with pytest.raises(SimulationRefused, match=r"decision record 1 .* is unreadable: no 'ledger'") as refused:
        simulate_day(replace(order, archive=archive))
    assert "broken" not in str(refused.value), "what a record says is about a customer"


def test_a_stopped_simulation_leaves_nothing_behind(order: SimulationOrder, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(SimulationCancelled):
        simulate_day(
            replace(order, work=tmp_path),
            progress=lambda stage, _done, _total: told.append(stage),
            stopped=lambda: "deciding again" in told,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_one_page_without_scripts(order: SimulationOrder) -> None:
    findings = found(order)
    page = day_page(findings)
    assert "<script" not in page and "http://" not in page and "https://" not in page and "src=" not in page
    assert "<svg" in page and "Funnel by rule" in page
    assert f"seed {RULE.seed}" in "\n".join(text_lines(findings))
    assert json.loads(json.dumps(as_json(findings)))["seed"] == RULE.seed


def test_the_newest_day_is_that_of_the_bank(tmp_path: Path) -> None:
    """Half past midnight at the bank is still the day before in the archive."""
    (tmp_path / "live.yaml").write_text(text_of())
    strategy = load_strategy_file(tmp_path / "live.yaml")
    zone = ZoneInfo(strategy.time_zone)
    midnight = datetime(2026, 3, 10, 0, 30, tzinfo=zone)
    folder = day_folder(tmp_path / "archive", DECISIONS, f"{midnight.astimezone(UTC):%Y-%m-%d}")
    folder.mkdir(parents=True)
    row = {field.name: None for field in ARCHIVE_SCHEMA} | {"partition": 0, "offset": 0, "time": midnight}
    pq.write_table(pa.Table.from_pylist([row], ARCHIVE_SCHEMA), folder / file_name(0, 0, 0))
    assert newest_day(tmp_path / "archive", zone) == midnight.date()


def test_the_command_reports_and_names_what_is_missing(
    world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root, _, _ = world
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(root / "live.yaml"))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(root / "archive"))
    (tmp_path / "draft.yaml").write_text(text_of().replace("base_rate: 0.04", "base_rate: 0.02"))
    page = tmp_path / "report.html"
    asked = ["simulate", "strategy", "--day", "2026-03-09", "--processes", "1", "--replicates", "100"]
    assert main([*asked, "--draft", str(tmp_path / "draft.yaml"), "--json", "--html", str(page)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["requests"] == world[2].decisions
    assert "seed 1" in shown.err and page.read_text().startswith("<!DOCTYPE html>")
    assert main(asked) == 1
    assert "--draft" in capsys.readouterr().err
    (tmp_path / "draft.yaml").write_text("name: nothing\n")
    assert main([*asked, "--draft", str(tmp_path / "draft.yaml")]) == 1
    assert "draft.yaml" in capsys.readouterr().err
