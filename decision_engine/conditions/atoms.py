"""Recognises the atoms an index can answer: one attribute against constants, or one product held or not."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from decision_engine.conditions.check import NOW, CheckedExpression
from decision_engine.conditions.evaluation import MISSING, Facts, compile_expression
from decision_engine.conditions.normal_form import Atom
from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Expression,
    ListLiteral,
    Literal,
    Name,
    children,
    names_in,
)
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import Value

_NEGATED = {
    "==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
    "in": "not in", "not in": "in", "known": "unknown", "unknown": "known",
}  # fmt: skip
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_ORDERINGS = frozenset({"<", "<=", ">", ">="})
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, constants: value in constants,
    "not in": lambda value, constants: value not in constants,
}
_EXACT_INTEGERS = 2**53
"""Integers up to here are exact as doubles."""


@dataclass(frozen=True, slots=True)
class AttributeTest:
    """`attribute operator constants`; `known` and `unknown` take no constants, `in` and `not in` any number."""

    attribute: str
    operator: str
    constants: tuple[Value, ...]

    def holds(self, value: Value | None) -> bool:
        """Whether it is true of a value; None is an unknown one."""
        if value is None:
            return self.operator == "unknown"
        if self.operator in ("known", "unknown"):
            return self.operator == "known"
        against = self.constants if self.operator in ("in", "not in") else self.constants[0]
        return _TESTS[self.operator](value, against)


@dataclass(frozen=True, slots=True)
class HoldingTest:
    """The product must be held, or must not be."""

    product: str
    held: bool


def indexable(atom: Atom, types: Mapping[str, Kind]) -> AttributeTest | HoldingTest | None:
    """The test an index can answer, or None if the atom has to be evaluated."""
    match atom.expression:
        case Name(name=name) if types.get(name) is Kind.BOOL:
            return AttributeTest(name, "==", (not atom.negated,))
        case Call(function="has", arguments=(Name(name=name),)) if name != NOW:
            return AttributeTest(name, "unknown" if atom.negated else "known", ())
        case Call(function="has_product", arguments=(Literal(value=str(product)),)):
            return HoldingTest(product, not atom.negated)
        case Binary():
            test = _membership(atom.expression) or _comparison(atom.expression)
            if test is None or not _suits(test, types.get(test.attribute)):
                return None
            return AttributeTest(test.attribute, _NEGATED[test.operator], test.constants) if atom.negated else test
        case _:
            return None


def _membership(binary: Binary) -> AttributeTest | None:
    if binary.operator != "in" or not isinstance(binary.left, Name) or not isinstance(binary.right, ListLiteral):
        return None
    constants = [_constant(item) for item in binary.right.items]
    known = tuple(constant for constant in constants if constant is not None)
    return AttributeTest(binary.left.name, "in", known) if len(known) == len(constants) else None


def _comparison(binary: Binary) -> AttributeTest | None:
    symbol, left, right = binary.operator, binary.left, binary.right
    if symbol not in _MIRRORED:
        return None
    if not isinstance(left, Name):
        symbol, left, right = _MIRRORED[symbol], right, left
    if not isinstance(left, Name):
        return None
    constant = _constant(right)
    return None if constant is None else AttributeTest(left.name, symbol, (constant,))


def _suits(test: AttributeTest, kind: Kind | None) -> bool:
    """Texts are looked up, not ordered; a double is compared exactly only with what a double can hold."""
    if kind is None:
        return False
    if kind is Kind.STRING:
        return test.operator not in _ORDERINGS
    if kind is Kind.DOUBLE:
        return all(abs(constant) <= _EXACT_INTEGERS for constant in test.constants if isinstance(constant, int))
    return True


def _constant(expression: Expression) -> Value | None:
    """The value of an expression that reads no facts; None if it reads some or has no value."""
    if any(True for _ in names_in(expression)) or _asks_holdings(expression):
        return None
    kind = Kind.BOOL  # only decides whether the result is turned into a float, which a constant need not be
    checked = CheckedExpression(expression=expression, type=kind, types={})
    value = compile_expression(checked)(Facts({}, frozenset(), 0))
    return None if value is MISSING else value


def _asks_holdings(expression: Expression) -> bool:
    if isinstance(expression, Call) and expression.function == "has_product":
        return True
    return any(_asks_holdings(child) for child in children(expression))
