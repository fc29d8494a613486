"""What conditions compute where numbers end, time is cut, and values are unknown."""

import time

import numpy as np
import pytest

from decision_engine.conditions.check import checked_condition, checked_expression
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
from decision_engine.conditions.moments import duration_ms, timestamp_ms
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.features.definitions import AttributeType, Value

TYPES = {
    "n": AttributeType.INT,
    "x": AttributeType.DOUBLE,
    "s": AttributeType.STRING,
    "b": AttributeType.BOOL,
    "t": AttributeType.TIMESTAMP,
}
LARGEST = 2**63 - 1


def value_of(text: str, **values: Value) -> object:
    return compile_expression(checked_expression(text, TYPES))(Facts(values, frozenset(), 1_000))


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("n + 1", {"n": LARGEST}, MISSING),
        ("n + 0", {"n": LARGEST}, LARGEST),
        ("-n", {"n": -LARGEST - 1}, MISSING),
        ("abs(n)", {"n": -LARGEST - 1}, MISSING),
        ("n * n", {"n": 2**40}, MISSING),
        ("n / -1", {"n": -LARGEST - 1}, MISSING),
        ("n / 0", {"n": 1}, MISSING),
        ("n % 0", {"n": 1}, MISSING),
        ("x / 0.0", {"x": 1.0}, MISSING),
        ("x * x", {"x": 1e200}, MISSING),
        ("n / 2", {"n": -7}, -3),
        ("n % 2", {"n": -7}, -1),
        ("n / 2.0", {"n": 7}, 3.5),
        ("min(n, x)", {"n": 3, "x": 2.5}, 2.5),
        ("max([n, 10])", {"n": 3}, 10),
        ("max(n, 10)", {}, MISSING),
        ("b ? 1 : 2", {}, MISSING),
        ("b ? 1 : n", {"b": True}, 1),
        ("s in ['a', s + '']", {}, MISSING),
        ("size(s)", {"s": "é😀"}, 2),
        ("now - t", {"t": 400}, 600),
    ],
)
def test_values(text: str, values: dict[str, Value], expected: object) -> None:
    assert value_of(text, **values) == expected


def test_an_expression_of_type_double_gives_a_float() -> None:
    result = value_of("b ? n : x", b=True, n=3)
    assert isinstance(result, float)
    assert result == 3.0


def test_truth_values_of_numpy_open_nothing() -> None:
    """Facts are plain values; if a caller errs, a comparison must still not count as true when it is false."""
    facts = Facts({"n": np.int64(1), "x": np.float64(0.5)}, frozenset(), 0)  # type: ignore[dict-item]
    condition = checked_condition("n + 1 > 5 && x + 1.0 > 0.0", TYPES)
    assert compile_expression(condition)(facts) is not True
    assert PredicateIndex.build([condition]).evaluate(facts) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T08:00:00+08:00", 0),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2026-11-21t01:00:00.5z", 1_795_222_800_500),
        ("2026-02-29T00:00:00Z", None),
        ("2026-11-21", None),
        ("2026-11-21T00:00:00", None),
        ("2026-11-21T25:00:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
    ],
)
def test_moments(text: str, expected: int | None) -> None:
    assert timestamp_ms(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", 86_400_000),
        ("1h30m", 5_400_000),
        ("-1.5s", -1_500),
        ("1500us", 1),
        ("0", 0),
        ("+2m", 120_000),
        ("7d", None),
        ("h", None),
        ("", None),
        ("99999999999h", None),
    ],
)
def test_durations(text: str, expected: int | None) -> None:
    assert duration_ms(text) == expected


def test_choices_nested_deeply_do_not_multiply() -> None:
    text = "b"
    for _ in range(28):
        text = f"({text} ? b : n > 1)"
    condition = checked_condition(text, TYPES)
    began = time.perf_counter()
    index = PredicateIndex.build([condition])
    assert time.perf_counter() - began < 1
    closure = compile_expression(condition)
    for values in ({"b": True, "n": 0}, {"b": False, "n": 2}, {"b": False, "n": 0}, {"n": 2}):
        facts = Facts(values, frozenset(), 0)
        assert index.evaluate(facts) == (closure(facts) is True)
