"""Small plots as inline SVG: a frame with two axes, and marks in it. Colours are classes, so the page decides them.

Nothing here needs a script or a font of its own; without style sheets a plot is still black on white.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, isfinite, log10

Point = tuple[float, float]
Shown = Callable[[float], str]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From `low` to `high`, with a title and how a tick is written. `categories` are written instead of numbers, at 0,
    1, 2, …"""

    low: float
    high: float
    title: str = ""
    shown: Shown = "{:g}".format
    categories: Sequence[str] = ()

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Where ticks are, and what is written there."""
        if self.categories:
            every = -(-len(self.categories) // 12)
            return [(float(n), text) for n, text in enumerate(self.categories) if n % every == 0]
        step = _step(self.high - self.low, most)
        first = round(self.low / step - 1e-9)
        ticks = [(first + n) * step for n in range(most * 3)]
        inside = [tick for tick in ticks if self.low - step * 1e-6 <= tick <= self.high + step * 1e-6]
        return [(tick, self.shown(tick)) for tick in inside]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A plot's size in pixels, its margins (top, right, bottom, left) and axes. `title` says what is to be seen, for
    those who cannot see it."""

    title: str
    x: Axis
    y: Axis
    width: int = 460
    height: int = 320
    margins: tuple[int, int, int, int] = (12, 22, 44, 58)

    def across(self, value: float) -> float:
        """The pixel column of a value."""
        left, right = self.margins[3], self.width - self.margins[1]
        return left + (right - left) * _part(value, self.x)

    def down(self, value: float) -> float:
        """The pixel row of a value."""
        top, bottom = self.margins[0], self.height - self.margins[2]
        return bottom - (bottom - top) * _part(value, self.y)

    def at(self, point: Point) -> str:
        """A point as SVG coordinates."""
        return f"{self.across(point[0]):.1f},{self.down(point[1]):.1f}"


def padded(values: Iterable[float], *, share: float = 0.06, zero: bool = False) -> tuple[float, float]:
    """The range of the finite values with some room around, 0 inside if asked for; 0 to 1 without any."""
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = (high - low) * share or abs(high) * share or 1.0
    return (low if zero and low == 0.0 else low - room), (high if zero and high == 0.0 else high + room)


def drawn(frame: Frame, marks: Iterable[str]) -> str:
    """The plot: grid, axes, and marks over them."""
    body = "".join([*_grid(frame), *marks, *_titles(frame)])
    size = f'viewBox="0 0 {frame.width} {frame.height}" width="{frame.width}" height="{frame.height}"'
    return f'<svg class="plot" role="img" aria-label="{escape(frame.title)}" {size}>{body}</svg>'


def line(frame: Frame, points: Sequence[Point], style: str = "series") -> str:
    """Straight lines between the points."""
    return f'<polyline class="{style}" fill="none" points="{" ".join(map(frame.at, points))}"/>'


def band(frame: Frame, points: Sequence[tuple[float, float, float]], style: str = "band") -> str:
    """The area between low and high; points are x, low, high."""
    upper = [frame.at((x, high)) for x, _, high in points]
    lower = [frame.at((x, low)) for x, low, _ in reversed(points)]
    return f'<polygon class="{style}" points="{" ".join([*upper, *lower])}"/>'


def dot(frame: Frame, point: Point, hint: str = "", style: str = "dot") -> str:
    """A point, with a hint that shows on hovering."""
    x, y = frame.across(point[0]), frame.down(point[1])
    return f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{_hint(hint)}</circle>'


def whisker(frame: Frame, x: float, low: float, high: float, style: str = "whisker") -> str:
    """An upright interval with caps; an unbounded end stops at the frame."""
    ends = (frame.down(_bounded(low, frame.y)), frame.down(_bounded(high, frame.y)))
    at = frame.across(x)
    caps = "".join(f"M{at - 3:.1f} {end:.1f}h6" for end in ends)
    return f'<path class="{style}" fill="none" d="M{at:.1f} {ends[0]:.1f}V{ends[1]:.1f}{caps}"/>'


