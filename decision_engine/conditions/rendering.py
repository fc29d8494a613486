"""Writes an expression back as text, for explanations."""

import json

from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Conditional,
    Expression,
    ListLiteral,
    Literal,
    LiteralValue,
    Logical,
    Name,
    Unary,
)

_LEVEL = {"||": 1, "&&": 2, "in": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
_TIGHTEST = 7


def render(expression: Expression) -> str:
    """A text that parses back to the same expression."""
    match expression:
        case Literal(value=value):
            return _literal(value)
        case Name(name=name):
            return name
        case ListLiteral(items=items):
            return f"[{_listed(items)}]"
        case Call(function=function, arguments=arguments, method=True):
            return f"{_inside(arguments[0], _TIGHTEST)}.{function}({_listed(arguments[1:])})"
        case Call(function=function, arguments=arguments):
            return f"{function}({_listed(arguments)})"
        case Unary(operator=operator, operand=operand):
            return operator + _inside(operand, _TIGHTEST)
        case Logical(operator=operator, operands=operands):
            return f" {operator} ".join(_inside(operand, _LEVEL[operator] + 1) for operand in operands)
        case Binary(operator=operator, left=left, right=right):
            level = _level(expression)
            return f"{_inside(left, level)} {operator} {_inside(right, level + 1)}"
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return f"{_inside(condition, 1)} ? {_inside(then, 1)} : {render(otherwise)}"


def _literal(value: LiteralValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case float():
            text = repr(value)
            return text if "e" not in text or "." in text else text.replace("e", ".0e")
        case _:
            return str(value)


def _listed(items: tuple[Expression, ...]) -> str:
    return ", ".join(render(item) for item in items)


def _inside(expression: Expression, level: int) -> str:
    text = render(expression)
    return f"({text})" if _level(expression) < level else text


def _level(expression: Expression) -> int:
    match expression:
        case Conditional():
            return 0
        case Logical(operator=operator):
            return _LEVEL[operator]
        case Binary(operator=operator):
            return _LEVEL.get(operator, 3)
        case Unary():
            return 6
        case Literal(value=int() | float() as value) if value < 0:
            return 6
        case _:
            return _TIGHTEST
