"""How a trigger grades its contacts and what it tells of the event behind them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.features.definitions import AttributeType
from decision_engine.triggers.definitions import Trigger
from services.adapters.file_strategy_source import load_strategy_file

SAMPLE = Path(__file__).parents[1] / "strategy_loading" / "sample_strategy.yaml"
Load = Callable[[str], Trigger]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """A trigger on transactions with these further lines."""

    def loading(lines: str) -> Trigger:
        path = tmp_path / "strategy.yaml"
        trigger = (
            "\ntriggers:\n  - name: inflow\n    title: {zh-CN: 到账, en: Inflow}\n"
            "    on: {event: bank.transaction.posted}\n    contact: {placement: home_banner}\n"
        )
        path.write_text(SAMPLE.read_text("utf-8") + trigger + lines, encoding="utf-8")
        return load_strategy_file(path).triggers[0]

    return loading


def test_without_a_grade_nothing_is_graded_or_told(load: Load) -> None:
    trigger = load("")
    assert (trigger.grade, trigger.tells, trigger.fields) == (None, (), {})


def test_an_attribute_or_a_field_of_the_event_grades(load: Load) -> None:
    assert load("    grade: city\n").grade == "city"
    trigger = load("    grade: event.category\n    tells: [amount, category]\n")
    assert trigger.grade == "event.category"
    assert trigger.fields == {"amount": AttributeType.INT, "category": AttributeType.STRING}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("    grade: nothing\n", "unknown name nothing"),
        ("    grade: age\n", "a grade is a text"),
        ("    grade: event.amount\n", "a grade is a text"),
        ("    grade: event.nothing\n", "the event has no field nothing"),
        ("    tells: [amount, nothing]\n", "the event has no field nothing"),
    ],
)
def test_what_cannot_grade_or_be_told_is_refused_at_its_line(load: Load, lines: str, said: str) -> None:
    with pytest.raises(StrategyInvalid, match=said):
        load(lines)