def bar(frame: Frame, x: float, height: float, hint: str = "", style: str = "bar") -> str:
    """An upright bar of width 0.7 around x, from 0."""
    left, right = frame.across(x - 0.35), frame.across(x + 0.35)
    top, foot = sorted((frame.down(height), frame.down(0.0)))
    size = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{max(foot - top, 0.5):.1f}"'
    return f'<rect class="{style}" {size}>{_hint(hint)}</rect>'


def level(frame: Frame, height: float, style: str = "reference") -> str:
    """A level line across the frame."""
    return line(frame, [(frame.x.low, height), (frame.x.high, height)], style)


def interval_glyph(
    value: float, ends: Point, span: Point, reference: float | None = None, *, marked: bool = False
) -> str:
    """A value and its interval on one line, for a cell of a table; `span` is common to all cells of the column."""
    width, height, room = 110, 16, 4

    def across(number: float) -> float:
        spread = span[1] - span[0] or 1.0
        return room + (width - 2 * room) * min(1.0, max(0.0, (number - span[0]) / spread))

    low, high = (across(end if isfinite(end) else span[side]) for side, end in enumerate(ends))
    base = "" if reference is None else f'<path class="reference" d="M{across(reference):.1f} 0V{height}"/>'
    kind = "dot marked" if marked else "dot"
    return (
        f'<svg class="glyph" aria-hidden="true" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{base}'
        f'<path class="whisker" d="M{low:.1f} {height / 2}H{high:.1f}"/>'
        f'<circle class="{kind}" cx="{across(value):.1f}" cy="{height / 2}" r="3.5"/></svg>'
    )


def share_bar(share: float, style: str = "bar") -> str:
    """A lying bar for a cell of a table; a share from 0 to 1."""
    width = 110 * min(1.0, max(0.0, share))
    return (
        '<svg class="glyph" aria-hidden="true" viewBox="0 0 110 12" width="110" height="12">'
        f'<rect class="{style}" x="0" y="1" width="{width:.1f}" height="10" rx="1.5"/></svg>'
    )


def _grid(frame: Frame) -> Iterable[str]:
    top, right, bottom, left = frame.margins
    foot, end = frame.height - bottom, frame.width - right
    for value, text in frame.y.ticks():
        y = frame.down(value)
        yield f'<path class="grid" d="M{left} {y:.1f}H{end}"/>'
        yield f'<text class="tick" x="{left - 6}" y="{y + 3.5:.1f}" text-anchor="end">{escape(text)}</text>'
    for value, text in frame.x.ticks():
        x = frame.across(value)
        yield f'<path class="grid" d="M{x:.1f} {top}V{foot}"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{foot + 15}" text-anchor="middle">{escape(text)}</text>'
    yield f'<path class="axis" fill="none" d="M{left} {top}V{foot}H{end}"/>'


def _titles(frame: Frame) -> Iterable[str]:
    top, right, bottom, left = frame.margins
    middle = (left + frame.width - right) / 2
    place = f'x="{middle:.0f}" y="{frame.height - 6}" text-anchor="middle"'
    yield f'<text class="title" {place}>{escape(frame.x.title)}</text>'
    centre = (top + frame.height - bottom) / 2
    turned = f'transform="translate(13 {centre:.0f}) rotate(-90)" text-anchor="middle"'
    yield f'<text class="title" {turned}>{escape(frame.y.title)}</text>'


def _hint(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _part(value: float, axis: Axis) -> float:
    return (value - axis.low) / ((axis.high - axis.low) or 1.0)


def _bounded(value: float, axis: Axis) -> float:
    return min(axis.high, max(axis.low, value))


def _step(spread: float, most: int) -> float:
    """The smallest round step with at most so many ticks."""
    if spread <= 0.0:
        return 1.0
    power = 10.0 ** floor(log10(spread / most))
    return next((step * power for step in _STEPS if spread / (step * power) <= most), 10.0 * power)
