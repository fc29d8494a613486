"""The least and the greatest value of what is computed: a month is from 0 to 11 whoever asks."""

from collections.abc import Mapping

from decision_engine.conditions.syntax import Binary, Call, Expression, Name
from decision_engine.conditions.typing_rules import Kind

_OF_MOMENT = {
    "getFullYear": (1, 9_999),
    "getMonth": (0, 11),
    "getDate": (1, 31),
    "getDayOfMonth": (0, 30),
    "getDayOfWeek": (0, 6),
    "getDayOfYear": (0, 365),
    "getHours": (0, 23),
    "getMinutes": (0, 59),
    "getSeconds": (0, 59),
    "getMilliseconds": (0, 999),
}
_LONGEST = 2**62
"""No text or list comes near."""


def bounds_of(expression: Expression, kinds: Mapping[str, Kind]) -> tuple[int, int] | None:
    """The bounds of a size, or of a field of a moment; None where none are known. `kinds` has `now`, too."""
    match expression:
        case Call(function="size"):
            return (0, _LONGEST)
        case Call(function=function, arguments=(of, *_)) if function in _OF_MOMENT and _is_moment(of, kinds):
            return _OF_MOMENT[function]
        case _:
            return None


def _is_moment(expression: Expression, kinds: Mapping[str, Kind]) -> bool:
    """Whether it is certainly a moment and no duration, whose hours have no bounds."""
    match expression:
        case Name(name=name):
            return kinds.get(name) is Kind.TIMESTAMP
        case Call(function="timestamp"):
            return True
        case Binary(operator="+", left=left, right=right):
            return _is_moment(left, kinds) or _is_moment(right, kinds)
        case Binary(operator="-", left=left, right=right):
            return _is_moment(left, kinds) and isinstance(right, Call) and right.function == "duration"
        case _:
            return False
