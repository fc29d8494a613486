"""Draws without a random generator: a hash of the decision id and a label, so that anyone can draw them again."""

from functools import cache
from hashlib import blake2b
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Words = NDArray[np.uint64]

_SPAN_BITS = 64
_MANTISSA_BITS = 53
"""A float holds 53 bits exactly; more would round some draws up to 1.0."""
_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_MIX = np.uint64(0x94D049BB133111EB)
_NORMALS = 4096
_TWELVE_BITS = np.array([0, 12, 24, 36, 48], np.uint64)
"""Where in a word the places of five normal numbers begin."""


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


def draw_words(seed: str, label: str, count: int) -> Words:
    """So many uniform 64-bit integers from one hash: SplitMix64 counts on from it (G. Steele, D. Lea, C. Flood, Fast
    splittable pseudorandom number generators, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        words = np.uint64(draw_word(seed, label)) + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN_GAMMA
        words = (words ^ (words >> np.uint64(30))) * _FIRST_MIX
        words = (words ^ (words >> np.uint64(27))) * _SECOND_MIX
    return np.asarray(words ^ (words >> np.uint64(31)), np.uint64)


def standard_normals(seed: str, label: str, count: int) -> Numbers:
    """So many standard normal numbers, from 4,096 equally likely ones. Looked up, not computed: no processor's own
    logarithm or cosine enters, so that they are the same everywhere."""
    words = draw_words(seed, label, -(-count // len(_TWELVE_BITS)))
    places = (words >> _TWELVE_BITS[:, None]) & np.uint64(_NORMALS - 1)
    return _normal_quantiles()[places.ravel()[:count].astype(np.intp)]


@cache
def _normal_quantiles() -> Numbers:
    """The middle quantiles of equal parts of the standard normal distribution, scaled to variance 1."""
    quantile = NormalDist().inv_cdf
    middle = np.array([quantile((place + 0.5) / _NORMALS) for place in range(_NORMALS)])
    return np.asarray(middle / np.sqrt((middle**2).mean()), np.float64)
