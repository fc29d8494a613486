"""The kinds of whole-life facts."""

from enum import StrEnum


class SlotKind(StrEnum):
    """What a slot keeps over the whole life."""

    TOTALS = "totals"
    EXTREMES = "extremes"
    SPAN = "span"
    """The times of the first and of the last event."""
    LAST = "last"
    FIRST = "first"
