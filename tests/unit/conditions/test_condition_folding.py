"""What a condition says whoever asks is worked out beforehand."""

import pytest

from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.folding import fold
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.rendering import render
from decision_engine.features.definitions import AttributeType

TYPES = {"age": AttributeType.INT, "vip": AttributeType.BOOL, "seen": AttributeType.TIMESTAMP}


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("age > 6 * 3", "age > 18"),
        ("60 * 60 < age", "3600 < age"),
        ("vip && true", "vip"),
        ("true && vip && 1 < 2", "vip"),
        ("vip || 1 == 2", "vip"),
        ("vip && false", "false"),
        ("vip || true", "true"),
        ("!!vip", "vip"),
        ("!(1 > 2)", "true"),
        ("true ? vip : age > 3", "vip"),
        ("1 in [1, 2]", "true"),
        ('"abc".startsWith("a")', "true"),
        ("has(now)", "true"),
        ("[1, 2].all(x, x > 0) && vip", "vip"),
        ("vip && (age > 3 && true)", "vip && age > 3"),
        ("(true ? 1 : 2.5) / 2 > age", "(true ? 1 : 2.5) / 2 > age"),
        ('seen > timestamp("2026-01-01T00:00:00Z")', 'seen > timestamp("2026-01-01T00:00:00Z")'),
        ("1 / 0 > 1", "1 / 0 > 1"),
        ("vip == true", "vip == true"),
    ],
)
def test_constants_are_worked_out_and_nothing_else(written: str, folded: str) -> None:
    assert render(fold(checked_condition(written, TYPES).expression)) == folded


def test_a_rule_for_everyone_or_no_one_costs_the_index_nothing() -> None:
    index = PredicateIndex.build([checked_condition(text, TYPES) for text in ("vip || true", "vip && 1 > 2")])
    assert (index.possible, index.lookups, index.thresholds, index.remainders) == (1, (), (), {})
