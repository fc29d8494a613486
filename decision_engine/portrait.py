"""What people who serve a customer see of them at a glance, as a strategy declares it. It decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from decision_engine.offers import LocalText


class SeriesUnit(StrEnum):
    """What the numbers of a series are."""

    MONEY = "money"
    """Minor units of the strategy's currency."""
    NUMBER = "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A windowed attribute whose course is drawn: its value now, one window ago, two windows ago, …"""

    attribute: str
    title: LocalText
    unit: SeriesUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """Names of attributes in the order they are shown: plain facts, amounts of money, and courses. `words` are what
    values and products are called, by value."""

    facts: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    words: Mapping[str, LocalText] = field(default_factory=dict)
