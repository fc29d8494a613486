"""The index, the closures, a reference evaluator written for this test, and Google's CEL agree on random conditions.

`KAIROS_CONDITION_PAIRS` sets how many pairs of condition and facts are compared (default 4,000).
"""

import math
import os
import sys
from datetime import UTC, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from decision_engine.conditions import interval_tests
from decision_engine.conditions.check import CheckedExpression, check, checked_condition, checked_expression
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
from decision_engine.conditions.folding import fold
from decision_engine.conditions.moments import duration_ms, timestamp_ms
from decision_engine.conditions.parser import parse
from decision_engine.conditions.predicate_index import PredicateIndex
from decision_engine.conditions.rendering import render
from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    ListLiteral,
    Literal,
    Logical,
    Name,
    Unary,
)

sys.path.insert(0, str(Path(__file__).parents[2]))  # the conditions are written beside the benchmarks
from loadtests.condition_world import EPOCH, TYPES, Conditions, batches, cel_environment, cel_result, random_facts

PAIRS = int(os.environ.get("KAIROS_CONDITION_PAIRS", "4000"))


class Unknown(Exception):
    """A part has no value."""


class Reference:
    """The meaning of the language once more, written as plainly as possible and sharing nothing with the engine."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def value(self, e: Expression) -> Any:
        match e:
            case Literal(value=value):
                return value
            case Name(name="now"):
                return self.facts.now_ms
            case Name(name=name):
                if name not in self.facts.values:
                    raise Unknown
                return self.facts.values[name]
            case ListLiteral(items=items):
                return [self.value(item) for item in items]
            case Unary(operator="!", operand=operand):
                return not self.value(operand)
            case Unary(operand=operand):
                return self.fitting(-self.value(operand))
            case Logical(operator=operator, operands=operands):
                return self.logical(operator == "||", operands)
            case Conditional(condition=condition, then=then, otherwise=otherwise):
                return self.value(then) if self.value(condition) else self.value(otherwise)
            case Binary(operator=operator, left=left, right=right):
                return self.binary(operator, self.value(left), self.value(right))
            case Call():
                return self.call(e)

    def logical(self, deciding: bool, operands: tuple[Expression, ...]) -> bool:
        unknown = False
        for operand in operands:
            try:
                if self.value(operand) is deciding:
                    return deciding
            except Unknown:
                unknown = True
        if unknown:
            raise Unknown
        return not deciding

    def binary(self, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "==" | "!=" | "in":
                equal = left in right if operator == "in" else left == right
                return equal if operator != "!=" else not equal
            case "<" | "<=" | ">" | ">=":
                less, same = left < right, left == right
                return {"<": less, "<=": less or same, ">": not less and not same, ">=": not less}[operator]
            case "/" | "%" if right == 0:
                raise Unknown
            case "/" if isinstance(left, int) and isinstance(right, int):
                return self.fitting(self.truncated(left, right))
            case "%":
                return left - right * self.truncated(left, right)
            case "/":
                return self.fitting(left / right)
            case _:
                return self.fitting(
                    {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right}[operator]()
                )

    def truncated(self, left: int, right: int) -> int:
        quotient, rest = divmod(left, right)
        return quotient + (1 if rest != 0 and (left < 0) != (right < 0) else 0)

    def fitting(self, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise Unknown
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise Unknown
        return value

    def call(self, e: Call) -> Any:
        first = e.arguments[0]
        if e.function == "has":
            return isinstance(first, Name) and (first.name == "now" or first.name in self.facts.values)
        if e.function == "has_product":
            return isinstance(first, Literal) and first.value in self.facts.holdings
        values = [self.value(argument) for argument in e.arguments]
        if e.function.startswith("get"):
            return self.field(e.function, str(kind_of(first)), *values)
        if e.function in ("int", "double", "string", "bool"):
            return self.converted(e.function, str(kind_of(first)), values[0])
        return {
            "timestamp": lambda: timestamp_ms(*values),
            "duration": lambda: duration_ms(*values),
            "size": lambda: len(*values),
            "startsWith": lambda: values[0][: len(values[1])] == values[1],
            "endsWith": lambda: values[1] == "" or values[0][-len(values[1]) :] == values[1],
            "contains": lambda: values[1] in values[0],
            "min": lambda: sorted(values)[0],
            "max": lambda: sorted(values)[-1],
            "abs": lambda: values[0] if values[0] >= 0 else -values[0],
        }[e.function]()

    def field(self, function: str, kind: str, value: int, zone: str = "UTC") -> int:
        if kind == "duration":
            unit = {"getHours": 3_600_000, "getMinutes": 60_000, "getSeconds": 1_000}.get(function)
            return self.truncated(value, unit) if unit else value - 1_000 * self.truncated(value, 1_000)
        moment = EPOCH + timedelta(milliseconds=value)
        if ":" in zone:
            hours, minutes = zone.lstrip("+-").split(":")
            east = timedelta(hours=int(hours), minutes=int(minutes))
            local = moment.astimezone(timezone(-east if zone.startswith("-") else east))
        else:
            local = moment.astimezone(ZoneInfo(zone))
        year, month, day = local.year, local.month, local.day
        return {
            "getFullYear": year,
            "getMonth": month - 1,
            "getDate": day,
            "getDayOfMonth": day - 1,
            "getDayOfWeek": int(local.strftime("%w")),
            "getDayOfYear": int(local.strftime("%j")) - 1,
            "getHours": local.hour,
            "getMinutes": local.minute,
            "getSeconds": local.second,
            "getMilliseconds": value % 1_000,
        }[function]

    def converted(self, target: str, kind: str, value: Any) -> Any:
        if target == kind:
            return value
        try:
            match target, kind:
                case "int", "timestamp":
                    return value // 1_000
                case "int", _:
                    return self.fitting(int(value))
                case "double", _:
                    return float("-" if "_" in str(value) else value)
                case "bool", _:
                    known = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
                    return known[{"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}.get(value, value)]
                case _, "timestamp":
                    text = (EPOCH + timedelta(milliseconds=value)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
                    return text + (f".{value % 1_000:03}Z" if value % 1_000 else "Z")
                case _, "duration":
                    whole, part = divmod(abs(value), 1_000)
                    return ("-" if value < 0 else "") + (f"{whole}.{part:03}s" if part else f"{whole}s")
                case _:
                    return str(value).lower()
        except (ValueError, KeyError):
            raise Unknown from None


def kind_of(expression: Expression) -> object:
    checked = check(expression, TYPES)
    assert isinstance(checked, CheckedExpression)
    return checked.type


def reference_result(checked: CheckedExpression, facts: Facts) -> Any:
    try:
        return Reference(facts).value(checked.expression)
    except Unknown:
        return MISSING


@pytest.fixture(params=["masks", "intervals"])
def way_of_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few numeric attributes are answered by masks, many by intervals."""
    monkeypatch.setattr(interval_tests, "MANY_ATTRIBUTES", 32 if request.param == "masks" else 1)


