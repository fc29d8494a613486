"""Attributes whose conjunctions stand close together, asked as one group over the few bits they concern.

A mask as wide as all the strategy's conjunctions would mostly say nothing about most of them.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decision_engine.conditions.attribute_masks import ThresholdMasks
from decision_engine.features.definitions import Value

NARROW_BITS = 1024
"""Groups need not be narrower: so few bits are handled as fast as one."""
MOST_GROUPS = 16
"""About how many groups are formed of attributes that concern few bits each."""


@dataclass(frozen=True, slots=True)
class ThresholdGroup:
    """Numeric attributes by rows; bit i of their masks is the conjunction `base + i`, `full` has all bits set."""

    base: int
    full: int
    rows: tuple[tuple[str, list[float], list[int], int], ...]
    """Attribute, thresholds, masks, and the mask of a missing value, as of `ThresholdMasks`."""

    def ruled_out(self, value_of: Callable[[str], Value | None]) -> int:
        """The conjunctions, at the bits they have in the index, that the values make impossible. Raises TypeError for a
        value that is no number."""
        possible = self.full
        for attribute, thresholds, masks, missing in self.rows:
            value = value_of(attribute)
            possible &= missing if value is None else masks[bisect_right(thresholds, value)]
        return (self.full ^ possible) << self.base


def group_thresholds(entries: Sequence[ThresholdMasks], size: int) -> tuple[ThresholdGroup, ...]:
    """Groups attributes by the bits they concern, of `size` in all; those that concern bits far apart make a group of
    their own over all bits."""
    widest = max(NARROW_BITS, size // MOST_GROUPS)
    placed = sorted(((*_span(entry, (1 << size) - 1), entry) for entry in entries), key=lambda each: each[:2])
    groups: list[tuple[int, int, list[ThresholdMasks]]] = []
    wide: list[ThresholdMasks] = []
    for first, last, entry in placed:
        if last - first > widest:
            wide.append(entry)
        elif groups and last - groups[-1][0] <= widest:
            base, end, members = groups[-1]
            groups[-1] = (base, max(end, last), [*members, entry])
        else:
            groups.append((first, last, [entry]))
    if wide:
        groups.append((0, size, wide))
    return tuple(_group(*group) for group in groups)


def _span(entry: ThresholdMasks, everything: int) -> tuple[int, int]:
    """The first bit that a value can rule out, and the one behind the last."""
    touched = 0
    for mask in (*entry.masks, entry.missing):
        touched |= everything & ~mask
    return ((touched & -touched).bit_length() - 1, touched.bit_length()) if touched else (0, 1)


def _group(first: int, last: int, entries: Sequence[ThresholdMasks]) -> ThresholdGroup:
    full = (1 << (last - first)) - 1
    rows = tuple(
        (
            entry.attribute,
            entry.thresholds,
            [mask >> first & full for mask in entry.masks],
            entry.missing >> first & full,
        )
        for entry in entries
    )
    return ThresholdGroup(first, full, rows)
