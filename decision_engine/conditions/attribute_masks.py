"""For one attribute: which conjunctions are still possible, given its value, as bit masks prepared in advance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.conditions.atoms import AttributeTest
from decision_engine.conditions.evaluation import LARGEST_DOUBLE
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import Value

_BEYOND_DOUBLES = 2**1024
"""The first power of two that no double can hold."""
TestsByConjunction = Mapping[int, Sequence[AttributeTest]]
"""Bit of the conjunction to its tests on one attribute."""


@dataclass(frozen=True, slots=True)
class ThresholdMasks:
    """Numbers: `masks[bisect_right(thresholds, value)]`, and `missing` when there is none."""

    attribute: str
    thresholds: list[float]
    masks: list[int]
    missing: int


@dataclass(frozen=True, slots=True)
class LookupMasks:
    """Texts and yes/no: `masks.get(value, others)`; the key None is the missing value."""

    attribute: str
    masks: dict[Value | None, int]
    others: int


class _AnyOther(str):
    """Stands for every text that no rule names: equal to none of them."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return 0


def lookup_masks(attribute: str, tests: TestsByConjunction, everything: int) -> LookupMasks:
    """Prepares the masks of a text or yes/no attribute."""
    named = {constant for each in tests.values() for test in each for constant in test.constants}
    masks: dict[Value | None, int] = {value: _mask(tests, everything, value) for value in named}
    masks[None] = _mask(tests, everything, None)
    return LookupMasks(attribute, masks, _mask(tests, everything, _AnyOther()))


def threshold_masks(attribute: str, kind: Kind, tests: TestsByConjunction, everything: int) -> ThresholdMasks:
    """Prepares the masks of a numeric attribute.

    Every test is put as "at or above a threshold", so one bisection finds the interval. For doubles the outermost
    thresholds set apart what is not finite (NaN sorts behind all), which counts as missing.
    """
    double = kind is Kind.DOUBLE
    starts = {start for each in tests.values() for test in each for start in _starts(test, double=double)}
    missing = _mask(tests, everything, None)
    if double:
        starts = {start for start in starts if math.isfinite(start)} | {-LARGEST_DOUBLE}
    thresholds: list[float] = sorted(starts)
    masks = [missing if double else _mask(tests, everything, -math.inf)]
    masks += [_mask(tests, everything, start) for start in thresholds]
    if double:
        thresholds.append(_BEYOND_DOUBLES)
        masks.append(missing)
    return _merged(ThresholdMasks(attribute, thresholds, masks, missing))


def _starts(test: AttributeTest, *, double: bool) -> list[float]:
    """Where the test's answer may change: at the constant, just above it, or both."""
    starts: list[float] = []
    for constant in test.constants:
        if isinstance(constant, str):
            continue
        at = float(constant) if double else math.ceil(constant)
        above = math.nextafter(constant, math.inf) if double else math.floor(constant) + 1
        starts += {"<": [at], ">=": [at], ">": [above], "<=": [above]}.get(test.operator, [at, above])
    return starts


def _mask(tests: TestsByConjunction, everything: int, value: Value | None) -> int:
    """All conjunctions but those with a test that fails on the value."""
    failing = 0
    for bit, each in tests.items():
        if not all(test.holds(value) for test in each):
            failing |= 1 << bit
    return everything & ~failing


def _merged(masks: ThresholdMasks) -> ThresholdMasks:
    """Neighbouring intervals of equal masks made one; NaN must still sort into the last."""
    thresholds: list[float] = []
    kept = [masks.masks[0]]
    for threshold, mask in zip(masks.thresholds, masks.masks[1:], strict=True):
        if mask != kept[-1]:
            thresholds.append(threshold)
            kept.append(mask)
    return ThresholdMasks(masks.attribute, thresholds, kept, masks.missing)
