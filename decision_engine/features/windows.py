"""Reads all windows of a state at once.

Rows are sorted by signature and bucket, so the running total over the table, looked up at the edge of every reach,
gives every window as a difference. Rows stand for the streams of their signature: one small matrix product spreads
them. Everything is exact 64-bit arithmetic.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.readings import ReadingPlan
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, Sections

Whole = NDArray[np.int64]
_NOTHING = np.iinfo(np.int64).max
"""Stands for the extreme of an empty window; no value is that large."""


_FLOATS_EXACT_ROWS = 1 << 20
"""Up to so many 32-bit sums add up to less than 2**53, where doubles count exactly and multiply far faster."""


class Windows:
    """The bucket tables of one state as of one moment: `day` and `hour` are the current buckets."""

    def __init__(self, state: bytes, at: Sections, plan: ReadingPlan, day: int, hour: int) -> None:
        self._state, self._at, self._plan = state, at, plan
        self._day, self._hour = day, hour
        table = state[at.signatures_at : at.record_at]
        self._members = _members(table, at.signature_width, plan.hourly_bytes)
        bounds = day - plan.reaches
        if self._members.hourly is not None:
            bounds = np.where(self._members.hourly[:, None], hour - plan.reaches, bounds)
        if day <= plan.longest_reach:
            bounds = np.maximum(bounds, -1)
        self._keys = np.frombuffer(state, np.uint32, at.totals, at.keys_at).astype(np.int64)
        self._edges = self._keys.searchsorted(self._members.firsts + bounds, "right")

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
        if plan.extremes:
            self._read_extremes(attributes)

    def _cells(self) -> list[int]:
        """The counts and sums that fell into the reaches that attributes ask for."""
        state, at, members = self._state, self._at, self._members
        exact = at.sums_code == "i" and at.totals <= _FLOATS_EXACT_ROWS
        running = np.zeros((2, at.totals + 1), dtype=np.float64 if exact else np.int64)
        running[0, 1:] = np.frombuffer(state, at.counts_code, at.totals, at.counts_at)
        running[1, 1:] = np.frombuffer(state, at.sums_code, at.totals, at.sums_at)
        ends = running.cumsum(axis=1).take(self._edges, axis=1)
        inside = ends[:, :, :1] - ends
        spread = np.matmul(members.weights if exact else members.present.astype(np.int64), inside).take(
            self._plan.cells
        )
        cells: list[int] = (spread.astype(np.int64) if exact else spread).tolist()
        return cells

    def _read_since(self, attributes: dict[str, Value]) -> None:
        ends = self._edges.tolist()
        for reading in self._plan.since:
            rows = [ends[signature] for signature in np.flatnonzero(self._members.present[reading.stream])]
            filled = [(row[reading.reach], row[0]) for row in rows if row[reading.reach] < row[0]]
            if not filled:
                continue
            if reading.aggregate is Aggregate.DAYS_SINCE_LAST:
                bucket = max(int(self._keys[end - 1]) & BUCKET_MASK for _, end in filled)
            else:
                bucket = min(int(self._keys[start]) & BUCKET_MASK for start, _ in filled)
            attributes[reading.name] = self._day - bucket

    def _read_extremes(self, attributes: dict[str, Value]) -> None:
        """For every extreme (down) the rows (across) that count for its stream and lie in its window."""
        plan, buckets = self._plan, self._keys & BUCKET_MASK
        age = (
            np.where(plan.extreme_hourly, self._hour, self._day) - buckets
            if plan.extremes_hourly
            else self._day - buckets
        )
        chosen = self._members.present[plan.extreme_streams].take(self._keys >> BUCKET_BITS, axis=1)
        # As an unsigned number the age of what lies ahead is beyond every reach.
        chosen &= age.view(np.uint64) < plan.extreme_reaches
        columns = self._signed_extremes()
        if len(columns) > 1:
            columns = columns[plan.extreme_sides]
        candidates = np.where(chosen, columns, _NOTHING)
        for reading, value in zip(plan.extremes, candidates.min(axis=1).tolist(), strict=True):
            if value != _NOTHING:
                attributes[reading.name] = value if reading.aggregate is Aggregate.MIN else -value

    def _signed_extremes(self) -> Whole:
        """For every side that is asked for the extreme of each row; largest ones negated, so that one minimum serves
        both. A row of one event has its only value as its sum; the others have entries of their own."""
        state, at, signs = self._state, self._at, self._plan.extreme_signs
        columns: Whole = np.multiply(signs, np.frombuffer(state, at.sums_code, at.totals, at.sums_at), dtype=np.int64)
        if at.extremes:
            several = self._keys.searchsorted(np.frombuffer(state, np.uint32, at.extremes, at.x_keys_at))
            for column, (sign,) in zip(columns, signs.tolist(), strict=True):
                values_at = at.x_lowest_at if sign > 0 else at.x_highest_at
                column[several] = np.frombuffer(state, np.int64, at.extremes, values_at) * sign
        return columns


@dataclass(frozen=True, slots=True)
class _Members:
    """Which streams (rows) each signature (columns) stands for, as numbers to multiply with and as a mask; which
    signatures are in hours, None when none is; and the first key of each."""

    weights: NDArray[np.float64]
    present: NDArray[np.bool_]
    hourly: NDArray[np.bool_] | None
    firsts: Whole


@lru_cache(maxsize=4096)
def _members(table: bytes, width: int, hourly: bytes) -> _Members:
    """A customer is often asked about several times in a row, so the matrices are worth keeping for a while."""
    bits = np.unpackbits(np.frombuffer(table, np.uint8).reshape(-1, width), axis=1, bitorder="little")
    present = np.ascontiguousarray(bits[:, : len(hourly)].T).view(np.bool_)
    in_hours = np.frombuffer(hourly, np.bool_) @ present if any(hourly) else None
    return _Members(
        weights=present.astype(np.float64),
        present=present,
        hourly=in_hours,
        firsts=np.arange(present.shape[1], dtype=np.int64)[:, None] << BUCKET_BITS,
    )