@pytest.mark.usefixtures("way_of_numbers")
@pytest.mark.parametrize("cel_only", [False, True])
def test_closures_and_the_index_agree_with_the_reference(cel_only: bool) -> None:
    seen = {True: 0, False: 0, MISSING: 0}
    for texts, many_facts in batches(PAIRS, cel=cel_only):
        rules = [checked_condition(text, TYPES) for text in texts]
        closures = [compile_expression(rule) for rule in rules]
        index = PredicateIndex.build(rules)
        for facts in many_facts:
            results = [closure(facts) for closure in closures]
            expected = [reference_result(rule, facts) for rule in rules]
            for text, result, wanted in zip(texts, results, expected, strict=True):
                assert result is wanted, (text, facts)
                seen[wanted] += 1
            mask = index.evaluate(facts)
            assert index.evaluate_all([facts]) == [mask], "together they mean what each means alone"
            wrong = [t for bit, t in enumerate(texts) if bool(mask >> bit & 1) is not (expected[bit] is True)]
            assert wrong == [], facts
            assert mask >> len(rules) == 0
    assert min(seen.values()) > sum(seen.values()) * 0.1, "the conditions must not all end alike"


def test_folding_changes_no_result() -> None:
    for texts, many_facts in batches(PAIRS, cel=False):
        for text in texts:
            checked = checked_condition(text, TYPES)
            folded = CheckedExpression(expression=fold(checked.expression), type=checked.type, types=checked.types)
            written, shorter = compile_expression(checked), compile_expression(folded)
            for facts in many_facts:
                assert shorter(facts) is written(facts), (text, facts)


def test_a_restricted_evaluation_reports_exactly_the_rules_of_interest() -> None:
    for texts, many_facts in batches(PAIRS, cel=False):
        index = PredicateIndex.build([checked_condition(text, TYPES) for text in texts])
        random = Random(len(texts))
        for facts in many_facts:
            only = random.getrandbits(len(texts))
            assert index.evaluate(facts, only) == index.evaluate(facts) & only


def test_what_is_rendered_parses_to_the_same_expression() -> None:
    for texts, _ in batches(PAIRS, cel=False):
        for text in texts:
            assert parse(render(parse(text))) == parse(text)


def test_conditions_mean_what_they_mean_in_cel() -> None:
    environment = cel_environment()
    for texts, many_facts in batches(PAIRS, cel=True):
        for text in texts:
            theirs, ours = environment.compile(text), compile_expression(checked_condition(text, TYPES))
            for facts in many_facts:
                result = ours(facts)
                assert cel_result(theirs, facts) is result, (text, facts)


def test_values_and_not_only_conditions_agree_with_cel() -> None:
    environment = cel_environment()
    random = Random(7)
    conditions = Conditions(random, cel=True)
    for _ in range(min(PAIRS, 4_000) // 4):
        text = random.choice([conditions.integer, conditions.text])(3)
        facts = random_facts(random, cel=True)
        ours = compile_expression(checked_expression(text, TYPES))(facts)
        wanted = cel_result(environment.compile(text), facts)
        assert type(ours) is type(wanted), (text, facts)
        assert ours == wanted, (text, facts)
