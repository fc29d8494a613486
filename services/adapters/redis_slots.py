"""Where the keys of a cluster lie: slots, and the parts that people are divided into.

A cluster spreads keys over 16,384 slots by a checksum of the name, or of what stands between braces in it, and runs a
function over keys of one slot only. So in a cluster every person belongs to one of `PARTS` parts, and all keys of a
part lie in one slot, with a fence, a progress and a completeness of its own: a server that lost writes shows by the
parts it holds. A part is found from the customer id alone. The number is fixed, for it is in the names of all keys.
"""

from binascii import crc_hqx
from functools import lru_cache
from zlib import crc32

SLOTS = 16_384
PARTS = 48
"""Three, four, six, eight, twelve masters get equally many; a slot that moves takes a forty-eighth of the people."""


def slot_of(key: bytes) -> int:
    """The slot of a key, as the servers reckon it (CRC-16/XMODEM of the hash tag, if there is one)."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return _slot_of_tag(key[start + 1 : end])
    return crc_hqx(key, 0) % SLOTS


@lru_cache(maxsize=4_096)
def _slot_of_tag(tag: bytes) -> int:
    return crc_hqx(tag, 0) % SLOTS


def part_of(name: str) -> int:
    """The part that a customer, or whatever else is divided like customers, belongs to."""
    return crc32(name.encode()) % PARTS


def _tags() -> tuple[str, ...]:
    """For each part the smallest number whose slot lies in that part's equal share of all slots, so that masters with
    equal ranges of slots have equally many parts."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTS:
        share = crc_hqx(str(number).encode(), 0) % SLOTS * PARTS // SLOTS
        found.setdefault(share, str(number))
        number += 1
    return tuple(found[share] for share in range(PARTS))


TAGS = _tags()
"""The hash tag of each part."""
