"""Whom a node answers first when it cannot answer everybody: three classes of requests, told by their channel.

A request's channel says its class (`AGENT` where somebody has the customer before them, `BATCH` where nobody waits),
a client's own class (keys file, token) and the header `Kairos-Priority` can only lower it. It is told from the bytes of
the body, before these are parsed, since refusing must cost little: a body that hides or repeats its channel is at worst
taken for the best class that its client may have.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

HEADER = b"kairos-priority"
_CHANNEL = re.compile(rb'"channel"\s*:\s*"([^"\\]{1,64})"')
_IN_HEAD = re.compile(rb"\r\nkairos-priority:[ \t]*([a-z]{1,16})")


class Priority(IntEnum):
    """Classes of requests; of the lower ones more is refused, and sooner."""

    BATCH = 0
    """Nobody waits: outbound waves, mails, banners fetched ahead."""
    INTERACTIVE = 1
    """A customer looks at a screen."""
    AGENT = 2
    """A customer speaks with somebody of the bank."""

    @property
    def label(self) -> str:
        """As files, headers and metrics have it."""
        return self.name.lower()

    @classmethod
    def of(cls, text: object) -> "Priority":
        """By its label. Raises ValueError."""
        for priority in cls:
            if priority.label == text:
                return priority
        raise ValueError(f"priority must be one of {', '.join(each.label for each in cls)}")


USUAL: Mapping[str, Priority] = MappingProxyType(
    dict.fromkeys(("contact_centre", "call_centre", "branch", "agent", "teller", "manager"), Priority.AGENT)
    | dict.fromkeys(("sms", "email", "mail", "push", "outbound", "batch", "banner"), Priority.BATCH)
)
"""By channel, where nothing else is said; a channel of any other name is interactive."""
_BY_HEADER = {each.label.encode(): each for each in Priority}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPriorities:
    """The class of each channel; those not named have the usual one."""

    by_channel: Mapping[str, Priority] = field(default_factory=dict)
    _known: dict[bytes, Priority] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for channel, priority in {**USUAL, **self.by_channel}.items():
            self._known[channel.encode()] = priority

    @classmethod
    def parse(cls, text: str) -> "ChannelPriorities":
        """From `kiosk=agent,newsletter=batch`. Raises ValueError naming the fault."""
        found = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            channel, separator, label = (part.strip() for part in entry.partition("="))
            if not separator or not channel:
                raise ValueError(f"channel=priority, comma-separated, not {entry!r}")
            found[channel] = Priority.of(label)
        return cls(by_channel=found)

    def claimed(self, data: bytes, start: int = 0) -> tuple[bytes, Priority]:
        """The channel that the JSON text from `start` on names first (empty: none), and its class."""
        found = _CHANNEL.search(data, start)
        if found is None:
            return b"", Priority.INTERACTIVE
        return found[1], self._known.get(found[1], Priority.INTERACTIVE)


def lowered(priority: Priority, headers: Iterable[tuple[bytes, bytes]]) -> Priority:
    """The class, or the lower one that the request asks for; what is no class asks for nothing."""
    for name, value in headers:
        if name == HEADER:
            return min(priority, _BY_HEADER.get(value.strip().lower(), priority))
    return priority


def lowered_in(priority: Priority, head: bytes) -> Priority:
    """The same from the lower-case bytes of the headers."""
    found = _IN_HEAD.search(head)
    return priority if found is None else min(priority, _BY_HEADER.get(found[1], priority))
