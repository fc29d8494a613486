"""Works out beforehand what a condition says whoever asks: `age > 6 * 3`, `vip && true`, `1 == 2 || vip`.

The folded condition has the same result for all facts, unknown included.
"""

from collections.abc import Sequence
from dataclasses import replace

from decision_engine.conditions.atoms import constant_value, reads_facts
from decision_engine.conditions.check import NOW
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

_KEPT = frozenset({"timestamp", "duration", "has_product"})
"""Calls that have no literal of their own."""


def fold(condition: Expression) -> Expression:
    """A checked condition with everything constant worked out; a `Literal` if it says the same to everyone."""
    match condition:
        case Call(function="has", arguments=(Name(name=name),)) if name == NOW:
            return Literal(value=True, position=condition.position)
        case Logical():
            return _logical(condition)
        case Unary(operator="!", operand=operand):
            return _negation(condition, fold(operand))
        case Conditional():
            return _choice(condition)
        case Binary(left=left, right=right):
            folded = replace(condition, left=_part(left), right=_part(right))
            return _constant_truth(folded) or folded
        case Call():
            return _constant_truth(condition) or condition
        case _:
            return condition


def _logical(logical: Logical) -> Expression:
    deciding = logical.operator == "||"
    kept: list[Expression] = []
    for operand in map(fold, logical.operands):
        if isinstance(operand, Literal):
            if operand.value is deciding:
                return Literal(value=deciding, position=logical.position)
        elif isinstance(operand, Logical) and operand.operator == logical.operator:
            kept += operand.operands
        else:
            kept.append(operand)
    return _joined(logical, kept)


def _joined(logical: Logical, operands: Sequence[Expression]) -> Expression:
    if not operands:
        return Literal(value=logical.operator == "&&", position=logical.position)
    return operands[0] if len(operands) == 1 else replace(logical, operands=tuple(operands))


def _negation(negation: Unary, operand: Expression) -> Expression:
    match operand:
        case Literal(value=bool(value)):
            return Literal(value=not value, position=negation.position)
        case Unary(operator="!", operand=inner):
            return inner
        case _:
            return replace(negation, operand=operand)


def _choice(choice: Conditional) -> Expression:
    condition, then, otherwise = fold(choice.condition), fold(choice.then), fold(choice.otherwise)
    if isinstance(condition, Literal):
        return then if condition.value is True else otherwise
    return replace(choice, condition=condition, then=then, otherwise=otherwise)


def _part(expression: Expression) -> Expression:
    """A part of any kind: a number or text that is constant becomes a literal, all else stays as written.

    Choices stay too: `true ? 1 : 2.5` is a double, which the literal 1 would not be.
    """
    if isinstance(expression, Literal | ListLiteral) or reads_facts(expression) or _has_no_literal(expression):
        return expression
    value = constant_value(expression)
    return expression if value is None else Literal(value=value, position=expression.position)


def _has_no_literal(expression: Expression) -> bool:
    """Moments and lengths of time would turn into plain numbers."""
    match expression:
        case Conditional():
            return True
        case Call(function=function) if function in _KEPT:
            return True
        case Binary(left=left, right=right):
            return _has_no_literal(left) or _has_no_literal(right)
        case Unary(operand=operand):
            return _has_no_literal(operand)
        case Call(arguments=arguments):
            return any(_has_no_literal(argument) for argument in arguments)
        case _:
            return False


def _constant_truth(expression: Expression) -> Literal | None:
    """The literal of a comparison or call that reads nothing; one without a value stays as it is: never true."""
    value = None if reads_facts(expression) else constant_value(expression)
    return Literal(value=value, position=expression.position) if isinstance(value, bool) else None
