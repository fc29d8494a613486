"""What comes of matching: firings to decide and publish, contacts that were overtaken, and the memory after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from decision_engine.features.definitions import Value

_DIGEST_BYTES = 16
TIMER = "timer:"
"""Stands before the key of the event that armed it, where a stretch of time set a trigger off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """Something is to be decided and published. The same cause always gives the same `id`, 32 hex digits: it is the
    decision's request id and the outbound event's id. Times are epoch milliseconds."""

    id: str
    trigger: str
    wave: int
    """0 is the first contact."""
    cause: str
    """The key of the event that set it off (16 hex digits), or `timer:` and the key of the event that armed it; of a
    moment, `timer:` and the key of the moment."""
    at_ms: int
    """When it was due: the time of the event, or the end of the stretch."""
    expires_at_ms: int
    fields: Mapping[str, Value] = field(default_factory=dict)
    """Those fields of the matching event that the trigger names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingFiring:
    """A firing that has not been concluded; `intent` is what was noted before it was published, None before that."""

    firing: Firing
    intent: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """A firing that was published, or may have been, and is void now. `by` is the type of the event that did it, or
    `response`; `at_ms` the time of that event."""

    firing_id: str
    trigger: str
    at_ms: int
    by: str
    wave: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contacted:
    """What became of a firing: the decision and the offers that went out. Without a decision, or with nothing to
    offer, no message went out."""

    decision_id: str | None
    offers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """The memory after a step, and what came of it."""

    value: bytes | None
    """None when nothing needs to be remembered."""
    changed: bool
    """False when the value is the one given."""
    fired: tuple[Firing, ...] = ()
    overtaken: tuple[Overtaken, ...] = ()
    due_ms: int | None = None
    """The earliest moment at which something is due: 0 while firings are pending, None when nothing is."""
    until_ms: int | None = None
    """After this moment the value is worth nothing and may be thrown away; None when there is no value, or as long as
    something is due."""
    dropped: int = 0
    """What no longer found room: the oldest events and contacts go first. An unreadable memory counts as one."""


def firing_id(trigger: str, wave: int, customer: int, cause: str) -> str:
    """The id of a firing; `customer` is the 64-bit key of the customer's id."""
    text = f"{trigger}\n{wave}\n{customer:016x}\n{cause}"
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
