"""The ramp of a new offer: for its first days it is promoted in a guaranteed share of the decisions it could win."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from decision_engine.offers import Offer
from decision_engine.rejections import Indexes

Numbers = NDArray[np.float64]

MOST_RAMPED = 0.5
"""Ramps together take at most half of a placement's decisions; beyond that each gets its part of the half."""


def active_floors(offers: Sequence[Offer], ramped: Sequence[int], now_ms: int) -> dict[int, float]:
    """Offer number to the share it is guaranteed now. `ramped` are the offers that have a ramp."""
    floors = {}
    for offer in ramped:
        ramp = offers[offer].ramp
        if ramp is not None and ramp.from_ms <= now_ms < ramp.until_ms:
            floors[offer] = ramp.share
    return floors


def mover_floors(movers: Indexes, floors: Mapping[int, float], shuffle: float) -> Numbers | None:
    """What must be left to each mover's promotion so that it stands first with its guaranteed share, given that a
    shuffle, which happens with probability `shuffle`, puts each mover first equally often; None when nothing is."""
    wanted = np.array([floors.get(offer, 0.0) for offer in movers.tolist()])
    if not wanted.any() or shuffle >= 1.0:
        return None
    left = np.maximum(wanted - shuffle / len(movers), 0.0) * (wanted > 0) / (1.0 - shuffle)
    total = left.sum()
    return np.asarray(left * min(1.0, MOST_RAMPED / total), np.float64) if total > 0 else None


def raise_to_floors(chances: Numbers, mover_of: Indexes, floors: Numbers) -> Numbers:
    """The chances of treatments with those of each mover together raised to its floor; what that costs is taken from
    all in proportion to what they have above their floors. Unchanged when every floor is kept already.

    A mover without any chance of its own gives its treatments equal parts.
    """
    totals = np.bincount(mover_of, chances, len(floors))
    above = np.maximum(totals - floors, 0.0)
    raised = floors + above * ((1.0 - floors.sum()) / above.sum())
    sizes = np.bincount(mover_of, minlength=len(floors))
    parts = np.divide(chances, totals[mover_of], out=1.0 / sizes[mover_of], where=totals[mover_of] > 0)
    return np.asarray(parts * raised[mover_of], np.float64)
