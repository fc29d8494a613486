"""Everything docs/conditions.md shows is true."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from decision_engine.conditions.check import checked_condition, checked_expression
from decision_engine.conditions.errors import ConditionError
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
from decision_engine.conditions.macros import MOST_PARTS
from decision_engine.conditions.parser import MAX_DEPTH, MAX_LENGTH, MAX_LIST
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.reasoning import Reasoner
from decision_engine.conditions.requirements import alternatives_of
from decision_engine.features.definitions import AttributeType, Value

PAGE = (Path(__file__).parents[3] / "docs" / "conditions.md").read_text(encoding="utf-8")
TYPES = {
    name: AttributeType(kind)
    for name, kind in re.findall(r"^\| `([\w.]+)` \| (\w+) \|", PAGE, flags=re.MULTILINE)
}  # fmt: skip


def moment_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def value_of(text: str, kind: AttributeType) -> Value:
    match kind:
        case AttributeType.STRING:
            return text.strip('"')
        case AttributeType.BOOL:
            return text == "true"
        case AttributeType.TIMESTAMP:
            return moment_ms(text)
        case AttributeType.DOUBLE:
            return float(text)
        case AttributeType.INT:
            return int(text)


def facts_of(line: str) -> Facts:
    parts = dict(part.strip().split(": ", 1) for part in line.split("; "))
    values = {}
    for given in parts["customer"].split(", "):
        name, text = given.split(" = ")
        values[name] = value_of(text, TYPES[name])
    holdings = frozenset(parts["holds"].split(", ")) if "holds" in parts else frozenset()
    return Facts(values, holdings, moment_ms(parts.get("now", "2026-11-21T09:00:00+08:00")))


def examples() -> list[tuple[str, Facts, str]]:
    """Condition, customer, and what the page says it gives."""
    found = []
    for block in re.findall(r"```cel\n(.*?)```", PAGE, flags=re.DOTALL):
        facts = Facts({}, frozenset(), 0)
        for line in block.splitlines():
            condition, _, result = line.rpartition("// ")
            if condition.strip():
                found.append((condition.strip(), facts, result.strip()))
            else:
                facts = facts_of(result)
    return found


def test_the_page_has_examples_of_every_kind() -> None:
    results = [result for _, _, result in examples()]
    assert len(results) > 50
    assert {"true", "false", "unknown"} <= set(results)


@pytest.mark.parametrize(("condition", "facts", "result"), examples(), ids=[e[0] for e in examples()])
def test_an_example_gives_what_the_page_says(condition: str, facts: Facts, result: str) -> None:
    if result.startswith("error: "):
        with pytest.raises(ConditionError) as refused:
            checked_condition(condition, TYPES)
        assert all(part in str(refused.value) for part in re.split("; (?=duration)", result.removeprefix("error: ")))
        return
    checked = checked_expression(condition, TYPES)
    value = compile_expression(checked)(facts)
    expected = {"true": True, "false": False, "unknown": MISSING}
    if result.startswith('"'):
        assert value == result.strip('"')
    else:
        assert value == (expected[result] if result in expected else float(result))
    if checked.type == "bool":
        assert PredicateIndex.build([checked]).evaluate(facts) == (value is True)


def test_the_limits_are_those_of_the_parser() -> None:
    limits = f"{MAX_LENGTH:,} characters, {MAX_DEPTH} levels of nesting, {MAX_LIST:,} entries of a list"
    assert f"Limits: {limits}, {MOST_PARTS:,} parts once macros are written out." in PAGE


def rules_shown() -> list[tuple[str, str]]:
    blocks = re.findall(r"```rules\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [line.rpartition("// ") for block in blocks for line in block.splitlines()]
    return [(rules.strip(), finding.strip()) for rules, _, finding in lines]


def test_the_page_shows_what_is_found_out_about_rules() -> None:
    assert len(rules_shown()) > 10


@pytest.mark.parametrize(("rules", "finding"), rules_shown(), ids=[rules for rules, _ in rules_shown()])
def test_the_check_finds_out_what_the_page_says(rules: str, finding: str) -> None:
    reasoner = Reasoner()
    found = [alternatives_of(checked_condition(rule, TYPES)) for rule in rules.split(" | ")]
    first, second = found[0], found[-1]
    assert first is not None
    assert second is not None
    if len(found) == 1:
        assert reasoner.possible(first) is not finding.startswith("never holds")
        assert reasoner.certain(first) is (finding == "always holds")
    else:
        assert reasoner.implies(first, second) is (finding == "the second never refuses anyone")
        assert (not reasoner.compatible(first, second)) is (finding == "exclude each other")
