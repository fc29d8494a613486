"""The types that names must have for an expression to make sense, where no schema tells them."""

from decision_engine.conditions.syntax import (
    Binary,
    Call,
    Expression,
    ListLiteral,
    Literal,
    Logical,
    Name,
    Unary,
    children,
)
from decision_engine.features.definitions import AttributeType

_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_TEXT_FUNCTIONS = frozenset({"startsWith", "endsWith", "contains", "size"})


def types_by_use(expression: Expression, wanted: AttributeType) -> dict[str, AttributeType]:
    """For each name its type by what it is compared or combined with; text where nothing tells. `wanted` is the type
    of the whole expression."""
    types: dict[str, AttributeType] = {}
    _note_use(expression, wanted, types)
    return types


def _note_use(expression: Expression, wanted: AttributeType | None, types: dict[str, AttributeType]) -> None:
    match expression:
        case Name(name=name):
            if wanted is not None or name not in types:
                types[name] = wanted or AttributeType.STRING
        case Binary(operator=symbol, left=left, right=right):
            kind = _known_type(right) or _known_type(left)
            if symbol not in _COMPARISONS:
                kind = kind or AttributeType.INT
            _note_use(left, kind, types)
            _note_use(right, kind, types)
        case Logical() | Unary(operator="!"):
            for part in children(expression):
                _note_use(part, AttributeType.BOOL, types)
        case Call(function=function, arguments=arguments):
            kind = AttributeType.STRING if function in _TEXT_FUNCTIONS else None
            for argument in arguments:
                _note_use(argument, kind, types)
        case _:
            for part in children(expression):
                _note_use(part, wanted, types)


def _known_type(expression: Expression) -> AttributeType | None:
    match expression:
        case Literal(value=bool()):
            return AttributeType.BOOL
        case Literal(value=str()):
            return AttributeType.STRING
        case Literal(value=float()):
            return AttributeType.DOUBLE
        case Literal(value=int()):
            return AttributeType.INT
        case ListLiteral(items=(first, *_)):
            return _known_type(first)
        case Call(function="timestamp") | Name(name="now"):
            return AttributeType.TIMESTAMP
        case Binary() | Unary():
            return next((kind for part in children(expression) if (kind := _known_type(part)) is not None), None)
        case _:
            return None
