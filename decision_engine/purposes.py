"""What attributes may be used for, as the strategy declares it."""

from dataclasses import dataclass

from decision_engine.offers import LocalText

MARKETING = "marketing"
"""The purpose an attribute needs to choose, weigh, explain or time offers made for marketing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What attributes of these themes may be used for, and those named one by one. An attribute that any purpose names
    has exactly the purposes that name it; another has those of its theme."""

    name: str
    title: LocalText
    themes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    """Attributes; the name of a feature stands for all its windows."""
