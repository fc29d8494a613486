"""Labels on customers: tags in six classes for people to read, and segments, named conditions for rules too."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from decision_engine.conditions.check import checked_expression
from decision_engine.conditions.evaluation import Facts, Missing, compile_expression
from decision_engine.customer import CustomerSnapshot
from decision_engine.features.definitions import AttributeInfo, Value
from decision_engine.offers import LocalText

SEGMENT_PREFIX = "segment_"
"""A segment `wealthy` is the boolean attribute `segment_wealthy`."""


class TagClass(StrEnum):
    """What a tag says something about."""

    PROFILE = "profile"
    VALUE = "value"
    BEHAVIOUR = "behaviour"
    PREFERENCE = "preference"
    RISK = "risk"
    LIFE_CYCLE = "life_cycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A label a customer carries while its condition holds."""

    name: str
    tag_class: TagClass
    title: LocalText
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A named condition: everybody for whom it holds belongs to it."""

    name: str
    title: LocalText
    when: str

    @property
    def attribute(self) -> str:
        """The boolean attribute that rules name."""
        return SEGMENT_PREFIX + self.name


class Labelled(Protocol):
    """A strategy's tags, and the attributes their conditions name."""

    @property
    def tags(self) -> tuple[Tag, ...]: ...

    @property
    def dictionary(self) -> Mapping[str, AttributeInfo]: ...


@dataclass(frozen=True, slots=True)
class TagReader:
    """The tags of a strategy, ready to be read."""

    conditions: tuple[tuple[Tag, Callable[[Facts], Value | Missing]], ...]

    @classmethod
    def of(cls, strategy: Labelled) -> "TagReader":
        """Compiles the conditions, which the strategy's loading has checked."""
        types = {name: info.type for name, info in strategy.dictionary.items()}
        return cls(tuple((tag, compile_expression(checked_expression(tag.when, types))) for tag in strategy.tags))

    def read(self, snapshot: CustomerSnapshot, now_ms: int) -> Iterable[Tag]:
        """The tags the customer carries, in the order of the strategy. What cannot be told is not carried."""
        facts = Facts(snapshot.attributes, snapshot.holdings, now_ms)
        return [tag for tag, holds in self.conditions if holds(facts) is True] if snapshot.known else []
