"""The attribution memory as the store keeps it: how often it was written, how far the log has been taken, the memory.

The head is written anew with every write, so that a write over another version than the one read is noticed by its
first bytes, as for customer states.
"""

import struct
from dataclasses import dataclass

import orjson

from decision_engine.attribution_memory import AttributionMemory
from decision_engine.attribution_values import AttributionUnreadable, from_plain, to_plain
from event_schemas.topics import DECISIONS, STATE_TOPICS

SLOTS = (*STATE_TOPICS, DECISIONS)
"""The position slots of the stored value: never reorder."""
_HEAD = struct.Struct(f"<4sQ{len(SLOTS)}Q")
_MAGIC = b"KAA1"


@dataclass(slots=True)
class StoredMemory:
    """The memory, the next offset wanted of each topic, and how often it was written."""

    memory: AttributionMemory
    positions: list[int]
    writes: int = 0

    def is_new(self, topic: str, offset: int) -> bool:
        """Whether a record is not in the memory yet; it then counts as taken."""
        slot = SLOTS.index(topic)
        if offset < self.positions[slot]:
            return False
        self.positions[slot] = offset + 1
        return True


def read_memory(value: bytes | None) -> StoredMemory:
    """The stored memory, an empty one where there is none. Raises AttributionUnreadable."""
    if value is None:
        return StoredMemory(AttributionMemory(), [0] * len(SLOTS))
    try:
        magic, writes, *positions = _HEAD.unpack_from(value)
        if magic != _MAGIC:
            raise AttributionUnreadable(f"the value begins with {magic!r}")
        return StoredMemory(from_plain(orjson.loads(value[_HEAD.size :])), list(positions), writes)
    except (struct.error, orjson.JSONDecodeError) as error:
        raise AttributionUnreadable(f"the attribution memory cannot be read: {error}") from error


def placeholder(at_ms: int) -> bytes:
    """What to fold onto where nothing is stored of who was erased at that moment (epoch milliseconds)."""
    return _HEAD.pack(_MAGIC, 0, *([0] * len(SLOTS))) + orjson.dumps(to_plain(AttributionMemory(erased_ms=at_ms)))


def is_placeholder(value: bytes) -> bool:
    """Whether it is one of those: nothing was ever written into it."""
    return value[:4] == _MAGIC and value[4:12] == bytes(8)


def is_erased(value: bytes) -> bool:
    """Whether the memory says no more than that its person was erased."""
    try:
        memory = read_memory(value).memory
    except AttributionUnreadable:
        return False
    return memory.erased_ms > 0 and not (memory.touches or memory.unseen or memory.conversions or memory.published)


def erased_until(value: bytes) -> int:
    """Up to when the person's facts were erased (epoch milliseconds); 0: never. Raises AttributionUnreadable."""
    return read_memory(value).memory.erased_ms


def written_memory(stored: StoredMemory) -> bytes:
    """What to store in its place."""
    return _HEAD.pack(_MAGIC, stored.writes + 1, *stored.positions) + orjson.dumps(to_plain(stored.memory))
