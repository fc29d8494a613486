"""Rates with their intervals, as the results show them.

Source of the interval: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of
the American Statistical Association 22 (1927).
"""

from dataclasses import dataclass
from math import sqrt

from models.evaluation.intervals import Z95

LEAST_CASES = 30
"""Below so many cases a rate says next to nothing: it is shown in grey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`hits` of `cases`, and the 95 % interval of the share. Without cases the share is 0 and may be anything."""

    hits: int
    cases: int
    value: float
    low: float
    high: float

    @property
    def enough(self) -> bool:
        """Whether there are cases enough to go by."""
        return self.cases >= LEAST_CASES


def wilson(hits: int, cases: int) -> Rate:
    """The share with Wilson's score interval. Raises ValueError unless 0 <= hits <= cases."""
    if not 0 <= hits <= cases:
        raise ValueError(f"{hits} of {cases} is no share")
    if not cases:
        return Rate(hits=0, cases=0, value=0.0, low=0.0, high=1.0)
    share, square = hits / cases, Z95**2
    middle = (share + square / (2 * cases)) / (1 + square / cases)
    reach = Z95 * sqrt(share * (1 - share) / cases + square / (4 * cases**2)) / (1 + square / cases)
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    # Exactly 0 and 1 at the ends, which rounding would miss by a hair.
    return Rate(hits=hits, cases=cases, value=share, low=low if hits else 0.0, high=high if hits < cases else 1.0)
