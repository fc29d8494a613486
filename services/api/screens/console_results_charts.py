"""The results' charts as coordinates: the templates draw them, with classes for colours and attributes for places."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from models.evaluation.intervals import Estimate
from services.use_cases.observing.results import Day
from services.use_cases.observing.results_rates import Rate

WIDTH, HEIGHT = 560, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 20
SPAN = 160
"""Width of the small picture of an interval."""
_LABELS_MOST = 8


@dataclass(frozen=True, slots=True)
class Mark:
    """A day of a chart: its place, the height of its bar or point, and what of it is told."""

    day: date
    x: float
    y: float
    width: float
    height: float
    label: bool
    number: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the chart, and the value it stands for."""

    y: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """A bar a day."""

    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChart:
    """A rate a day: `line` through the days that have enough cases, `band` of their intervals, and a point each, small
    where cases are too few."""

    line: str
    band: str
    marks: tuple[Mark, ...]
    rates: tuple[Rate, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """An interval as a line with a point, on a scale that all rows of a table share."""

    low: float
    value: float
    high: float


def bar_chart(days: Sequence[date], numbers: Sequence[int]) -> BarChart:
    """How many a day."""
    most = nice_ceiling(max(numbers, default=0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(days))
    marks = []
    for place, (day, number) in enumerate(zip(days, numbers, strict=True)):
        height = _tall(number / most)
        x = LEFT + step * place + step * 0.15
        marks.append(
            Mark(day, round(x, 1), _down(height), round(step * 0.7, 1), height, _labelled(place, len(days)), number)
        )
    return BarChart(marks=tuple(marks), ticks=_ticks(most))


def rate_chart(days: Sequence[date], found: Sequence[Day], rates: Sequence[Rate]) -> RateChart:
    """A rate a day; the scale ends above the highest interval that means anything."""
    sure = [rate for rate in rates if rate.enough]
    top = nice_ceiling(max((rate.high for rate in sure), default=max((rate.value for rate in rates), default=0.0)))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(days))
    xs = [round(LEFT + step * (place + 0.5), 1) for place in range(len(days))]
    marks = tuple(
        Mark(day, x, _at(rate.value, top), 0, 0, _labelled(place, len(days)), each.steps.seen)
        for place, (day, x, rate, each) in enumerate(zip(days, xs, rates, found, strict=True))
    )
    known = [(x, rate) for x, rate in zip(xs, rates, strict=True) if rate.enough]
    line = " ".join(f"{x},{_at(rate.value, top)}" for x, rate in known)
    band = [f"{x},{_at(rate.high, top)}" for x, rate in known]
    band += [f"{x},{_at(rate.low, top)}" for x, rate in reversed(known)]
    return RateChart(line=line, band=" ".join(band), marks=marks, rates=tuple(rates), ticks=_ticks(top))


def rate_scale(rates: Sequence[Rate]) -> float:
    """The end of a scale from 0 that holds the intervals of all rates with cases enough."""
    return nice_ceiling(max((rate.high for rate in rates if rate.enough), default=1.0))


def rate_whisker(rate: Rate, scale: float) -> Whisker:
    """On a scale from 0."""
    low, value, high = (round(min(1.0, part / scale) * SPAN, 1) for part in (rate.low, rate.value, rate.high))
    return Whisker(low=low, value=value, high=high)


def lift_reach(estimates: Sequence[Estimate | None]) -> float:
    """The end of a scale that goes as far to either side of 0; wild intervals run out of it."""
    sizes = sorted(
        max(abs(each.low), abs(each.high)) for each in estimates if each is not None and math.isfinite(each.high)
    )
    return nice_ceiling(min(sizes[-1], 4 * sizes[len(sizes) // 2]) if sizes else 1.0)


def lift_whisker(estimate: Estimate, reach: float) -> Whisker:
    """On a scale from minus `reach` to `reach`."""

    def place(part: float) -> float:
        return round((max(-1.0, min(1.0, part / reach)) + 1) / 2 * SPAN, 1)

    return Whisker(low=place(estimate.low), value=place(estimate.value), high=place(estimate.high))


def nice_ceiling(most: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten; 1 for nothing."""
    if most <= 0 or not math.isfinite(most):
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= most * (1 - 1e-9))


def _ticks(top: float) -> tuple[Tick, ...]:
    return tuple(Tick(_at(top * part, top), top * part) for part in (0.0, 0.5, 1.0))


def _tall(part: float) -> float:
    return round(part * (HEIGHT - TOP - BOTTOM), 1)


def _down(height: float) -> float:
    return round(HEIGHT - BOTTOM - height, 1)


def _at(value: float, top: float) -> float:
    return _down(_tall(min(1.0, value / top)))


def _labelled(place: int, days: int) -> bool:
    """Every so many days, counted from the last, which is always told."""
    every = max(1, math.ceil(days / _LABELS_MOST))
    return (days - 1 - place) % every == 0
