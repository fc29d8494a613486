"""Whether acceptances come more or less often than said: a test that may be looked at after every row.

The null hypothesis is that every row's true chance is within a tolerance t (in log-odds) of the probability p said
before it. Against "more often" rows are bet on: the likelihood ratio of log-odds raised by t + d to log-odds raised by
t is, as long as the true chance is not above the latter, a non-negative supermartingale that starts at 1. Several d are
followed and averaged, as it is not known how far things have moved. A shift may begin at any time, and what was lost
in bets while all was well must not delay its alarm: a new bet starts with every block of rows, and the k-th gets the
share 1 / (k (k + 1)) of the capital. The sum is such a martingale again, so by Ville's inequality it reaches 1 / alpha
with probability at most alpha, over all looks together, for ever.

Sources: J. Ville, Étude critique de la notion de collectif, 1939; G. Shafer, Testing by betting, Journal of the Royal
Statistical Society A 184 (2021); mixing over beginnings: J. Shin, A. Ramdas, A. Rinaldo, E-detectors, 2022.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

ALPHA = 0.01
"""The chance that a version without a shift ever alarms, in one direction or the other."""
TOLERANCE = float(np.log(1.5))
"""Log-odds; where acceptances are rare, half as often again as was said."""
_STEPS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Log-odds beyond the tolerance that are bet on."""
_BLOCK = 250
"""Rows between two beginnings."""
_LEAST, _MOST = 1e-6, 1 - 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialShift:
    """After all rows: the largest capital so far (its logarithm) of the bets on more and on less, and the first row at
    whose block's end one was large enough; None: not yet."""

    log_more: float
    log_less: float
    alarmed_at: int | None

    @property
    def direction(self) -> str:
        """What the larger capital says of acceptances."""
        return "more" if self.log_more >= self.log_less else "less"


def log_capital_needed(alpha: float = ALPHA) -> float:
    """The logarithm of the capital at which either bet alarms."""
    return float(np.log(2.0 / alpha))


def sequential_shift(
    labels: Vector, probabilities: Vector, tolerance: float = TOLERANCE, alpha: float = ALPHA
) -> SequentialShift:
    """Follows the rows in their order."""
    odds = np.log(np.clip(probabilities, _LEAST, _MOST)) - np.log1p(-np.clip(probabilities, _LEAST, _MOST))
    # Fewer acceptances than said are more refusals: the same bet with the sides exchanged.
    more = _log_capital(labels, odds + tolerance)
    less = _log_capital(1.0 - labels, -odds + tolerance)
    needed = log_capital_needed(alpha)
    over = np.flatnonzero(np.maximum(more, less) >= needed)
    return SequentialShift(
        log_more=float(more.max(initial=0.0)),
        log_less=float(less.max(initial=0.0)),
        alarmed_at=None if not over.size else min(int(over[0] + 1) * _BLOCK, labels.size) - 1,
    )


def _log_capital(labels: Vector, odds: Vector) -> Vector:
    """The logarithm of the capital at the end of each block, averaged over the steps."""
    starts = np.arange(0, labels.size, _BLOCK)
    if not starts.size:
        return np.zeros(0)
    steps = np.array(_STEPS)[:, None]
    ratios = labels * steps - (np.logaddexp(0.0, odds + steps) - np.logaddexp(0.0, odds))
    blocks = np.add.reduceat(ratios, starts, axis=1)
    running = np.full(len(_STEPS), -np.inf)
    capital = np.empty(starts.size)
    for block in range(starts.size):
        begun = -np.log((block + 1) * (block + 2))
        running = np.logaddexp(running, begun) + blocks[:, block]
        waiting = -np.log(block + 2)  # the share of the bets that have not begun
        capital[block] = np.logaddexp(np.logaddexp.reduce(running) - np.log(len(_STEPS)), waiting)
    return capital
