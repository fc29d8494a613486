"""Reads the windows of many states at once: what `windows` reads of each alone, at a fraction of the work.

The rows of all states stand in one table, each key with its state's number in front, so that they are sorted still: one
search, one running total and one reduction serve all. Sums are whole numbers here whatever their size, which differ by
as much however they may have wrapped round before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Value
from decision_engine.features.extremes import FAR, SIDES, ExtremePlan
from decision_engine.features.readings import ReadingPlan
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, Sections
from decision_engine.features.windows import Windows, spread_of

_STATE_SHIFT = 32
"""Where the state's number stands in a key."""
_KEY, _WHOLE = np.dtype(np.uint32), np.dtype(np.int64)
_BEYOND = (1 << 32) - 1
"""An age beyond every reach."""
_Whole = NDArray[np.int64]


class StoredState(NamedTuple):
    """A state, where everything stands in it, and the buckets of the moment it is read for."""

    state: bytes
    at: Sections
    day: int
    hour: int


def read_windows(plan: ReadingPlan, stored: Sequence[StoredState]) -> list[dict[str, Value]]:
    """For each state the attributes that its windows set."""
    found: list[dict[str, Value]] = [{} for _ in stored]
    places = [place for place, each in enumerate(stored) if each.at.totals]
    if places:
        _Tables([stored[place] for place in places], plan).read([found[place] for place in places])
    return found


class _Tables:
    """The bucket tables of states that have rows."""

    def __init__(self, stored: Sequence[StoredState], plan: ReadingPlan) -> None:
        self._stored, self._plan = stored, plan
        self._days = np.array([each.day for each in stored], _WHOLE)
        self._hours = np.array([each.hour for each in stored], _WHOLE)
        signatures = np.array([each.at.signatures for each in stored])
        self._weights = np.frombuffer(b"".join([spread_of(s, at, plan) for s, at, _, _ in stored])).reshape(
            int(signatures.sum()), -1
        )
        self._first = np.cumsum(signatures) - signatures
        owners = np.arange(len(stored)).repeat(signatures)
        number = owners << _STATE_SHIFT | (np.arange(len(owners)) - self._first[owners]) << BUCKET_BITS
        latest = np.where(self._weights[:, plan.streams] > 0, self._hours[owners], self._days[owners])
        bounds = number[:, None] + np.clip(latest[:, None] + 1 - plan.reaches, 0, BUCKET_MASK)
        rows = np.array([each.at.totals for each in stored])
        self._row_first = np.cumsum(rows) - rows
        self._row_owners = np.arange(len(stored)).repeat(rows)
        self._keys = self._numbered(b"".join([s[at.keys_at : at.x_keys_at] for s, at, _, _ in stored]), rows)
        self._sums: _Whole = np.concatenate(
            [np.frombuffer(s, at.sums_code, at.totals, at.sums_at) for s, at, _, _ in stored]
        ).astype(_WHOLE)
        # For each signature (down) and reach, the longest first (across), the first row within it; last the end of all.
        self._starts = self._keys.searchsorted(bounds)

    def read(self, found: Sequence[dict[str, Value]]) -> None:
        """Sets the attributes that the tables tell."""
        plan = self._plan
        if plan.cells.size:
            for attributes, cells in zip(found, self._cells(), strict=True):
                plan.tell(cells, attributes)
        if plan.extremes is not None:
            self._read_extremes(plan.extremes, found)
        if plan.since or plan.patterns.streams:
            for (state, at, day, hour), attributes in zip(self._stored, found, strict=True):
                Windows(state, at, plan, day, hour).read_ages(attributes)

    def _numbered(self, keys: bytes, counts: NDArray[np.intp]) -> _Whole:
        """Keys of all states, each with its state's number in front."""
        owners = np.arange(len(counts)).repeat(counts)
        return np.asarray(np.frombuffer(keys, _KEY) | owners << _STATE_SHIFT, _WHOLE)

    def _cells(self) -> list[list[int]]:
        """By state the counts and sums that fell into the reaches that attributes ask for."""
        before = np.zeros((len(self._keys) + 1, 2), _WHOLE)
        before[1:, 0] = np.concatenate(
            [np.frombuffer(s, at.counts_code, at.totals, at.counts_at) for s, at, _, _ in self._stored]
        )
        before[1:, 1] = self._sums
        np.add.accumulate(before, 0, None, before)
        by_signature = before.take(self._starts, axis=0).reshape(len(self._weights), -1)
        of_stream = by_signature.shape[1]
        at_end, at_start = self._plan.cells % of_stream
        held = by_signature.take(at_end, axis=1) - by_signature.take(at_start, axis=1)
        held *= self._weights.astype(np.bool_).take(self._plan.cells[0] // of_stream, axis=1)
        cells: list[list[int]] = np.add.reduceat(held, self._first, axis=0).tolist()
        return cells

    def _read_extremes(self, plan: ExtremePlan, found: Sequence[dict[str, Value]]) -> None:
        """As `extremes.read_extremes`."""
        buckets, owners = self._keys & BUCKET_MASK, self._row_owners
        signatures = self._first[owners] + (self._keys >> BUCKET_BITS & (1 << _STATE_SHIFT - BUCKET_BITS) - 1)
        counted = self._weights[:, self._plan.streams + 1 :].astype(np.bool_).T.take(signatures, axis=1)
        for group in plan.groups:
            latest = (self._hours if group.hourly else self._days)[owners]
            # What lies ahead, as an unsigned number, is beyond every reach too.
            ages = np.where(latest < 0, _BEYOND, (np.minimum(latest, FAR) - buckets) & _BEYOND)
            inside = counted[group.members, None] & (ages < group.reaches)
            extreme, nothing = SIDES[group.largest]
            known = np.where(inside, self._of_rows(largest=group.largest), nothing)
            values = extreme.reduceat(known, self._row_first, axis=2).reshape(-1, len(found)).T.tolist()
            for attributes, mine in zip(found, values, strict=True):
                for name, place in group.readings:
                    if mine[place] != nothing:
                        attributes[name] = mine[place]

    def _of_rows(self, *, largest: bool) -> _Whole:
        """The extreme of each row; a row of one event has its value as its sum, others have entries of their own."""
        column = self._sums.copy()
        several = [each for each in self._stored if each.at.extremes]
        if several:
            counts = np.array([each.at.extremes for each in self._stored])
            keys = b"".join([s[at.x_keys_at : at.counts_at] for s, at, _, _ in self._stored])
            values = [
                np.frombuffer(s, at.sums_code, at.extremes, at.x_highest_at if largest else at.x_lowest_at)
                for s, at, _, _ in several
            ]
            column[self._keys.searchsorted(self._numbered(keys, counts))] = np.concatenate(values)
        return column
