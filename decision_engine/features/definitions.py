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
    DECAYED = "decayed"
    """Events or amounts, each weighing half as much for every half-life that has passed."""
    SHARE = "share"
    """Which part of the events or amounts meets a further condition."""
    TOP = "top"
    """The most frequent value of a field, or the one with the largest amount."""
    TOP_SHARE = "top_share"
    """Which part of all the most frequent value makes up."""
    USUAL_HOUR = "usual_hour"
    """The hour of the day with most events, 0 to 23."""
    USUAL_WEEKDAY = "usual_weekday"
    """The day of the week with most events, 0 being Sunday as in `getDayOfWeek`."""
    ACTIVE = "active"
    """In how many units of the window something happened."""
    STREAK = "streak"
    """How many units in a row something happened, up to now; the current one may still be empty."""
    LONGEST_STREAK = "longest_streak"
    """The most units in a row within the window."""
    LAST_AT = "last_at"
    """The moment of the last event."""
    FIRST_AT = "first_at"
    SEQUENCE = "sequence"
    """How many events of a second kind followed one of the first within a time."""
    UNFOLLOWED = "unfollowed"
    """How many events of the first kind waited that long in vain for the second."""
    HELD = "held"
    """How many of the products are held; with windows, how many were held so long ago."""
    HELD_CHANGE = "held_change"
    """How many more are held than so long ago."""
    HELD_DAYS = "held_days"
    """For how many days the longest held of the products has been held."""


class RollUp(StrEnum):
    """How the values of a customer's accounts become one."""

    MAX = "max"
    MIN = "min"
    SUM = "sum"
    MEAN = "mean"
    COUNT = "count"


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """So many whole units up to and including the current one: `7d` is today and the six days before.

    Units are `m` and `h` (minutes and hours since the epoch), `d` (calendar days in the strategy's time zone), `w`
    (calendar weeks from Monday) and `mo` (calendar months).
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
class Grouping:
    """The aggregate is taken for each value of a field (an account, a card) and rolled up to the customer.

    With `at_least` only those count whose own value is that large.
    """

    field: str
    over: RollUp
    at_least: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequel:
    """What has to follow an event of the feature, later than it and at the most `within_ms` after it; where `same`
    names a field, with the same value of that field."""

    source: str
    within_ms: int
    where: str | None = None
    same: str | None = None


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
    half_life: Window | None = None
    """Of `decayed`, in hours or days."""
    part: str | None = None
    """Of `share`: the further condition."""
    values: tuple[str, ...] = ()
    """Of `top` and `top_share`: the only values looked at; without them any value is."""
    weigh: str | None = None
    """Of `top` and `top_share`: the amount that decides, in place of the number of events."""
    apart: bool = False
    """Of `ratio`: the long window is taken without the short one."""
    per: Grouping | None = None
    then: Sequel | None = None
    """Of `sequence` and `unfollowed`."""
    products: tuple[str, ...] = ()
    """Of `held` and its kin: the products looked at, all when empty."""


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
    duplicate_memory: int = 24
    """Event keys remembered of each topic."""
    inferred: frozenset[str] = frozenset()
    """Profile attributes that a model of ours worked out about the person: of who refuses personalisation they are
    missing, whatever is stored."""


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
    purposes: tuple[str, ...] = ()
    """What it may be used for; none where the strategy declares no purposes."""
