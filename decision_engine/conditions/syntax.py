"""The syntax tree of a condition. Positions count characters of the text from 0 and take no part in equality."""

from collections.abc import Iterator
from dataclasses import dataclass, field

LiteralValue = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """`18`, `0.5`, `"C3"`, `true`."""

    value: LiteralValue
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLiteral:
    """`["C3", "C4"]`."""

    items: tuple["Expression", ...]
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """An attribute, dots included: `age`, `context.page`, `now`."""

    name: str
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary:
    """`!` or `-` before an operand."""

    operator: str
    operand: "Expression"
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logical:
    """A flat chain of two or more operands joined by `&&` or by `||`."""

    operator: str
    operands: tuple["Expression", ...]
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A comparison, `in`, or arithmetic."""

    operator: str
    left: "Expression"
    right: "Expression"
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditional:
    """`condition ? then : otherwise`."""

    condition: "Expression"
    then: "Expression"
    otherwise: "Expression"
    position: int = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function with its arguments; `x.startsWith(y)` is the call of `startsWith` with x and y."""

    function: str
    arguments: tuple["Expression", ...]
    position: int = field(compare=False)
    method: bool = field(compare=False, default=False)
    """Whether it was written behind its first argument."""


Expression = Literal | ListLiteral | Name | Unary | Logical | Binary | Conditional | Call


def children(expression: Expression) -> tuple[Expression, ...]:
    """The parts an expression is directly made of, left to right."""
    match expression:
        case Unary(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Logical(operands=parts) | ListLiteral(items=parts) | Call(arguments=parts):
            return parts
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return (condition, then, otherwise)
        case _:
            return ()


def names_in(expression: Expression) -> Iterator[str]:
    """Every name the expression mentions, `has(name)` included, in order and with repetitions."""
    if isinstance(expression, Name):
        yield expression.name
    for child in children(expression):
        yield from names_in(child)
