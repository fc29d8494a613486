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
            found = constant_test(atom.expression)
            if found is None or not isinstance(found.subject, Name):
                return None
            test = AttributeTest(found.subject.name, found.operator, found.constants)
            if not _suits(test, types.get(test.attribute)):
                return None
            return AttributeTest(test.attribute, _NEGATED[test.operator], test.constants) if atom.negated else test
        case _:
            return None


@dataclass(frozen=True, slots=True)
class ConstantTest:
    """`subject operator constants`, where only the subject reads facts; `in` has any number of constants."""

    subject: Expression
    operator: str
    constants: tuple[Value, ...]


def constant_test(binary: Binary) -> ConstantTest | None:
    """A comparison or membership against constants, the subject put on its left; None if it is none."""
    if binary.operator == "in":
        return _membership(binary)
    if binary.operator not in _MIRRORED:
        return None
    constant, symbol, subject = constant_value(binary.right), binary.operator, binary.left
    if constant is None:
        constant, symbol, subject = constant_value(binary.left), _MIRRORED[symbol], binary.right
    if constant is None or not reads_facts(subject):
        return None
    return ConstantTest(subject, symbol, (constant,))


def _membership(binary: Binary) -> ConstantTest | None:
    if not isinstance(binary.right, ListLiteral) or not reads_facts(binary.left):
        return None
    constants = [constant_value(item) for item in binary.right.items]
    known = tuple(constant for constant in constants if constant is not None)
    return ConstantTest(binary.left, "in", known) if len(known) == len(constants) else None


def negated(operator: str) -> str:
    """The operator that holds of a known value exactly when this one does not."""
    return _NEGATED[operator]


def _suits(test: AttributeTest, kind: Kind | None) -> bool:
    """Texts are looked up, not ordered; a double is compared exactly only with what a double can hold."""
    if kind is None:
        return False
    if kind is Kind.STRING:
        return test.operator not in _ORDERINGS
    if kind is Kind.DOUBLE:
        return all(abs(constant) <= _EXACT_INTEGERS for constant in test.constants if isinstance(constant, int))
    return True


def mirrored(operator: str) -> str:
    """The operator that says the same with its sides exchanged."""
    return _MIRRORED[operator]


def constant_value(expression: Expression) -> Value | None:
    """The value of an expression that reads no facts; None if it reads some or has no value."""
    if reads_facts(expression):
        return None
    kind = Kind.BOOL  # only decides whether the result is turned into a float, which a constant need not be
    checked = CheckedExpression(expression=expression, type=kind, types={})
    value = compile_expression(checked)(Facts({}, frozenset(), 0))
    return None if value is MISSING else value


def reads_facts(expression: Expression) -> bool:
    """Whether its value depends on anything: a name, a product, the time."""
    if isinstance(expression, Name) or (isinstance(expression, Call) and expression.function == "has_product"):
        return True
    return any(reads_facts(child) for child in children(expression))
