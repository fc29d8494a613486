"""Numeric tests of many attributes answered together: each is an interval that the attribute's value must lie in.

A conjunction's first such test stands in the first layer, a second one, on another attribute, in the second, and so on.
In a layer every conjunction has one place, so that it is answered with one comparison of arrays, whatever the number of
attributes. Tests that are no interval (`!=`, `in`, a value that must be unknown) are left to prepared masks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from struct import Struct, error

import numpy as np
from numpy.typing import NDArray

from decision_engine.attribute_selection import AttributeSelection
from decision_engine.conditions.atoms import AttributeTest
from decision_engine.conditions.evaluation import LARGEST_DOUBLE
from decision_engine.conditions.typing_rules import Kind
from decision_engine.features.definitions import Value

MOST_LAYERS = 4
"""Conjunctions over more attributes leave the rest to the masks."""
MANY_ATTRIBUTES = 32
"""For fewer attributes masks are as fast."""
_EXACT_BELOW = 2**53
"""A whole number below it is exact as a double, and one that is not below it is not rounded to below it."""
_ANYTHING = (-math.inf, math.inf)

Interval = tuple[float, float]
"""The least and the most that are allowed."""
_Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One interval a conjunction, in their order. Neighbours that ask the same attribute make a run: `attributes` is
    its place among the values by run, `lengths` how long the run is. `most` is None where nothing bounds from above."""

    attributes: NDArray[np.intp]
    lengths: NDArray[np.intp]
    least: _Doubles
    most: _Doubles | None


@dataclass(frozen=True, slots=True)
class IntervalTests:
    """The tests of all conjunctions, in layers. `doubles` lays the values of the `attributes` out as doubles, with a
    zero behind them for the conjunctions that ask nothing."""

    attributes: AttributeSelection
    doubles: Struct
    layers: tuple[_Layer, ...]

    def mask(self, values: Mapping[str, Value]) -> int:
        """The conjunctions that the values leave possible. Raises TypeError for a value that is no number."""
        numbers = np.frombuffer(self._packed(values))
        possible = _held(self.layers[0], numbers)
        for layer in self.layers[1:]:
            possible &= _held(layer, numbers)
        return int.from_bytes(np.packbits(possible, bitorder="little").tobytes(), "little")

    def masks(self, values: Sequence[Mapping[str, Value]]) -> list[int]:
        """The same for many at once. Raises TypeError when any of the values is no number."""
        if not values:
            return []
        numbers = np.frombuffer(b"".join([self._packed(each) for each in values])).reshape(len(values), -1)
        possible = _held(self.layers[0], numbers)
        for layer in self.layers[1:]:
            possible &= _held(layer, numbers)
        packed = np.packbits(possible, axis=1, bitorder="little")
        width, joined = packed.shape[1], packed.tobytes()
        return [int.from_bytes(joined[at : at + width], "little") for at in range(0, len(joined), width)]

    def _packed(self, values: Mapping[str, Value]) -> bytes:
        found = self.attributes.values(values, math.nan)
        try:
            return self.doubles.pack(*found)
        except (error, OverflowError):
            return self.doubles.pack(*map(_as_double, found))


def separate_intervals(
    tests: dict[str, dict[int, list[AttributeTest]]], kinds: Mapping[str, Kind], size: int
) -> IntervalTests | None:
    """Takes the intervals out of `tests` (by attribute and bit of `size` conjunctions); None, and nothing is taken,
    where there are too few attributes to be worth it."""
    found: dict[int, dict[str, Interval]] = {}
    for name in sorted(name for name in tests if kinds[name] not in (Kind.STRING, Kind.BOOL)):
        for bit, each in tests[name].items():
            interval = _intersection(each, kinds[name])
            if interval is not None and len(found.setdefault(bit, {})) < MOST_LAYERS:
                found[bit][name] = interval
    attributes = AttributeSelection({name for intervals in found.values() for name in intervals})
    if len(attributes.names) < MANY_ATTRIBUTES:
        return None
    for bit, intervals in found.items():
        for name in intervals:
            del tests[name][bit]
            if not tests[name]:
                del tests[name]
    place_of = {name: place for place, name in enumerate(attributes.names)}
    rows = [[(place_of[name], *interval) for name, interval in found.get(bit, {}).items()] for bit in range(size)]
    nothing = (len(place_of), *_ANYTHING)
    depth = max(map(len, rows))
    layers = tuple(_layer([row[n] if n < len(row) else nothing for row in rows]) for n in range(depth))
    return IntervalTests(attributes, Struct(f"{len(place_of)}d8x"), layers)


def _layer(places: Sequence[tuple[int, float, float]]) -> _Layer:
    runs = [(attribute, len(list(run))) for attribute, run in groupby(attribute for attribute, _, _ in places)]
    most = np.array([most for _, _, most in places])
    return _Layer(
        attributes=np.array([attribute for attribute, _ in runs], np.intp),
        lengths=np.array([length for _, length in runs], np.intp),
        least=np.array([least for _, least, _ in places]),
        most=None if np.isposinf(most).all() else most,
    )


def _held(layer: _Layer, numbers: _Doubles) -> NDArray[np.bool_]:
    """NaN, which an unknown value is, lies in no interval. `numbers` may be those of many, one a row."""
    asked = numbers[..., layer.attributes].repeat(layer.lengths, axis=-1)
    held = asked >= layer.least
    if layer.most is not None:
        held &= asked <= layer.most
    return held


def _as_double(value: Value | None) -> float:
    """A number as a double; one too great for it is infinite, beyond all bounds and no value of a double attribute."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        raise TypeError("text where a number is due")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _intersection(tests: Sequence[AttributeTest], kind: Kind) -> Interval | None:
    """The interval that all tests together allow; None where one is no interval, or not exact as one."""
    whole = (-LARGEST_DOUBLE, LARGEST_DOUBLE) if kind is Kind.DOUBLE else _ANYTHING
    intervals = [_interval(test, double=kind is Kind.DOUBLE) for test in tests]
    least, most = whole
    for interval in intervals:
        if interval is None:
            return None
        least, most = max(least, interval[0]), min(most, interval[1])
    return least, most


def _interval(test: AttributeTest, *, double: bool) -> Interval | None:
    if test.operator == "known":
        return _ANYTHING
    if test.operator not in ("<", "<=", ">", ">=", "==") or isinstance(test.constants[0], str):
        return None
    constant = test.constants[0]
    if not abs(constant) < _EXACT_BELOW:
        return None
    if double:
        below, at_most = math.nextafter(constant, -math.inf), float(constant)
        above, at_least = math.nextafter(constant, math.inf), float(constant)
    else:
        below, at_most = math.ceil(constant) - 1, math.floor(constant)
        above, at_least = math.floor(constant) + 1, math.ceil(constant)
    return {
        "<": (-math.inf, below),
        "<=": (-math.inf, at_most),
        ">": (above, math.inf),
        ">=": (at_least, math.inf),
        "==": (at_least, at_most),
    }[test.operator]
