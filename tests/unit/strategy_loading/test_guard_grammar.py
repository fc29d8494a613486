"""`guard` in a strategy: what it means, what is wrong with it and where, and what its absence leaves."""

from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.guard_terms import GuardTerms, Tolerance
from decision_engine.strategy import Strategy
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = (Path(__file__).parents[1] / "simulation" / "small_bank.yaml").read_text("utf-8")


def loaded(folder: Path, text: str) -> Strategy:
    path = folder / "strategy.yaml"
    path.write_text(SAMPLE + text, encoding="utf-8")
    return load_strategy_file(path)


def test_what_is_declared_is_read(tmp_path: Path) -> None:
    strategy = loaded(
        tmp_path,
        "guard: {window: 10m, watch: 2h, answers: 2m, least: 300, false_alarms: 0.001,\n"
        "  degraded: {by: 0.1, times: 2}, fallback: {by: 0.2, times: 3}, acceptance: {by: 0.01, times: 1.5}}\n",
    )
    assert strategy.guard == GuardTerms(
        window_seconds=600, watch_seconds=7_200, answer_seconds=120, least=300, false_alarms=0.001,
        degraded=Tolerance(by=0.1, times=2.0), fallback=Tolerance(by=0.2, times=3.0),
        acceptance=Tolerance(by=0.01, times=1.5),
    )  # fmt: skip


def test_what_is_left_out_is_as_usual(tmp_path: Path) -> None:
    assert loaded(tmp_path, "guard: {least: 200}\n").guard == GuardTerms()
    assert loaded(tmp_path, "guard: {enabled: false}\n").guard == GuardTerms(enabled=False)
    short = loaded(tmp_path, "guard: {window: 6m}\n").guard
    assert short is not None
    assert short.answer_seconds == 120, "an answer must come within the window"


def test_a_strategy_without_it_keeps_its_version(tmp_path: Path) -> None:
    plain = loaded(tmp_path, "")
    assert plain.guard is None
    assert loaded(tmp_path, "guard: {least: 300}\n").version != plain.version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("guard: {window: soon}", "is no duration"),
        ("guard: {window: 1m, answers: 2m}", "must be shorter than the window"),
        ("guard: {least: 5}", "must be from 20"),
        ("guard: {false_alarms: 0.9}", "must be from"),
        ("guard: {fallback: {times: 0.5}}", "must be from 1"),
        ("guard: {fallback: {percent: 5}}", "unknown key; known: by, times"),
        ("guard: {enabled: perhaps}", "true or false"),
    ],
)
def test_every_fault_is_named_where_it_stands(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StrategyInvalid) as raised:
        loaded(tmp_path, text + "\n")
    (problem,) = raised.value.problems
    assert message in problem.message
    assert problem.path.startswith("guard")
    assert problem.line == SAMPLE.count("\n") + 1
