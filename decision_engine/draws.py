"""Draws without a random generator: a hash of the decision id and a label, so that anyone can draw them again."""

from hashlib import blake2b

_SPAN_BITS = 64
_MANTISSA_BITS = 53
"""A float holds 53 bits exactly; more would round some draws up to 1.0."""


def draw_word(seed: str, label: str) -> int:
    """A uniform 64-bit integer."""
    return int.from_bytes(blake2b(f"{seed}\x00{label}".encode(), digest_size=8).digest(), "little")


def draw_fraction(seed: str, label: str) -> float:
    """A uniform number in [0, 1)."""
    shift = _SPAN_BITS - _MANTISSA_BITS
    return (draw_word(seed, label) >> shift) / (1 << _MANTISSA_BITS)


def draw_below(seed: str, label: str, bound: int) -> int:
    """A uniform integer from 0 up to `bound` exclusive (uneven by less than bound / 2**64)."""
    return (draw_word(seed, label) * bound) >> _SPAN_BITS
