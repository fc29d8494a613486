"""The trigger memory taken apart: what a customer's events have set going so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from decision_engine.features.definitions import Value

MOST_EVENTS = 128
"""Events remembered for patterns that are not complete, over all triggers of one customer."""
MOST_CONTACTS = 32
"""Contacts of one customer that are under way or can still be overtaken."""

ProgressKey = tuple[int, int | None]
"""The key of the pattern, and that of the value its events share (None: they need not share one)."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """An event a pattern still needs: the step it is, its time and key; `armed` while an absence is waited for.
    `fields` are kept of the event that guards may ask about."""

    step: int
    time_ms: int
    key: int
    armed: bool = False
    fields: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the profile said last of a moment, and whether the trigger still waits for it."""

    value_ms: int
    waiting: bool


class Phase(IntEnum):
    """Where a contact stands."""

    PENDING = 0
    """Its current wave fired and has not been concluded."""
    PLANNED = 1
    """Its current wave is waited for."""
    DONE = 2
    """Nothing more is planned."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A wave that went out: the key of its decision, and until when the message is worth delivering."""

    wave: int
    decision: int
    expires_ms: int


@dataclass(slots=True, kw_only=True)
class Contact:
    """A trigger that fired: what set it off, which wave is pending or planned, and what went out."""

    trigger: int
    """The key of the trigger's name."""
    cause: int
    """The key of the event that fired or armed it."""
    by_timer: bool
    at_ms: int
    """When the trigger fired; later waves count from here."""
    same: int | None
    wave: int = 0
    phase: Phase = Phase.PENDING
    intent: bytes | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)


@dataclass(slots=True)
class Memory:
    """All of one customer, being changed. `fired` is by the key of a trigger's name when it last fired."""

    writes: int = 0
    customer: int = 0
    """The key of the customer's id."""
    progress: dict[ProgressKey, list[Seen]] = field(default_factory=dict)
    contacts: list[Contact] = field(default_factory=list)
    fired: dict[int, int] = field(default_factory=dict)
    moments: dict[int, Told] = field(default_factory=dict)
    """By the key of the pattern."""
    positions: dict[int, int] = field(default_factory=dict)
    """Topic to the offset of the last event of interest that this memory has been held against: whoever reads the log
    again, for whatever layout of the state, moves no trigger twice."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember; positions alone are not worth a value."""
        return not (self.progress or self.contacts or self.fired or self.moments)
