"""The verdicts of `make evidence AREA=features`."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.bench_features import Line
from loadtests.bench_ingest import Rate
from loadtests.evidence import IMPLEMENTED
from loadtests.evidence_features import CLAIMS, judged_plain, judged_scenarios, judged_snapshots, judged_windowed

ROOT = Path(__file__).parents[3]
RATE = Rate(name="", guarantee="", events_a_second=50_000, processor_us=20, lowest=49_000, highest=51_000)


def rates(**others: float) -> dict[str, Rate]:
    found = {what: replace(RATE, name=what) for what in ("hourly", "windowed", "two", "plain", "quix")}
    return found | {what: replace(found[what], events_a_second=rate) for what, rate in others.items()}


def test_the_area_is_known() -> None:
    assert IMPLEMENTED["features"] == "loadtests.evidence_features"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_names_a_command_whose_parts_exist(claim) -> None:
    words = claim.command.split()
    modules = [word for word in words if word.startswith("loadtests.")]
    paths = [word for word in words if word.startswith("tests/")]

    assert modules or paths
    assert all(importlib.util.find_spec(module) for module in modules)
    assert all((ROOT / path).exists() for path in paths)


def test_plain_ingest_is_judged_by_its_rate() -> None:
    assert judged_plain(rates()).holds
    assert not judged_plain(rates(hourly=39_999)).holds


def test_plain_ingest_does_not_hold_without_the_peers_beside_it() -> None:
    alone = {what: rate for what, rate in rates().items() if what != "quix"}
    found = judged_plain(alone)

    assert not found.holds
    assert "not measured beside it: quix" in found.text


def test_windowed_ingest_is_judged_by_one_worker_and_tells_what_two_do() -> None:
    found = judged_windowed(rates(windowed=20_000, two=30_000))

    assert found.holds
    assert "two workers do 1.50 times one" in found.text
    assert not judged_windowed(rates(windowed=19_999)).holds


def test_reading_a_state_is_judged_by_the_lines_that_have_a_target() -> None:
    size = Line("typical: state", 9_000, 2_048, "bytes")
    first = Line("typical: first snapshot of many", 90, None, "us")

    assert judged_snapshots([size, first, Line("typical: snapshot", 59.9, 60, "us")]).holds
    assert not judged_snapshots([size, first, Line("typical: snapshot", 60.1, 60, "us")]).holds
    assert not judged_snapshots([size, first]).holds


def passed(*numbers: int) -> list[str]:
    return [f"tests/e2e/test_scenarios.py::test_s{number}_does_it" for number in numbers]


def test_scenarios_hold_when_each_has_a_test_that_passed() -> None:
    names = [*passed(*range(1, 12)), *(f"tests/e2e/x.py::test_guided[S{number}]" for number in range(12, 18))]

    assert judged_scenarios(names, "== 17 passed ==", 0).holds
    assert not judged_scenarios(names, "== 1 failed, 17 passed ==", 1).holds


def test_a_scenario_without_a_test_is_named() -> None:
    found = judged_scenarios(passed(*range(1, 17)), "16 passed", 0)

    assert not found.holds
    assert "none for S17" in found.text
