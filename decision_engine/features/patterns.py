"""Decay and streaks, read from the day and hour rows that windows are read from: nothing is stored for them.

Everything is a sum of whole numbers or a set of ages, so the order in which rows came about cannot matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import mul

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Aggregate, FeatureDefinition, Value, Window
from decision_engine.features.dictionary import attribute_names
from decision_engine.features.layout import Layout, stream_of
from decision_engine.features.shapes import STREAKS, windows_of
from decision_engine.features.state import Sections
from decision_engine.features.tally_layout import is_tallied
from decision_engine.features.window_formulas import WEIGHT_BITS, decay_weights, run_of

_EXACT_BYTES, _EXACT_ROWS = 4, 1 << 10
"""Up to so many numbers of up to so many bytes, each times at most 2^20, add up to less than 2^63."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """A decayed amount of a stream, of sums or of counts; `weights` by age, as far back as is looked."""

    name: str
    place: int
    weights: NDArray[np.int64]
    summed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Active units or a streak within a window, which `mask` has as bits."""

    name: str
    aggregate: Aggregate
    mask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """All of one stream, and the longest of their windows."""

    place: int
    longest: int
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternPlan:
    """What is read this way, and the streams it is read from; `place` is a stream's place among these."""

    decays: tuple[Decay, ...]
    runs: tuple[Runs, ...]
    streams: tuple[int, ...]


def plan_patterns(features: tuple[FeatureDefinition, ...], layout: Layout) -> PatternPlan:
    """Those of all features that read day or hour rows."""
    numbers = {stream: number for number, stream in enumerate(layout.streams)}
    found = [
        (feature, name, window, numbers[stream_of(feature, window.unit)])
        for feature, name, window in _windows(features)
        if not is_tallied(feature, window.unit)
    ]
    streams = sorted({stream for *_, stream in found})
    decays: list[Decay] = []
    runs: dict[int, list[tuple[int, Run]]] = {}
    for feature, name, window, stream in found:
        place = streams.index(stream)
        if feature.half_life is None:
            run = Run(name=name, aggregate=feature.aggregate, mask=(1 << window.length) - 1)
            runs.setdefault(place, []).append((window.length, run))
        else:
            weights = np.array(decay_weights(feature.half_life.length, window.length), dtype=np.int64)
            decays.append(Decay(name=name, place=place, weights=weights, summed=feature.field is not None))
    return PatternPlan(
        decays=tuple(decays),
        runs=tuple(
            Runs(place=place, longest=max(length for length, _ in members), runs=tuple(run for _, run in members))
            for place, members in runs.items()
        ),
        streams=tuple(streams),
    )


def _windows(features: tuple[FeatureDefinition, ...]) -> Iterator[tuple[FeatureDefinition, str, Window]]:
    for feature in features:
        if feature.per is None and feature.aggregate in STREAKS | {Aggregate.DECAYED}:
            for (name, _), window in zip(attribute_names(feature), windows_of(feature), strict=True):
                yield feature, name, window


def read_patterns(
    plan: PatternPlan,
    state: bytes,
    at: Sections,
    members: NDArray[np.bool_],
    ages: NDArray[np.uint64],
    attributes: dict[str, Value],
) -> None:
    """Sets the attributes of those for which something happened. `ages` are those of the rows, in the unit of each
    (what lies ahead is beyond any), `members` tells for each of the plan's streams (down) which rows (across) count
    for it."""
    for units in plan.runs:
        flags = np.zeros(units.longest, dtype=np.uint8)
        flags[ages[members[units.place] & (ages < units.longest)]] = 1
        active = int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
        for run in units.runs if active else ():
            within = active & run.mask
            if within:
                attributes[run.name] = run_of(within, run.aggregate)
    for decay in plan.decays:
        code, start = (at.sums_code, at.sums_at) if decay.summed else (at.counts_code, at.counts_at)
        inside = members[decay.place] & (ages < len(decay.weights))
        weights = decay.weights[ages[inside]]
        if len(weights):
            amounts = np.frombuffer(state, code, at.totals, start)[inside]
            attributes[decay.name] = _total(weights, amounts) / (1 << WEIGHT_BITS)


def _total(weights: NDArray[np.int64], amounts: NDArray[np.integer]) -> int:
    """The sum of the products, exactly."""
    if amounts.itemsize <= _EXACT_BYTES and len(amounts) <= _EXACT_ROWS:
        return int(weights.dot(amounts))
    return sum(map(mul, weights.tolist(), amounts.tolist()))
