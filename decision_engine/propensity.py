"""What a scorer is: calibrated probabilities for rows of a matrix whose columns have names."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""Candidates by columns; NaN is a missing value."""


class ColumnSource(StrEnum):
    """Where the value of a column comes from."""

    ATTRIBUTE = "attribute"
    """A customer attribute of the dictionary, the same for all candidates."""
    CONTEXT = "context"
    """A fact of the request: `channel`, `hour`, `weekday` (Monday 0), or a declared context attribute."""
    OFFER = "offer"
    """A fact of the candidate: `offer`, `group`, `issue`, `base_rate`, `value`, or a numeric offer attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its name, its source, and for text the categories in code order (unseen is NaN)."""

    name: str
    source: ColumnSource
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """The ordered columns a model was fitted on."""

    columns: tuple[Column, ...]

    @property
    def hash(self) -> str:
        """16 hex digits over names, sources, categories and order: equal only for interchangeable matrices."""
        text = "\n".join(f"{c.source}|{c.name}|{c.categories}" for c in self.columns)
        return blake2b(text.encode(), digest_size=8).hexdigest()


class Scorer(Protocol):
    """Gives each row the calibrated probability that the option is accepted."""

    @property
    def version(self) -> str: ...

    @property
    def schema(self) -> FeatureSchema: ...

    def score(self, matrix: Matrix) -> NDArray[np.float64]:
        """Probabilities in [0, 1], one a row; the same rows give the same values, alone or together."""
        ...


Scorers = Mapping[str, Scorer]
"""Model name (`cross_sell`) to the scorer that is live under it."""
