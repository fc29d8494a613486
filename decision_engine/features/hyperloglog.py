"""HyperLogLog: how many different values there were, from the largest rank in each of a few hundred registers.

The estimator is the improved raw one of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
(2017), section 4: unbiased from zero on without tables. Its standard error is 1.04 / sqrt(512) = 4.6 percent.
"""

from collections.abc import Sequence
from math import log, sqrt

REGISTER_BITS = 9
_HASH_BITS = 32
_VALUE_BITS = _HASH_BITS - REGISTER_BITS
_ALPHA = 1 / (2 * log(2))


def register_and_rank(seen: int) -> tuple[int, int]:
    """The register of a 32-bit hash, and its rank there: one more than the leading zeros of the other 23 bits."""
    rest = seen & (1 << _VALUE_BITS) - 1
    return seen >> _VALUE_BITS, _VALUE_BITS - rest.bit_length() + 1


def estimate(registers: Sequence[int]) -> float:
    """How many different values led to these largest ranks; 0 stands for a register that saw nothing."""
    size = len(registers)
    having = [0] * (_VALUE_BITS + 2)
    for rank in registers:
        having[rank] += 1
    below = size * _tau(1 - having[_VALUE_BITS + 1] / size)
    for rank in range(_VALUE_BITS, 0, -1):
        below = (below + having[rank]) / 2
    total = below + size * _sigma(having[0] / size)
    return _ALPHA * size * size / total


def _sigma(share: float) -> float:
    """x + the sum of x^(2^k) 2^(k-1), for registers that saw nothing."""
    if share == 1.0:
        return float("inf")
    power, factor, total = share, 1.0, share
    while True:
        power *= power
        before, total = total, total + power * factor
        factor += factor
        if total == before:
            return total


def _tau(share: float) -> float:
    """(1 - x - the sum of (1 - x^(2^-k))^2 2^-k) / 3, for registers at their largest rank."""
    if share in (0.0, 1.0):
        return 0.0
    root, factor, total = share, 1.0, 1 - share
    while True:
        root = sqrt(root)
        factor /= 2
        before, total = total, total - (1 - root) ** 2 * factor
        if total == before:
            return total / 3
