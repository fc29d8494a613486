"""How a strategy declares what is known about a customer: attributes, features, derived features."""

from dataclasses import dataclass
from enum import StrEnum

from decision_engine.offers import LocalText

Value = bool | int | float | str
"""An attribute value; a missing one is absent from the mapping, never None."""


class AttributeType(StrEnum):
    """Types of the condition language that attributes have."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    STRING = "string"
    TIMESTAMP = "timestamp"
    """Carried as epoch milliseconds (int); conditions compare it with `timestamp("…")` and `now`."""


class Aggregate(StrEnum):
    """What a feature computes over the events its filter lets through."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    LAST = "last"
    FIRST = "first"
    DAYS_SINCE_LAST = "days_since_last"
    DAYS_SINCE_FIRST = "days_since_first"
    DISTINCT = "distinct"
    RATIO = "ratio"
    """Mean per day over the first window divided by mean per day over the second (windows are pairs)."""
    TREND = "trend"
    """(window − the equally long window before it) / the window before it."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """So many whole units up to and including the current one: `7d` is today and the six days before.

    Units are `h` (hours since the epoch) and `d` (calendar days in the strategy's time zone).
    """

    unit: str
    length: int

    def __str__(self) -> str:
        return f"{self.length}{self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileAttribute:
    """A plain value set by `bank.profile.updated`; the newest by event time wins."""

    name: str
    type: AttributeType
    theme: str
    description: LocalText
    default: Value | None = None
    values: tuple[str, ...] = ()
    sensitive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDefinition:
    """A feature over events of one type. With windows it yields `<name>_<window>` attributes
    (`<name>_<short>_<long>` for ratios); without, one attribute `<name>` over the whole life."""

    name: str
    source: str
    aggregate: Aggregate
    theme: str
    description: LocalText
    field: str | None = None
    where: str | None = None
    windows: tuple[Window, ...] = ()
    window_pairs: tuple[tuple[Window, Window], ...] = ()
    default: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedFeature:
    """An attribute computed from others by an expression of the condition language."""

    name: str
    expression: str
    type: AttributeType
    theme: str
    description: LocalText


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAttribute:
    """A fact of the request that conditions may name as `context.<name>`."""

    name: str
    type: AttributeType
    description: LocalText


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDeclarations:
    """Everything the strategy declares about customers, in file order."""

    time_zone: str
    profile: tuple[ProfileAttribute, ...] = ()
    features: tuple[FeatureDefinition, ...] = ()
    derived: tuple[DerivedFeature, ...] = ()
    context: tuple[ContextAttribute, ...] = ()
    duplicate_memory: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeInfo:
    """One line of the data dictionary."""

    name: str
    type: AttributeType
    theme: str
    description: LocalText
    source: str
    default: Value | None
    definition: str
    sensitive: bool = False
