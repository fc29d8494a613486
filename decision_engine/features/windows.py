"""Reads all windows of a state at once.

Every row falls into one *band* of ages between two neighbouring reaches, so the totals of the bands, added up, give
every window. Rows stand for the streams of their signature: one small matrix product spreads them. Everything is exact
64-bit arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.extremes import read_extremes
from decision_engine.features.patterns import read_patterns
from decision_engine.features.readings import ReadingPlan
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, Sections

_FLOATS_EXACT_ROWS = 1 << 20
"""Up to so many 32-bit sums add up to less than 2**53, where doubles count exactly and multiply far faster."""
_MOST_SIGNATURES = 8192
"""Kept spread out; real traffic shows a few hundred."""
_HALF = 32
_LOW_HALF = (1 << _HALF) - 1


class Windows:
    """The bucket tables of one state as of one moment: `day` and `hour` are the current buckets."""

    def __init__(self, state: bytes, at: Sections, plan: ReadingPlan, day: int, hour: int) -> None:
        self._state, self._at, self._plan = state, at, plan
        signatures = np.frombuffer(state, plan.signature, at.signatures, at.signatures_at).tolist()
        known = plan.spread
        try:
            spread = [known[signature] for signature in signatures]
        except KeyError:
            spread = [known.get(signature) or _spread(signature, plan) for signature in signatures]
        # The last column says whether a signature is in hours: streams have the numbers before it.
        self._weights = np.frombuffer(b"".join(spread)).reshape(len(spread), -1)
        keys = np.frombuffer(state, np.uint32, at.totals, at.keys_at).astype(np.int64)
        self._owners = keys >> BUCKET_BITS
        if plan.any_hourly:
            origins = (self._weights[:, -1] * (hour - day)).astype(np.int64) + day
            ages = origins.take(self._owners) - (keys & BUCKET_MASK)
        else:
            ages = day - (keys & BUCKET_MASK)
        # As an unsigned number the age of what lies ahead is beyond every reach.
        self._ages = ages.view(np.uint64)
        # Band n is within reach n but not within reach n - 1, the last is beyond every reach.
        self._bands = plan.reaches.searchsorted(self._ages, "right") * len(spread) + self._owners

    def read(self, attributes: dict[str, Value]) -> None:
        """Sets the attributes that the tables tell."""
        plan = self._plan
        cells = self._cells()
        attributes.update(zip(plan.plain, cells, strict=False))
        for name, calculate in plan.calculations:
            value = calculate(cells)
            if value is not None:
                attributes[name] = value
        if plan.since:
            self._read_since(attributes)
        if plan.extremes is not None:
            read_extremes(plan.extremes, self._state, self._at, self._bands, self._weights, attributes)
        if plan.patterns.streams:
            members = self._weights.take(plan.patterns.streams, axis=1).astype(bool).take(self._owners, axis=0).T
            read_patterns(plan.patterns, self._state, self._at, members, self._ages, attributes)

    def _cells(self) -> list[int]:
        """The counts and sums that fell into the reaches that attributes ask for."""
        state, at, weights = self._state, self._at, self._weights
        counts = np.frombuffer(state, at.counts_code, at.totals, at.counts_at)
        sums = np.frombuffer(state, at.sums_code, at.totals, at.sums_at)
        if at.sums_code == "i" and at.totals <= _FLOATS_EXACT_ROWS:
            found = weights.T.dot(self._inside(counts, sums).T)
            return found.take(self._plan.cells).astype(np.int64).tolist()  # type: ignore[no-any-return]
        # Halves of 32 bits add up exactly as doubles, and together they are the sum in 64 bits.
        low, high = (self._inside(counts, half).astype(np.int64) for half in (sums & _LOW_HALF, sums >> _HALF))
        summed = low.shape[0] // 2
        low[summed:] += high[summed:] << _HALF
        return low.dot(weights.astype(np.int64)).T.take(self._plan.cells).tolist()  # type: ignore[no-any-return]

    def _inside(self, counts: NDArray[np.integer], sums: NDArray[np.integer]) -> NDArray[np.float64]:
        """The events within each reach, and then their sums within each (down), of each signature (across)."""
        bands, signatures = len(self._plan.reaches) + 1, len(self._weights)
        found = np.empty((2, bands * signatures))
        found[0] = np.bincount(self._bands, counts, bands * signatures)
        found[1] = np.bincount(self._bands, sums, bands * signatures)
        return np.add.accumulate(found.reshape(2, bands, signatures), axis=1).reshape(2 * bands, signatures)

    def _read_since(self, attributes: dict[str, Value]) -> None:
        for reading in self._plan.since:
            counted = self._weights[:, reading.stream].astype(bool).take(self._owners)
            ages = self._ages[counted & (self._ages < reading.reach)]
            if len(ages):
                newest = reading.aggregate is Aggregate.DAYS_SINCE_LAST
                attributes[reading.name] = int(ages.min() if newest else ages.max())


def _spread(signature: bytes, plan: ReadingPlan) -> bytes:
    """The streams a signature stands for as doubles to multiply with, and whether it is in hours. Customers share most
    signatures, so they are worth keeping."""
    if len(plan.spread) >= _MOST_SIGNATURES:
        plan.spread.clear()
    bits = np.unpackbits(np.frombuffer(signature, np.uint8), bitorder="little")[: len(plan.hourly_bytes)]
    weights = np.append(bits, plan.hourly_bytes[int(bits.argmax())]).astype(np.float64)
    plan.spread[signature] = weights.tobytes()
    return plan.spread[signature]
