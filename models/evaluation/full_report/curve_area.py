"""The area under a curve given by its corners."""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def area_under(shares: Vector, heights: Vector) -> float:
    """Straight lines between the corners; shares must rise."""
    return float((np.diff(shares) * (heights[1:] + heights[:-1])).sum() / 2)
