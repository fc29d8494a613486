"""The index, the closures, a reference evaluator written for this test, and Google's CEL agree on random conditions.

`KAIROS_CONDITION_PAIRS` sets how many pairs of condition and facts are compared (default 4,000).
"""

import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from cel_expr_python import cel

from decision_engine.conditions.check import CheckedExpression, checked_condition, checked_expression
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
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
from decision_engine.features.definitions import AttributeType, Value

PAIRS = int(os.environ.get("KAIROS_CONDITION_PAIRS", "4000"))
RULES_A_BATCH = 40
FACTS_A_BATCH = 10
NOW = 1_795_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

INT, DOUBLE, STRING = AttributeType.INT, AttributeType.DOUBLE, AttributeType.STRING
TYPES = {
    "age": INT,
    "count": INT,
    "share": DOUBLE,
    "balance": DOUBLE,
    "city": STRING,
    "context.page": STRING,
    "vip": AttributeType.BOOL,
    "open": AttributeType.BOOL,
    "assessed": AttributeType.TIMESTAMP,
}
TEXTS = ("", "a", "ab", "abc", "é", "北京", 'q"q', "\\")
INTS = (-3, -1, 0, 1, 2, 3, 7, 2**62, -(2**62))
DOUBLES = (-2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5, 3.0, 1e300)
"""The last one lets products leave the range: CEL goes on with infinity, here that is unknown."""
MOMENTS = ("2026-11-20T08:00:00+08:00", "2026-11-21T00:00:00Z", "2024-02-29T23:59:59.999Z")
DURATIONS = ("24h", "1h30m", "-90s", "8760h", "0s")
PRODUCTS = ("gold", "loan", "fund")


