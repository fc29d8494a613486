"""What conditions are asked about, and the value of what is not known."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import Value

LARGEST_DOUBLE = 1.7976931348623157e308


class Missing(Enum):
    """The value of what is not known."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Facts:
    """What conditions are asked about. `values` holds attributes by name, each of its declared type, the unknown
    ones absent; a double that is not finite counts as unknown. `now_ms` is epoch milliseconds."""

    values: Mapping[str, Value]
    holdings: frozenset[str]
    now_ms: int


def well_typed(facts: Facts, types: Mapping[str, Kind]) -> Facts:
    """The facts without the values that are not of their declared types."""
    kept = {name: value for name, value in facts.values.items() if name in types and _is_of(value, types[name])}
    return Facts(kept, facts.holdings, facts.now_ms)


def _is_of(value: object, kind: Kind) -> bool:
    match kind:
        case Kind.BOOL:
            return isinstance(value, bool)
        case Kind.STRING:
            return isinstance(value, str)
        case Kind.DOUBLE:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, int) and not isinstance(value, bool)
