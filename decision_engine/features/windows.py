"""Reads all windows of a state at once.

Rows are sorted by signature and bucket, so the rows of one signature within one reach stand next to each other: one
search finds where each such stretch begins, and a difference of two running totals is what it adds up to. Rows stand
for the streams of their signature: one small matrix product spreads them. Everything is exact 64-bit arithmetic.
"""

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.extremes import ExtremeRows, read_extremes
from decision_engine.features.patterns import read_patterns
from decision_engine.features.readings import ReadingPlan
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, Sections

_FLOATS_EXACT_ROWS = 1 << 20
"""Up to so many 32-bit sums add up to less than 2**53, where doubles count exactly and multiply far faster."""
_MOST_SIGNATURES = 8192
"""Kept spread out; real traffic shows a few hundred."""
_MOST_BOUNDS = 1024
"""Kept: one a day (or hour) and number of signatures."""
_KEY, _COUNTED, _WHOLE = np.dtype(np.uint32), np.dtype(np.float64), np.dtype(np.int64)
_CODES = {code: np.dtype(code) for code in "BHIiq"}
_running = np.add.accumulate


class Windows:
    """The bucket tables of one state as of one moment: `day` and `hour` are the current buckets."""

    def __init__(self, state: bytes, at: Sections, plan: ReadingPlan, day: int, hour: int) -> None:
        self._state, self._at, self._plan, self._day, self._hour = state, at, plan, day, hour
        # The column after those of the streams says whether a signature is in hours.
        self._weights = np.frombuffer(spread_of(state, at, plan), _COUNTED).reshape(at.signatures, -1)
        bounds = _bounds(plan, day, at.signatures)
        if plan.any_hourly:
            hourly = self._weights[:, plan.streams, None].astype(bool)
            bounds = np.where(hourly, _bounds(plan, hour, at.signatures), bounds)
        self._keys = np.frombuffer(state, _KEY, at.totals, at.keys_at)
        self._sums = np.frombuffer(state, _CODES[at.sums_code], at.totals, at.sums_at)
        # For each signature (down) and reach, the longest first (across), the first row within it; last the end of all.
        self._starts = self._keys.searchsorted(bounds)

    def read(self, attributes: dict[str, Value]) -> None:
        """Sets the attributes that the tables tell."""
        plan = self._plan
        if plan.cells.size:
            plan.tell(self._cells(), attributes)
        if plan.extremes is not None:
            rows = ExtremeRows(self._state, self._at, self._keys, self._sums, self._day, self._hour)
            read_extremes(plan.extremes, rows, self._weights[:, plan.streams + 1 :], attributes)
        if plan.since or plan.patterns.streams:
            self.read_ages(attributes)

    def _cells(self) -> list[int]:
        """The counts and sums that fell into the reaches that attributes ask for."""
        at, weights = self._at, self._weights
        exact = at.sums_code == "i" and at.totals <= _FLOATS_EXACT_ROWS
        # How many events there were before each row, and their sums.
        before = np.zeros((at.totals + 1, 2), _COUNTED if exact else _WHOLE)
        before[1:, 0] = np.frombuffer(self._state, _CODES[at.counts_code], at.totals, at.counts_at)
        before[1:, 1] = self._sums
        _running(before, 0, None, before)
        # Before the beginning of each reach, of each signature (down): events and sums (across); and then by stream.
        by_signature = before.take(self._starts, axis=0).reshape(len(weights), -1)
        by_stream = (weights if exact else weights.astype(_WHOLE)).T.dot(by_signature)
        at_end, at_start = by_stream.take(self._plan.cells)
        return (at_end - at_start).astype(_WHOLE).tolist()  # type: ignore[no-any-return]

    def read_ages(self, attributes: dict[str, Value]) -> None:
        """What asks for the ages of rows, in the unit of each: as an unsigned number that of what lies ahead is beyond
        every reach."""
        plan, keys = self._plan, self._keys.astype(np.int64)
        owners = keys >> BUCKET_BITS
        latest = self._day + (self._weights[:, plan.streams] * (self._hour - self._day)).astype(np.int64)
        ages = (latest.take(owners) - (keys & BUCKET_MASK)).view(np.uint64)
        for reading in plan.since:
            counted = self._weights[:, reading.stream].astype(bool).take(owners)
            found = ages[counted & (ages < reading.reach)]
            if len(found):
                newest = reading.aggregate is Aggregate.DAYS_SINCE_LAST
                attributes[reading.name] = int(found.min() if newest else found.max())
        if plan.patterns.streams:
            members = self._weights.take(plan.patterns.streams, axis=1).astype(bool).take(owners, axis=0).T
            read_patterns(plan.patterns, self._state, self._at, members, ages, attributes)


def spread_of(state: bytes, at: Sections, plan: ReadingPlan) -> bytes:
    """What each signature of a state stands for, one after the other (`_spread`)."""
    signatures = np.frombuffer(state, plan.signature, at.signatures, at.signatures_at).tolist()
    known = plan.spread
    try:
        return b"".join(map(known.__getitem__, signatures))
    except KeyError:
        return b"".join([known.get(signature) or _spread(signature, plan) for signature in signatures])


def _bounds(plan: ReadingPlan, latest: int, signatures: int) -> NDArray[np.uint32]:
    """For each signature (down) and reach (across) the smallest key that is within it where `latest` is the current
    bucket; for the reach 0 the smallest that lies ahead. Customers read on one day share them."""
    known = plan.bounds.get((latest, signatures))
    if known is None:
        if len(plan.bounds) >= _MOST_BOUNDS:
            plan.bounds.clear()
        oldest = np.clip(latest + 1 - plan.reaches, 0, BUCKET_MASK)
        known = ((np.arange(signatures) << BUCKET_BITS)[:, None] + oldest).astype(np.uint32)
        plan.bounds[latest, signatures] = known
    return known


def _spread(signature: bytes, plan: ReadingPlan) -> bytes:
    """The streams a signature stands for as doubles to multiply with, whether it is in hours, and again those whose
    extremes are asked for. Customers share most signatures, so they are worth keeping."""
    if len(plan.spread) >= _MOST_SIGNATURES:
        plan.spread.clear()
    bits = np.unpackbits(np.frombuffer(signature, np.uint8), bitorder="little")[: plan.streams]
    hourly = plan.hourly_bytes[int(bits.argmax())]
    of_extremes = () if plan.extremes is None else bits[list(plan.extremes.streams)]
    plan.spread[signature] = np.concatenate((bits, (hourly,), of_extremes)).astype(np.float64).tobytes()
    return plan.spread[signature]
