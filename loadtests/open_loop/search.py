"""Looking for the highest rate that holds: up until one does not, then between the two, then down until one holds
again."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

GROWTH = 1.5
LEAST_RATE = 1.0


class NothingHolds(Exception):
    """Not even the lowest rate held."""


@dataclass(frozen=True, slots=True)
class Found:
    """The highest rate that held, and the lowest above it that did not."""

    holds: float
    fails: float


def highest_rate(holds: Callable[[float], bool], begin: float, precision: float = 0.05, most: float = 1e6) -> Found:
    """The bounds of the highest rate for which `holds` says yes, no further apart than `precision` of it. A no is asked
    for once more, so that a moment's disturbance does not count. The rate that is found has to hold again in the end,
    so that a moment in which the machine was fast does not count either. Raises NothingHolds."""
    good, bad = _bracket(lambda rate: holds(rate) or holds(rate), begin, most)
    while bad / good > 1 + precision:
        middle = sqrt(good * bad)
        if holds(middle) or holds(middle):
            good = middle
        else:
            bad = middle
    while not (holds(good) or holds(good)):
        good, bad = good / (1 + precision), good
        if good < LEAST_RATE:
            raise NothingHolds(f"{bad:g} a second held once, and nothing again")
    return Found(good, bad)


def _bracket(holds: Callable[[float], bool], begin: float, most: float) -> tuple[float, float]:
    rate = begin
    if holds(rate):
        while rate * GROWTH <= most and holds(rate * GROWTH):
            rate *= GROWTH
        return rate, rate * GROWTH
    while rate / GROWTH >= LEAST_RATE:
        rate /= GROWTH
        if holds(rate):
            return rate, rate * GROWTH
    raise NothingHolds(f"below {rate:g} a second nothing was tried")
