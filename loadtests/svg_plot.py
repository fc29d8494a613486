"""Plots as SVG, without a library: lines over a number, and stacked bars. What a plot says it also says in a legend of
words, and every point tells its values on hover."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from loadtests.results import Line, Plot

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
COLOURS = (
    "#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#0f766e", "#a16207", "#1d4ed8", "#be185d", "#57534e",
    "#14532d", "#6d28d9", "#7c2d12", "#0e7490", "#831843", "#1e293b",
)  # fmt: skip
"""Apart in hue and lightness, each with at least 4.5 to 1 on white."""
_TICKS = 6
_POINTS_SHOWN = 40
"""Lines with more points have no dots."""
_LEGEND_LINE = 18
_CHARACTER = 7.2
"""Width of a letter in the legend."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to pixels, and where to write which number."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def draw(plot: Plot) -> str:
    """The plot as an `svg` element; a plot without points says so."""
    if not any(line.points for line in plot.lines):
        return f"<p>{escape(plot.title)}: nothing was measured.</p>"
    return _bars(plot) if plot.kind == "bars" else _lines(plot)


def axis_of(values: Sequence[float], begin: float, end: float, *, log: bool, floor: float | None = None) -> Axis:
    """An axis that holds all values, between two pixels. Without `log` it begins at `floor` where one is given."""
    return _log_axis(values, begin, end) if log else _linear_axis(values, begin, end, floor)


def _linear_axis(values: Sequence[float], begin: float, end: float, floor: float | None) -> Axis:
    low = min(values) if floor is None else min(floor, *values)
    high = max(values)
    if high == low:
        high = low + 1
    step = _round_step((high - low) / _TICKS)
    first, last = math.floor(low / step), math.ceil(high / step)
    low, high = first * step, last * step
    ticks = [(number * step, _number(number * step)) for number in range(first, last + 1)]
    return Axis(lambda value: begin + (value - low) / (high - low) * (end - begin), ticks)


def _log_axis(values: Sequence[float], begin: float, end: float) -> Axis:
    above = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
    high = max(high, low + 1)
    ticks = [(10.0**power, _number(10.0**power)) for power in range(low, high + 1)]
    if high - low <= 2:
        ticks += [(few * 10.0**power, _number(few * 10.0**power)) for power in range(low, high) for few in (2, 5)]

    def place(value: float) -> float:
        return begin + (math.log10(value) - low) / (high - low) * (end - begin)

    return Axis(place, ticks)


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(few * power for few in (1.0, 2.0, 5.0, 10.0) if few * power >= rough * 0.999)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if abs(value) >= 10_000:
        return f"{value / 1e3:g}k"
    return f"{value:,.4g}"


def _lines(plot: Plot) -> str:
    lines = [Line(line.name, _shown(line, plot)) for line in plot.lines]
    points = [point for line in lines for point in line.points]
    if not points:
        return f"<p>{escape(plot.title)}: nothing above zero was measured.</p>"
    across = axis_of([x for x, _ in points], LEFT, WIDTH - RIGHT, log=plot.log_x)
    up = axis_of([y for _, y in points], HEIGHT - BOTTOM, TOP, log=plot.log_y, floor=0.0)
    parts = [_grid(plot, across, up)]
    for number, line in enumerate(lines):
        parts.append(_line(line, COLOURS[number % len(COLOURS)], across, up))
    return _whole(plot, parts, [line.name for line in lines])


def _shown(line: Line, plot: Plot) -> list[tuple[float, float]]:
    return [(x, y) for x, y in line.points if (x > 0 or not plot.log_x) and (y > 0 or not plot.log_y)]


def _line(line: Line, colour: str, across: Axis, up: Axis) -> str:
    places = [(across.place(x), up.place(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>']
    if len(places) <= _POINTS_SHOWN:
        for (x, y), (value_x, value_y) in zip(places, line.points, strict=True):
            told = f"{escape(line.name)}: {value_x:,.6g}, {value_y:,.6g}"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{told}</title></circle>')
    return "".join(parts)


def _bars(plot: Plot) -> str:
    heights = [sum(max(0.0, _at(line, place)) for line in plot.lines) for place in range(len(plot.labels))]
    up = axis_of(heights or [1.0], HEIGHT - BOTTOM, TOP, log=False, floor=0.0)
    room = (WIDTH - LEFT - RIGHT) / max(1, len(plot.labels))
    parts = [_grid(plot, Axis(float, ()), up)]
    for place, label in enumerate(plot.labels):
        x, below = LEFT + room * (place + 0.2), 0.0
        for number, line in enumerate(plot.lines):
            value = max(0.0, _at(line, place))
            top, bottom = up.place(below + value), up.place(below)
            told = f"{escape(label)}, {escape(line.name)}: {value:,.6g}"
            parts.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{room * 0.6:.1f}" height="{bottom - top:.1f}"'
                f' fill="{COLOURS[number % len(COLOURS)]}"><title>{told}</title></rect>'
            )
            below += value
        parts.append(_text(x + room * 0.3, HEIGHT - BOTTOM + 18, label, "middle"))
    return _whole(plot, parts, [line.name for line in plot.lines])


def _at(line: Line, place: int) -> float:
    return sum(y for x, y in line.points if x == place)


def _grid(plot: Plot, across: Axis, up: Axis) -> str:
    parts = []
    for value, text in up.ticks:
        y = up.place(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(LEFT - 8, y + 4, text, "end"))
    for value, text in across.ticks:
        x = across.place(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="grid"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 18, text, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, plot.x, "middle"))
    parts.append(f'<g transform="rotate(-90 14 {middle:.0f})">{_text(14, middle, plot.y, "middle")}</g>')
    return "".join(parts)


def _whole(plot: Plot, parts: Sequence[str], names: Sequence[str]) -> str:
    legend, height = _legend(names)
    shape = f'viewBox="0 0 {WIDTH} {HEIGHT + height}" role="img" aria-label="{escape(plot.title, quote=True)}"'
    return f'<svg {shape} xmlns="http://www.w3.org/2000/svg">{"".join(parts)}{legend}</svg>'


def _legend(names: Sequence[str]) -> tuple[str, int]:
    """In as many lines as it needs."""
    parts, x, line = [], float(LEFT), 0
    for number, name in enumerate(names):
        width = 26 + len(name) * _CHARACTER
        if x + width > WIDTH - RIGHT and x > LEFT:
            x, line = float(LEFT), line + 1
        y = HEIGHT + _LEGEND_LINE * line + 10
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.1f}" y="{y - 9}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, y + 2, name))
        x += width
    return "".join(parts), _LEGEND_LINE * (line + 1) + 4


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
