"""Smallest and largest values in windows, read from the rows of a state.

One pass takes the extreme of every band of ages of every signature; a window's is the extreme over its bands, and a
feature's that over the few signatures of its stream.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.state import Sections

Whole = NDArray[np.int64]
_NOTHING = np.iinfo(np.int64).max
"""Stands for the extreme of an empty window; no value is that large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtremePlan:
    """Extremes as columns: name, sign, and which stream and reach each looks at."""

    names: tuple[str, ...]
    signs: tuple[int, ...]
    """1 for smallest, -1 for largest values: these are negated, so that one minimum serves both."""
    sides: tuple[int, ...]
    """The signs that occur."""
    streams: NDArray[np.intp]
    places: NDArray[np.intp]
    """Where each stands in the extremes of all sides and bands, flat."""
    bands: int
    """How many bands of ages there are."""


def plan_extremes(
    extremes: Sequence[tuple[str, Aggregate, int, int]], reach_index: Mapping[int, int]
) -> ExtremePlan | None:
    """For name, aggregate, stream and reach of each; None without any. `reach_index` numbers all reaches."""
    if not extremes:
        return None
    signs = tuple(1 if aggregate is Aggregate.MIN else -1 for _, aggregate, _, _ in extremes)
    sides = tuple(sorted(set(signs)))
    bands = len(reach_index) + 1
    return ExtremePlan(
        names=tuple(name for name, _, _, _ in extremes),
        signs=signs,
        sides=sides,
        streams=np.array([stream for _, _, stream, _ in extremes], dtype=np.intp),
        places=np.array(
            [
                sides.index(sign) * bands + reach_index[reach]
                for sign, (_, _, _, reach) in zip(signs, extremes, strict=True)
            ],
            dtype=np.intp,
        ),
        bands=bands,
    )


def read_extremes(
    plan: ExtremePlan,
    state: bytes,
    at: Sections,
    bands: Whole,
    weights: NDArray[np.float64],
    attributes: MutableMapping[str, Value],
) -> None:
    """Sets those attributes whose windows are not empty. `bands` tells of each row the reaches it lies between and its
    signature, as one number (`features/windows.py`); `weights` are 1 where a signature (down) counts for a stream
    (across)."""
    signatures, sides = len(weights), len(plan.sides)
    found = np.full((sides, plan.bands * signatures), _NOTHING)
    for column, values in zip(found, _signed(plan.sides, state, at), strict=True):
        np.minimum.at(column, bands, values)
    by_reach = np.minimum.accumulate(found.reshape(sides, plan.bands, signatures), axis=1)
    by_attribute = by_reach.reshape(-1, signatures).take(plan.places, axis=0)
    counted = np.where(weights.take(plan.streams, axis=1).T, by_attribute, _NOTHING)
    for name, sign, value in zip(plan.names, plan.signs, counted.min(axis=1).tolist(), strict=True):
        if value != _NOTHING:
            attributes[name] = sign * value


def _signed(sides: Sequence[int], state: bytes, at: Sections) -> Iterator[Whole]:
    """The extreme of each row for every side, signed. A row of one event has its only value as its sum; the others have
    entries of their own."""
    sums = np.frombuffer(state, at.sums_code, at.totals, at.sums_at)
    if at.extremes:
        keys = np.frombuffer(state, np.uint32, at.totals, at.keys_at)
        several = keys.searchsorted(np.frombuffer(state, np.uint32, at.extremes, at.x_keys_at))
    for sign in sides:
        column = np.multiply(sums, sign, dtype=np.int64)
        if at.extremes:
            values_at = at.x_lowest_at if sign > 0 else at.x_highest_at
            values = np.frombuffer(state, at.sums_code, at.extremes, values_at)
            column[several] = np.multiply(values, sign, dtype=np.int64)
        yield column
