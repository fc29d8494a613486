"""The rows a report judges: labelled options as arrays, with who they were shown to, where and when."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Numbers = NDArray[np.int64]
Texts = NDArray[np.str_]
Mask = NDArray[np.bool_]

LEAST_ROWS = 30
"""Nothing is printed of fewer rows: such a figure says more about single customers than about the model."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRows:
    """Labelled options, one element a row: accepted (0 or 1), the probability given, the offer's declared rate and its
    value (minor units), decision time (epoch milliseconds), the customer's number, and by the title of a slice
    (`group`, `channel`, `week`, …) the row's part in it; an empty part is not known."""

    labels: Vector
    probabilities: Vector
    base_rates: Vector
    values: Vector
    decided_ms: Numbers
    customers: Numbers
    parts: Mapping[str, Texts]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self.labels.size)

    def where(self, kept: Mask) -> "JudgedRows":
        """The rows of that mask."""
        return JudgedRows(
            labels=self.labels[kept],
            probabilities=self.probabilities[kept],
            base_rates=self.base_rates[kept],
            values=self.values[kept],
            decided_ms=self.decided_ms[kept],
            customers=self.customers[kept],
            parts={title: parts[kept] for title, parts in self.parts.items()},
        )


def week_of(decided_ms: Numbers) -> Texts:
    """The Monday (UTC) of each moment's week, as a date."""
    days = decided_ms // DAY_MS
    mondays = days - (days + 3) % 7  # day 0, 1970-01-01, was a Thursday
    return np.asarray(mondays.astype("datetime64[D]").astype(np.str_))
