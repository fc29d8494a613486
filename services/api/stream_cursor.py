"""Where a reader of the stream stands: an offset a partition, and what it got ahead of its turn.

The text is the `id` of every event and comes back as `Last-Event-ID`. It names positions of the log and nothing of any
node, so that each node can go on where another ended: `0-17.1-4` is partition 0 up to offset 16 and partition 1 up to
offset 3; `~0-21` behind it says that offset 21 of partition 0, urgent, has been sent before its turn.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_PARTITIONS = 1_024
MOST_AHEAD = 64
"""Urgent messages that a reader may get before its turn; more keep theirs."""
_MOST_TEXT = 8_192
_PART = re.compile(r"(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,17})", re.ASCII)


class CursorInvalid(ValueError):
    """The text is no cursor of ours."""


@dataclass(slots=True)
class Cursor:
    """`next` is by partition the next offset wanted, `ahead` what lies beyond and has been sent (partition, offset)."""

    next: dict[int, int] = field(default_factory=dict)
    ahead: set[tuple[int, int]] = field(default_factory=set)

    def wants(self, partition: int, offset: int) -> bool:
        """Whether the record has not been passed yet."""
        return offset >= self.next.get(partition, 0) and (partition, offset) not in self.ahead

    def pass_over(self, partition: int, offset: int) -> None:
        """The record, and all before it, are dealt with."""
        if offset >= self.next.get(partition, 0):
            self.next[partition] = offset + 1
        self.ahead.discard((partition, offset))

    def skip_to(self, positions: Mapping[int, int]) -> None:
        """Everything before these offsets is dealt with."""
        for partition, offset in positions.items():
            self.next[partition] = max(offset, self.next.get(partition, 0))
        self.ahead = {(partition, offset) for partition, offset in self.ahead if offset >= self.next.get(partition, 0)}

    def text(self) -> str:
        """As readers send it back."""
        standing = ".".join(f"{partition}-{offset}" for partition, offset in sorted(self.next.items()))
        if not self.ahead:
            return standing
        return standing + "~" + ".".join(f"{partition}-{offset}" for partition, offset in sorted(self.ahead))


def read_cursor(text: str) -> Cursor:
    """The cursor of a text. Raises CursorInvalid."""
    if len(text) > _MOST_TEXT:
        raise CursorInvalid
    standing, _, ahead = text.partition("~")
    pairs, extra = _pairs(standing), _pairs(ahead)
    if len(pairs) > MOST_PARTITIONS or len(extra) > MOST_AHEAD or len(dict(pairs)) != len(pairs):
        raise CursorInvalid
    return Cursor(dict(pairs), set(extra))


def _pairs(text: str) -> list[tuple[int, int]]:
    if not text:
        return []
    found = []
    for part in text.split("."):
        match = _PART.fullmatch(part)
        if match is None:
            raise CursorInvalid
        found.append((int(match.group(1)), int(match.group(2))))
    return found
