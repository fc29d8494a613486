"""How a strategy declares triggers: patterns of events that start a contact by themselves (docs/triggers.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from decision_engine.features.definitions import AttributeType
from decision_engine.offers import LocalText


class Shape(StrEnum):
    """How the events of a pattern belong together."""

    EVENT = "event"
    """One event."""
    COUNT = "count"
    """So many events within a stretch of time."""
    SEQUENCE = "sequence"
    """Events one after another, in the order of their times, within a stretch of time from the first."""
    ABSENCE = "absence"
    """An event that is not followed by another within a stretch of time."""
    MOMENT = "moment"
    """A moment the profile names in advance, such as a maturity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPattern:
    """Events of one type that pass a filter. `where` names fields of the event's data, as in features."""

    source: str
    where: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What has to happen. `steps` are one event pattern, or for a sequence and an absence all of them in order: the
    last step of an absence is what must not come. `within_ms` bounds the whole in milliseconds (0 for a
    single event, which needs none). `same` names a field whose value all events of one match share, such as the id of
    a form; an event without it is part of no match.

    Of a moment the one step is the event that tells it, `attribute` its name, and `shift_ms` how long after it the
    trigger is due (negative: before it)."""

    shape: Shape
    steps: tuple[EventPattern, ...]
    within_ms: int = 0
    at_least: int = 1
    """How many events a count needs."""
    same: str | None = None
    attribute: str | None = None
    shift_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Where a fired trigger decides: one placement of an outbound channel, and how many options it wants."""

    placement: str
    channel: str
    """The placement's."""
    count: int = 1
    recipient: str | None = None
    """The attribute that names who is to get it, such as the owner manager; None: whoever serves the channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """A further try in another channel or with another treatment, `after_ms` milliseconds after the trigger fired,
    unless the person has answered an option of an earlier wave by then, or the trigger was overtaken."""

    after_ms: int
    contact: Contact


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A pattern, who it is for, and what is decided when it matches.

    `when` is a guard over attributes as of just after the event, `before` one over attributes as of just before it (the
    customer's own history without this event). Both may name the matching event's fields as `event.<field>`. A guard
    that cannot be told is false.
    """

    name: str
    title: LocalText
    pattern: Pattern
    contact: Contact
    when: str | None = None
    before: str | None = None
    fields: Mapping[str, AttributeType] = field(default_factory=dict)
    """The matching event's fields that the guards, `grade` and `tells` name, with their types."""
    grade: str | None = None
    """What says how much the contact is worth: an attribute, or `event.<field>`; None grades nothing."""
    tells: tuple[str, ...] = ()
    """The matching event's fields that the message tells whoever gets it: why now."""
    offers: frozenset[str] = frozenset()
    """Names of the offers this trigger is about; empty means every offer."""
    waves: tuple[Wave, ...] = ()
    cancelled_by: tuple[EventPattern, ...] = ()
    """Events after which what was sent is overtaken and what is planned is not sent."""
    cooldown_ms: int = 0
    """How long after it fired for a customer it does not fire again for that customer."""
    expires_ms: int = 86_400_000
    """How long after it fired its contact is still worth delivering."""
    freshness_ms: int = 3_600_000
    """A match later than this after its due moment fires nothing: logs that are read again start no contacts."""
    urgent: bool = False
    """Delivered at once: pushed to people's screens before everything else."""
