"""Which types the operators and functions take and give. None stands for "does not fit"."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from decision_engine.conditions.syntax import LiteralValue
from decision_engine.features.definitions import AttributeType


class Kind(StrEnum):
    """The type of a single value: those of attributes, and spans of time."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    TIMESTAMP = "timestamp"
    DURATION = "duration"


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of values of one kind (int and double may mix); None for the empty list."""

    element: Kind | None

    def __str__(self) -> str:
        return f"list of {self.element}" if self.element else "empty list"


ValueType = Kind | ListType
NUMBERS = frozenset({Kind.INT, Kind.DOUBLE})
ORDERED = NUMBERS | {Kind.STRING, Kind.TIMESTAMP, Kind.DURATION}
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})

_TIME_ARITHMETIC = {
    ("+", Kind.TIMESTAMP, Kind.DURATION): Kind.TIMESTAMP,
    ("+", Kind.DURATION, Kind.TIMESTAMP): Kind.TIMESTAMP,
    ("+", Kind.DURATION, Kind.DURATION): Kind.DURATION,
    ("-", Kind.TIMESTAMP, Kind.TIMESTAMP): Kind.DURATION,
    ("-", Kind.TIMESTAMP, Kind.DURATION): Kind.TIMESTAMP,
    ("-", Kind.DURATION, Kind.DURATION): Kind.DURATION,
    ("+", Kind.STRING, Kind.STRING): Kind.STRING,
}


def kind_of(attribute: AttributeType) -> Kind:
    """The kind an attribute's values have in conditions."""
    return Kind(attribute.value)


def kind_of_literal(value: LiteralValue) -> Kind:
    """The kind of a literal."""
    match value:
        case bool():
            return Kind.BOOL
        case int():
            return Kind.INT
        case float():
            return Kind.DOUBLE
        case _:
            return Kind.STRING


def unified(left: ValueType, right: ValueType) -> ValueType | None:
    """The one type both have, numbers widening to double."""
    if left == right:
        return left
    if left in NUMBERS and right in NUMBERS:
        return Kind.DOUBLE
    return None


def list_of(items: Sequence[ValueType]) -> ListType | None:
    """The type of a list with these entries."""
    if not items:
        return ListType(None)
    element: ValueType | None = items[0]
    for item in items[1:]:
        element = element and unified(element, item)
    return ListType(element) if isinstance(element, Kind) else None


def binary_type(operator: str, left: ValueType, right: ValueType) -> Kind | None:
    """The type of a comparison, a membership or arithmetic."""
    if operator == "in":
        return Kind.BOOL if _may_contain(right, left) else None
    if isinstance(left, ListType) or isinstance(right, ListType):
        return None
    if operator in COMPARISONS:
        fits = unified(left, right) is not None and (operator in ("==", "!=") or left in ORDERED)
        return Kind.BOOL if fits else None
    if left in NUMBERS and right in NUMBERS:
        if operator == "%":
            return Kind.INT if left is right is Kind.INT else None
        return Kind.INT if left is right is Kind.INT else Kind.DOUBLE
    return _TIME_ARITHMETIC.get((operator, left, right))


def _may_contain(container: ValueType, item: ValueType) -> bool:
    if not isinstance(container, ListType) or isinstance(item, ListType):
        return False
    return container.element is None or unified(container.element, item) is not None


def _text_test(arguments: Sequence[ValueType]) -> Kind | None:
    return Kind.BOOL if list(arguments) == [Kind.STRING, Kind.STRING] else None


def _size(arguments: Sequence[ValueType]) -> Kind | None:
    fits = len(arguments) == 1 and (arguments[0] is Kind.STRING or isinstance(arguments[0], ListType))
    return Kind.INT if fits else None


def _extreme(arguments: Sequence[ValueType]) -> Kind | None:
    """`min(1, x)` or `min([1, x])`: numbers only."""
    listed = list_of(arguments)
    if len(arguments) == 1 and isinstance(arguments[0], ListType):
        listed = arguments[0]
    return listed.element if listed is not None and listed.element in NUMBERS else None


def _magnitude(arguments: Sequence[ValueType]) -> Kind | None:
    kind = arguments[0] if len(arguments) == 1 else None
    return kind if isinstance(kind, Kind) and kind in NUMBERS else None


CONVERTIBLE = {
    "int": frozenset({Kind.INT, Kind.DOUBLE, Kind.STRING, Kind.TIMESTAMP}),
    "double": frozenset({Kind.INT, Kind.DOUBLE, Kind.STRING}),
    "string": frozenset({Kind.STRING, Kind.INT, Kind.BOOL, Kind.TIMESTAMP, Kind.DURATION}),
    "bool": frozenset({Kind.BOOL, Kind.STRING}),
}
"""Which kinds a conversion takes. No text of a double: its spelling differs from one CEL to the next."""
_SPAN_FIELDS = frozenset({"getHours", "getMinutes", "getSeconds", "getMilliseconds"})
TIME_FIELDS = _SPAN_FIELDS | {
    "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear",
}  # fmt: skip


def _conversion(name: str) -> "Function":
    def result(arguments: Sequence[ValueType]) -> Kind | None:
        return Kind(name) if len(arguments) == 1 and arguments[0] in CONVERTIBLE[name] else None

    return Function(f"one {', '.join(sorted(CONVERTIBLE[name]))}", result)


def _time_field(name: str) -> "Function":
    def result(arguments: Sequence[ValueType]) -> Kind | None:
        kinds = list(arguments)
        of_moment = kinds in ([Kind.TIMESTAMP], [Kind.TIMESTAMP, Kind.STRING])
        return Kind.INT if of_moment or (name in _SPAN_FIELDS and kinds == [Kind.DURATION]) else None

    of = "a moment or a duration" if name in _SPAN_FIELDS else "a moment"
    return Function(f'{of}, a moment also with a zone: now.{name}("Asia/Shanghai")', result)


@dataclass(frozen=True, slots=True)
class Function:
    """A function over values: what it takes, in words, and the type it gives."""

    takes: str
    result: Callable[[Sequence[ValueType]], Kind | None]


FUNCTIONS = {
    "size": Function("one text or list", _size),
    "startsWith": Function("two texts: x.startsWith(y)", _text_test),
    "endsWith": Function("two texts: x.endsWith(y)", _text_test),
    "contains": Function("two texts: x.contains(y)", _text_test),
    "min": Function("numbers", _extreme),
    "max": Function("numbers", _extreme),
    "abs": Function("one number", _magnitude),
    **{name: _conversion(name) for name in CONVERTIBLE},
    **{name: _time_field(name) for name in sorted(TIME_FIELDS)},
}
SPECIAL_FUNCTIONS = frozenset({"has", "has_product", "timestamp", "duration"})
"""Functions whose argument is a name or a fixed text rather than a value."""

METHODS = frozenset({"startsWith", "endsWith", "contains", "size"}) | TIME_FIELDS
"""Functions that may be written behind their first argument."""
REFUSED_FUNCTIONS = {
    "matches": "a pattern can take unboundedly long; use startsWith, endsWith, contains or in",
    "map": "it gives a list; exists, all and exists_one over a list are there",
    "filter": "it gives a list; exists, all and exists_one over a list are there",
    "uint": "there are no unsigned numbers; use int",
    "bytes": "there are no bytes; use text",
    "type": "every name has one type, told by the data dictionary",
    "dyn": "every name has one type, told by the data dictionary",
}
"""What CEL has and this language leaves out, with the reason given to who writes it."""
