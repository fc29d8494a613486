"""Further subjects linked to a customer: households, companies. Their attributes are read from their members' states.

Nothing is stored twice: an attribute of a household is computed when it is asked for, from the very snapshots its
members' own decisions would see at that moment. So it is exact in whatever order events arrived, and a member who
leaves, is erased or refuses personalisation is gone from it at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from decision_engine.customer import PERSONALISATION, CustomerSnapshot
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.offers import LocalText


class LinkKind(StrEnum):
    """How a profile attribute links."""

    TOGETHER = "by"
    """All customers with the same value belong together, the customer included."""
    TO = "to"
    """The attribute names another customer, such as `corp:91`."""


class Combine(StrEnum):
    """How the members' values become one. `value` takes that of a single linked customer."""

    VALUE = "value"
    COUNT = "count"
    """How many members there are, or how many for whom a boolean attribute is true."""
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A further subject: its name, the profile attribute that links to it, and how many members are read."""

    name: str
    kind: LinkKind
    attribute: str
    most: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedAttribute:
    """An attribute of a linked subject. `attribute` is the members' own; only a count does without."""

    name: str
    link: str
    combine: Combine
    attribute: str | None
    type: AttributeType
    theme: str
    description: LocalText


@dataclass(frozen=True, slots=True)
class LinkRef:
    """Where one customer's link leads: the value of its attribute."""

    link: Link
    value: str


def links_of(links: Sequence[Link], snapshot: CustomerSnapshot, *, shares_by_default: bool) -> tuple[LinkRef, ...]:
    """The links this customer has. One who refused personalisation, or says nothing where that means no, has none:
    nobody else's data is read for them."""
    if not snapshot.consents.get(PERSONALISATION, shares_by_default):
        return ()
    values = ((link, snapshot.attributes.get(link.attribute)) for link in links)
    return tuple(LinkRef(link, value) for link, value in values if isinstance(value, str) and value)


def members_of(
    ref: LinkRef, customer: CustomerSnapshot, others: Sequence[CustomerSnapshot], *, shares_by_default: bool
) -> list[CustomerSnapshot]:
    """Those whose values count. Others are left out who are unknown, have since moved to another household, or refused
    that their data is used to personalise (`shares_by_default` is what silence means)."""
    together = ref.link.kind is LinkKind.TOGETHER
    counted = [
        other
        for other in others
        if other.known
        and other.consents.get(PERSONALISATION, shares_by_default)
        and (not together or other.attributes.get(ref.link.attribute) == ref.value)
    ]
    return [customer, *counted[: ref.link.most - 1]] if together else counted[:1]


def combined(attribute: LinkedAttribute, members: Sequence[CustomerSnapshot]) -> Value | None:
    """The value over these members; None when none of them has one."""
    if attribute.attribute is None:
        return len(members)
    values = [value for member in members if (value := member.attributes.get(attribute.attribute)) is not None]
    if not values:
        return 0 if attribute.combine is Combine.COUNT and members else None
    return _COMBINATIONS[attribute.combine](values)


def read_linked(
    attributes: Sequence[LinkedAttribute], members: Mapping[str, Sequence[CustomerSnapshot]]
) -> dict[str, Value]:
    """Every linked attribute that has a value. `members` are by link name."""
    found = {
        attribute.name: combined(attribute, members[attribute.link])
        for attribute in attributes
        if attribute.link in members
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Value) -> int | float:
    if isinstance(value, str):
        raise TypeError("a text cannot be added up")
    return value


def _mean(values: Sequence[Value]) -> Value:
    return sum(map(_number, values)) / len(values)


_COMBINATIONS: Mapping[Combine, Callable[[Sequence[Value]], Value]] = {
    Combine.VALUE: lambda values: values[0],
    Combine.COUNT: lambda values: sum(value is True for value in values),
    Combine.SUM: lambda values: sum(map(_number, values)),
    Combine.MEAN: _mean,
    Combine.MIN: lambda values: min(map(_number, values)),
    Combine.MAX: lambda values: max(map(_number, values)),
    Combine.ANY: lambda values: any(value is True for value in values),
    Combine.ALL: lambda values: all(value is True for value in values),
}

NUMERIC = frozenset({AttributeType.INT, AttributeType.DOUBLE})


def type_of(combine: Combine, of: AttributeType | None) -> AttributeType | None:
    """The type of a combination over attributes of a type (None: over none); None where it has no meaning."""
    match combine:
        case Combine.COUNT:
            return AttributeType.INT if of in (None, AttributeType.BOOL) else None
        case Combine.VALUE:
            return of
        case Combine.ANY | Combine.ALL:
            return of if of is AttributeType.BOOL else None
        case Combine.MEAN:
            return AttributeType.DOUBLE if of in NUMERIC else None
        case Combine.SUM:
            return of if of in NUMERIC else None
        case _:
            return of if of in NUMERIC or of is AttributeType.TIMESTAMP else None
