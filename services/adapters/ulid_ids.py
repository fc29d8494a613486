"""ULIDs: 48 bits of milliseconds and 80 random bits as 26 characters that sort by time."""

import secrets
import time
from hashlib import blake2b

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""Ten bits at a time: half the steps of encoding digit by digit."""
_RANDOM_BITS = 80
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1


class UlidIds:
    """Implements `ports.IdFactory`; ids made by one process rise strictly, even within a millisecond."""

    def __init__(self) -> None:
        self._last = 0

    def new_id(self) -> str:
        """A new ULID: unguessable to others, larger than every one this factory made before."""
        fresh = ((time.time_ns() // 1_000_000) << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        if fresh >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
            # Same millisecond, or a clock that stepped back: stay on the last moment and step by a random amount.
            fresh = self._last + 1 + secrets.randbits(32)
        self._last = fresh
        return encode_ulid(fresh)


def ulid_of(name: str, at_ms: int) -> str:
    """The ULID of a name and a moment (epoch milliseconds): always the same, and of nothing else."""
    return encode_ulid(at_ms << _RANDOM_BITS | int.from_bytes(blake2b(name.encode(), digest_size=10).digest(), "big"))


def encode_ulid(value: int) -> str:
    """The 26 characters of a 128-bit value in Crockford's base 32."""
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])