class Conditions:
    """Writes random conditions. Within `cel` it keeps to what CEL itself accepts."""

    def __init__(self, random: Random, *, cel: bool) -> None:
        self.random = random
        self.cel = cel

    def boolean(self, depth: int) -> str:
        choices = [self.comparison, self.comparison, self.membership, self.flag]
        if depth > 0:
            choices += [self.conjunction, self.disjunction, self.negation, self.choice, self.equivalence]
        return self.random.choice(choices)(depth - 1)

    def flag(self, _: int) -> str:
        kinds = ["vip", "open", "true", "false", self.text_test()]
        if not self.cel:
            kinds += [f"has({self.random.choice(list(TYPES))})", f'has_product("{self.random.choice(PRODUCTS)}")'] * 2
        return self.random.choice(kinds)

    def conjunction(self, depth: int) -> str:
        return " && ".join(f"({self.boolean(depth)})" for _ in range(self.random.randint(2, 4)))

    def disjunction(self, depth: int) -> str:
        return " || ".join(f"({self.boolean(depth)})" for _ in range(self.random.randint(2, 3)))

    def negation(self, depth: int) -> str:
        return f"!({self.boolean(depth)})"

    def choice(self, depth: int) -> str:
        return f"({self.boolean(depth)} ? {self.boolean(depth)} : {self.boolean(depth)})"

    def equivalence(self, depth: int) -> str:
        return f"({self.boolean(depth)}) {self.random.choice(['==', '!='])} ({self.boolean(depth)})"

    def comparison(self, depth: int) -> str:
        operator = self.random.choice(["==", "!=", "<", "<=", ">", ">="])
        kinds = [self.integer, self.double, self.text, self.moment, self.span]
        left = right = self.random.choice(kinds)
        if not self.cel and left in (self.integer, self.double) and self.random.random() < 0.3:
            right = self.random.choice([self.integer, self.double])
        return f"{left(depth)} {operator} {right(depth)}"

    def membership(self, depth: int) -> str:
        kind = self.random.choice([self.integer, self.double, self.text])
        entries = ", ".join(kind(-1) for _ in range(self.random.randint(1, 4)))
        return f"{kind(depth)} in [{entries}]"

    def integer(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.35:
            left, right = self.integer(depth - 1), self.integer(depth - 1)
            if not self.cel and self.random.random() < 0.3:
                return f"{self.random.choice(['min', 'max'])}({left}, {right})"
            return f"({left} {self.random.choice('+-*/%')} {right})"
        return self.random.choice(["age", "count", str(self.random.choice(INTS)), f"size({self.text(-1)})", "-age"])

    def double(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.35:
            left = self.double(depth - 1)
            if self.random.random() < 0.3:
                return f"({left} / {self.random.choice(['0.5', '2.0', '-4.0'])})"
            if not self.cel and self.random.random() < 0.3:
                return f"abs({left} - {self.integer(-1)})"
            return f"({left} {self.random.choice('+-*')} {self.double(depth - 1)})"
        return self.random.choice(
            ["share", "balance", repr(self.random.choice(doubles(cel=self.cel))).replace("e+", "e")]
        )

    def text(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.2:
            return f"({self.text(-1)} + {self.text(-1)})"
        return self.random.choice(["city", "context.page", quoted(self.random.choice(TEXTS))])

    def text_test(self) -> str:
        return f"{self.text(-1)}.{self.random.choice(['startsWith', 'endsWith', 'contains'])}({self.text(-1)})"

    def moment(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.3:
            return f"({self.moment(-1)} {self.random.choice('+-')} {self.span(-1)})"
        return self.random.choice(["assessed", "now", f'timestamp("{self.random.choice(MOMENTS)}")'])

    def span(self, depth: int) -> str:
        if depth > 0 and self.random.random() < 0.4:
            return f"({self.moment(-1)} - {self.moment(-1)})"
        return f'duration("{self.random.choice(DURATIONS)}")'


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def doubles(*, cel: bool) -> tuple[float, ...]:
    return DOUBLES[:-1] if cel else DOUBLES


def random_facts(random: Random, *, cel: bool) -> Facts:
    candidates: dict[str, tuple[Value, ...]] = {
        "age": INTS, "count": INTS, "share": doubles(cel=cel), "balance": doubles(cel=cel),
        "city": TEXTS, "context.page": TEXTS,
        "vip": (True, False), "open": (True, False),
        "assessed": (NOW, NOW - 86_400_000, 1_763_596_800_000, 0),
    }  # fmt: skip
    values = {name: random.choice(known) for name, known in candidates.items() if random.random() < 0.8}
    return Facts(values, frozenset(p for p in PRODUCTS if random.random() < 0.4), NOW)


def batches(*, cel: bool) -> Iterator[tuple[list[str], list[Facts]]]:
    for seed in range(max(1, PAIRS // (RULES_A_BATCH * FACTS_A_BATCH))):
        random = Random(seed if cel else f"own {seed}")
        conditions = Conditions(random, cel=cel)
        yield (
            [conditions.boolean(random.randint(0, 3)) for _ in range(RULES_A_BATCH)],
            [random_facts(random, cel=cel) for _ in range(FACTS_A_BATCH)],
        )


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


def reference_result(checked: CheckedExpression, facts: Facts) -> Any:
    try:
        return Reference(facts).value(checked.expression)
    except Unknown:
        return MISSING


@pytest.mark.parametrize("cel_only", [False, True])
def test_closures_and_the_index_agree_with_the_reference(cel_only: bool) -> None:
    seen = {True: 0, False: 0, MISSING: 0}
    for texts, many_facts in batches(cel=cel_only):
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
            wrong = [t for bit, t in enumerate(texts) if bool(mask >> bit & 1) is not (expected[bit] is True)]
            assert wrong == [], facts
            assert mask >> len(rules) == 0
    assert min(seen.values()) > sum(seen.values()) * 0.1, "the conditions must not all end alike"


def test_a_restricted_evaluation_reports_exactly_the_rules_of_interest() -> None:
    for texts, many_facts in batches(cel=False):
        index = PredicateIndex.build([checked_condition(text, TYPES) for text in texts])
        random = Random(len(texts))
        for facts in many_facts:
            only = random.getrandbits(len(texts))
            assert index.evaluate(facts, only) == index.evaluate(facts) & only


def test_what_is_rendered_parses_to_the_same_expression() -> None:
    for texts, _ in batches(cel=False):
        for text in texts:
            assert parse(render(parse(text))) == parse(text)


def cel_environment() -> Any:
    kinds = {
        INT: cel.Type.INT, DOUBLE: cel.Type.DOUBLE, STRING: cel.Type.STRING,
        AttributeType.BOOL: cel.Type.BOOL, AttributeType.TIMESTAMP: cel.Type.TIMESTAMP,
    }  # fmt: skip
    return cel.NewEnv(variables={name: kinds[kind] for name, kind in TYPES.items()} | {"now": cel.Type.TIMESTAMP})


def cel_result(expression: Any, facts: Facts) -> Any:
    """What CEL computes; its errors (a missing name, an overflow, a division by zero) are our MISSING."""
    data: dict[str, object] = {**facts.values, "now": EPOCH + timedelta(milliseconds=facts.now_ms)}
    if "assessed" in data:
        data["assessed"] = EPOCH + timedelta(milliseconds=int(facts.values["assessed"]))
    result = expression.eval(data=data)
    return MISSING if result.type() == cel.Type.ERROR else result.value()


def test_conditions_mean_what_they_mean_in_cel() -> None:
    environment = cel_environment()
    for texts, many_facts in batches(cel=True):
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
