"""Smallest and largest values in windows, read from the rows of a state: one table of which row counts for which stream
and window, and one pass over it for all the extremes of one kind."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Aggregate, Value
from decision_engine.features.state import BUCKET_BITS, BUCKET_MASK, Sections

_KEY, _WHOLE = np.dtype(np.uint32), np.dtype(np.int64)
# Numbers as arrays: converting one costs numpy as much as working with it.
_BUCKETS, _BITS = np.array(BUCKET_MASK, _KEY), np.array(BUCKET_BITS, _KEY)
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
SIDES = {True: (np.maximum, _LOWEST), False: (np.minimum, _HIGHEST)}
"""Largest and smallest: how they are found, and what stands for nothing."""
_SIDES = {largest: (side.reduce, nothing, np.array(nothing, _WHOLE)) for largest, (side, nothing) in SIDES.items()}
FAR = 1 << 31
"""A current bucket that no row is within reach of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtremeGroup:
    """All smallest or all largest values of streams of one unit: every reach of each stream, side by side; `readings`
    are the attributes with their places among these."""

    largest: bool
    hourly: bool
    reaches: NDArray[np.uint32]
    members: slice
    """Which of the plan's streams."""
    readings: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtremePlan:
    """The streams whose extremes are asked for, group by group."""

    streams: tuple[int, ...]
    groups: tuple[ExtremeGroup, ...]


def plan_extremes(extremes: Sequence[tuple[str, Aggregate, int, int]], hourly: Sequence[bool]) -> ExtremePlan | None:
    """For name, aggregate, stream and reach of each; None without any. `hourly` tells of each stream its unit."""
    if not extremes:
        return None
    kinds: dict[tuple[bool, bool], list[tuple[str, int, int]]] = {}
    for name, aggregate, stream, reach in extremes:
        kinds.setdefault((aggregate is Aggregate.MAX, hourly[stream]), []).append((name, stream, reach))
    streams: list[int] = []
    groups: list[ExtremeGroup] = []
    for (largest, in_hours), members in sorted(kinds.items()):
        of_group = sorted({stream for _, stream, _ in members})
        reaches = sorted({reach for _, _, reach in members})
        groups.append(
            ExtremeGroup(
                largest=largest,
                hourly=in_hours,
                reaches=np.array(reaches, dtype=_KEY)[:, None],
                members=slice(len(streams), len(streams) + len(of_group)),
                readings=tuple(
                    (name, of_group.index(stream) * len(reaches) + reaches.index(reach))
                    for name, stream, reach in members
                ),
            )
        )
        streams += of_group
    return ExtremePlan(streams=tuple(streams), groups=tuple(groups))


@dataclass(slots=True)
class ExtremeRows:
    """The rows of a state as of a moment: `day` and `hour` are the current buckets."""

    state: bytes
    at: Sections
    keys: NDArray[np.uint32]
    sums: NDArray[np.integer]
    day: int
    hour: int


def read_extremes(
    plan: ExtremePlan, rows: ExtremeRows, members: NDArray[np.float64], attributes: MutableMapping[str, Value]
) -> None:
    """Sets those attributes whose windows are not empty. `members` are 1 where a signature (down) counts for one of
    the plan's streams (across)."""
    keys = rows.keys
    buckets, counted = keys & _BUCKETS, members.astype(bool).T.take(keys >> _BITS, axis=1)
    for group in plan.groups:
        latest = rows.hour if group.hourly else rows.day
        if latest < 0:
            continue
        # As an unsigned number the age of what lies ahead is beyond every reach.
        ages = np.array(min(latest, FAR), _KEY) - buckets
        inside = counted[group.members, None] & (ages < group.reaches)
        extreme, nothing, nowhere = _SIDES[group.largest]
        found = extreme(np.where(inside, _of_rows(rows, largest=group.largest), nowhere), 2).reshape(-1).tolist()
        for name, place in group.readings:
            value = found[place]
            if value != nothing:
                attributes[name] = value


def _of_rows(rows: ExtremeRows, *, largest: bool) -> NDArray[np.int64]:
    """The extreme of each row. A row of one event has its value as its sum; the others have entries of their own."""
    at, column = rows.at, rows.sums.astype(_WHOLE)
    if at.extremes:
        several = rows.keys.searchsorted(np.frombuffer(rows.state, _KEY, at.extremes, at.x_keys_at))
        values_at = at.x_highest_at if largest else at.x_lowest_at
        column.put(several, np.frombuffer(rows.state, rows.sums.dtype, at.extremes, values_at))
    return column
