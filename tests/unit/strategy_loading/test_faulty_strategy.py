"""Every fault of a strategy is reported at once, on its line, and nothing else is."""

from pathlib import Path

import pytest

from decision_engine.errors import Problem, StrategyInvalid
from services.adapters.file_strategy_source import load_strategy_file

FAULTY = Path(__file__).parent / "faulty_strategy.yaml"


def expected_problems() -> list[tuple[int, str, str]]:
    """Line, path and a part of the message, from the marks in the file."""
    expected = []
    for number, line in enumerate(FAULTY.read_text(encoding="utf-8").splitlines(), start=1):
        for mark in line.split("#! ")[1:]:
            path, message = mark.split(" | ", 1)
            expected.append((number, path.strip(), message.strip()))
    return expected


def reported_problems() -> tuple[Problem, ...]:
    with pytest.raises(StrategyInvalid) as refused:
        load_strategy_file(FAULTY)
    return refused.value.problems


def test_every_fault_is_reported_on_its_line() -> None:
    reported = reported_problems()
    missing = [
        mark
        for mark in expected_problems()
        if not any((p.line, p.path) == mark[:2] and mark[2] in p.message for p in reported)
    ]
    assert len(expected_problems()) > 50
    assert missing == []


def test_nothing_but_the_faults_is_reported() -> None:
    expected = expected_problems()
    surplus = [
        str(p)
        for p in reported_problems()
        if not any((p.line, p.path) == m[:2] and m[2] in p.message for m in expected)
    ]
    assert surplus == []


def test_problems_come_in_the_order_of_lines_and_name_the_file() -> None:
    reported = reported_problems()
    assert [p.line for p in reported] == sorted(p.line for p in reported)
    assert {p.file for p in reported} == {str(FAULTY)}
