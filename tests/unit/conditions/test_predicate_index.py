"""The index answers what can be prepared, and falls back without losing a rule."""

import math
from collections.abc import Mapping

import pytest

from decision_engine.conditions import interval_tests
from decision_engine.conditions.check import checked_condition
from decision_engine.conditions.evaluation import Facts, compile_expression
from decision_engine.conditions.predicate_index import MOST_CONJUNCTIONS, SHARED_BY, PredicateIndex
from decision_engine.features.definitions import AttributeType, Value

TYPES = {
    "age": AttributeType.INT,
    "share": AttributeType.DOUBLE,
    "city": AttributeType.STRING,
    "vip": AttributeType.BOOL,
    "seen": AttributeType.TIMESTAMP,
}


@pytest.fixture(autouse=True, params=["masks", "intervals"])
def way_of_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few numeric attributes are answered by masks, many by intervals; what is true must not depend on it."""
    monkeypatch.setattr(interval_tests, "MANY_ATTRIBUTES", 32 if request.param == "masks" else 1)


def index_of(*texts: str) -> PredicateIndex:
    return PredicateIndex.build([checked_condition(text, TYPES) for text in texts])


def true_rules(
    index: PredicateIndex, values: Mapping[str, Value], holdings: frozenset[str] = frozenset(), only: int | None = None
) -> list[int]:
    facts = Facts(values, holdings, 1_000_000)
    mask = index.evaluate(facts, only)
    if only is None:
        assert index.evaluate_all([facts, facts]) == [mask, mask]
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def test_plain_tests_need_no_evaluation() -> None:
    index = index_of(
        "age >= 18 && city in ['a', 'b'] && vip && share < 0.5 && has(seen) && has_product('x')",
        "60 > age && !vip && city != 'a' && !(share <= 0.1) && !has(seen) && !has_product('x')",
        "seen > timestamp('2026-01-01T00:00:00Z') && vip == false && age + 0 == age",
    )
    assert list(index.remainders) == [2]
    assert index.shared == ()


def test_every_kind_of_test_at_its_edge() -> None:
    index = index_of("age > 5", "age >= 5", "age < 5", "age <= 5", "age == 5", "age != 5", "age in [4, 5]")
    assert true_rules(index, {"age": 4}) == [2, 3, 5, 6]
    assert true_rules(index, {"age": 5}) == [1, 3, 4, 6]
    assert true_rules(index, {"age": 6}) == [0, 1, 5]
    assert true_rules(index, {}) == []


@pytest.mark.parametrize("age", [-(2**63), -3, -2, -1, 0, 1, 2, 3, 2**53, 2**53 + 1, 2**63 - 1])
def test_whole_numbers_against_decimal_constants(age: int) -> None:
    texts = [f"age {op} {c}" for op in ("<", "<=", ">", ">=", "==", "!=") for c in ("-2.5", "2.0", "1e300", "-1e300")]
    index = index_of(*texts)
    closures = [compile_expression(checked_condition(text, TYPES)) for text in texts]
    facts = Facts({"age": age}, frozenset(), 0)
    assert true_rules(index, {"age": age}) == [bit for bit, closure in enumerate(closures) if closure(facts) is True]


@pytest.mark.parametrize("share", [math.nextafter(0.3, 0), 0.3, math.nextafter(0.3, 1), -1.7e308, 1.7e308, 0.0, -0.0])
def test_neighbouring_doubles_are_told_apart(share: float) -> None:
    texts = [f"share {op} {c}" for op in ("<", "<=", ">", ">=", "==", "!=") for c in ("0.3", "0", "9007199254740993")]
    closures = [compile_expression(checked_condition(text, TYPES)) for text in texts]
    facts = Facts({"share": share}, frozenset(), 0)
    expected = [bit for bit, closure in enumerate(closures) if closure(facts) is True]
    assert true_rules(index_of(*texts), {"share": share}) == expected


@pytest.mark.parametrize("share", [math.nan, math.inf, -math.inf])
def test_a_double_that_is_not_finite_counts_as_unknown(share: float) -> None:
    texts = ["share > 0.5", "!(share > 0.5)", "share < 0.5", "has(share)", "!has(share)", "share + 1.0 > 0.0", "vip"]
    assert true_rules(index_of(*texts), {"share": share, "vip": True}) == [4, 6]


def test_texts_no_rule_names_are_still_known() -> None:
    index = index_of("city == 'a'", "city != 'a'", "has(city)", "!(city in ['a', 'b'])")
    assert true_rules(index, {"city": "zzz"}) == [1, 2, 3]
    assert true_rules(index, {"city": "a"}) == [0, 2]
    assert true_rules(index, {}) == []


def test_holdings_required_and_forbidden() -> None:
    index = index_of(
        "has_product('a') && has_product('b') && has_product('c')",
        "has_product('a') && !has_product('b')",
        "!has_product('a') && !has_product('b')",
        "has_product('a') || has_product('c')",
    )
    assert true_rules(index, {}, frozenset("abc")) == [0, 3]
    assert true_rules(index, {}, frozenset("a")) == [1, 3]
    assert true_rules(index, {}, frozenset()) == [2]
    assert true_rules(index, {}, frozenset({"c", "other"})) == [2, 3]


def test_alternatives_are_one_rule() -> None:
    index = index_of("age < 18 || age > 60 || city == 'a'", "vip")
    assert true_rules(index, {"age": 70, "vip": False}) == [0]
    assert true_rules(index, {"city": "a"}) == [0]
    assert true_rules(index, {"age": 30, "city": "b", "vip": True}) == [1]


def test_a_rule_of_too_many_alternatives_is_evaluated_as_written() -> None:
    pairs = " && ".join(f"(age != {n} || share != {n}.0)" for n in range(6))
    index = index_of(pairs, "vip")
    assert MOST_CONJUNCTIONS < 2**6
    assert list(index.remainders) == [0]
    assert true_rules(index, {"age": 3, "share": 3.0}) == []
    assert true_rules(index, {"age": 3, "share": 4.0}) == [0]


def test_a_computed_test_many_rules_share_is_evaluated_once() -> None:
    recent = "now - seen < duration('1h')"
    index = index_of(*[f"{recent} && age > {n}" for n in range(SHARED_BY)])
    assert len(index.shared) == 1
    assert index.remainders == {}
    assert true_rules(index, {"seen": 999_000, "age": 2}) == [0, 1]
    assert true_rules(index, {"seen": -9_999_000, "age": 2}) == []
    assert true_rules(index, {"age": 2}) == []


def test_literals_that_look_equal_are_not_confused() -> None:
    """1, 1.0 and true are equal in Python; dividing by them is not the same."""
    index = index_of("age / 2 * 2 == age", "age / 2.0 * 2.0 == age")
    assert true_rules(index, {"age": 3}) == [1]


def test_only_the_rules_of_interest_are_reported() -> None:
    index = index_of("age > 1", "age > 2 || vip", "age + 1 > 3", "vip || age * 2 > 5")
    assert true_rules(index, {"age": 3, "vip": False}) == [0, 1, 2, 3]
    assert true_rules(index, {"age": 3, "vip": False}, only=0b1010) == [1, 3]
    assert true_rules(index, {"age": 3, "vip": False}, only=0) == []


def test_constant_rules() -> None:
    assert true_rules(index_of("true", "false", "1 < 2", "!true", "true || vip", "1 / 0 > 1"), {}) == [0, 2, 4]


def test_an_index_of_nothing_is_never_true() -> None:
    assert PredicateIndex.build([]).evaluate(Facts({"age": 3}, frozenset(), 0)) == 0


def test_a_value_of_the_wrong_type_counts_as_unknown() -> None:
    index = index_of("age > 1", "city != 'a'", "vip")
    assert true_rules(index, {"age": "many", "city": "b", "vip": True}) == [1, 2]  # a caller's mistake
    assert true_rules(index, {"age": "5", "city": "b", "vip": True}) == [1, 2]  # text, though it reads as a number


def test_whole_numbers_beyond_all_doubles_are_compared_where_they_are_of_the_type() -> None:
    index = index_of("age > 1", "age < 1", "age == 1", "share > 0.5", "share < 0.5")
    assert true_rules(index, {"age": 10**400, "share": -(10**400)}) == [0]
    assert true_rules(index, {"age": -(10**400), "share": 10**400}) == [1]
