"""The map's pictures as coordinates: the templates draw them, with classes for colours and attributes for places."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.use_cases.customer_map.figures import GONE, NEW, NONE, Flow, MapFigures

SHADES = 9
"""Steps of colour of the matrix of overlaps; 0 is none."""
_FLOW_WIDTH, _FLOW_HEIGHT = 640, 260
_NODE_WIDTH, _NODE_GAP, _LEAST = 14, 6, 1.5
_LABELS = 150
_BARS_MOST, _COLUMN, _BAR_HEIGHT, _DOT_ROW = 16, 30, 120, 20
_NAMES_WIDTH = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A block of the flow picture. `colour` is the number of its segment."""

    name: str
    x: float
    y: float
    width: float
    height: float
    size: int
    colour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ribbon:
    """A flow as a path from one block to another."""

    flow: Flow
    path: str
    colour: int
    moved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPicture:
    """Blocks to the left and right, ribbons between them."""

    width: int
    height: int
    sources: tuple[Node, ...]
    targets: tuple[Node, ...]
    ribbons: tuple[Ribbon, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A combination as a column: the bar, and a dot in the row of each of its segments."""

    names: tuple[str, ...]
    size: int
    x: float
    y: float
    height: float
    dots: tuple[float, ...]
    empty: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinationPicture:
    """Columns by size; rows are segments."""

    width: int
    height: int
    base: float
    rows: tuple[tuple[str, float], ...]
    bars: tuple[Bar, ...]
    left_out: int


def flow_picture(flows: Sequence[Flow], order: Sequence[str]) -> FlowPicture:
    """Blocks in the strategy's order, as high as they are large; whoever stayed goes straight across."""
    places = [*order, NONE, NEW, GONE]
    total = sum(flow.size for flow in flows) or 1
    sources = _nodes([(name, sum(f.size for f in flows if f.source == name)) for name in places], total, _LABELS, order)
    right = _LABELS + _FLOW_WIDTH - _NODE_WIDTH
    targets = _nodes([(name, sum(f.size for f in flows if f.target == name)) for name in places], total, right, order)
    return FlowPicture(
        width=_FLOW_WIDTH + 2 * _LABELS,
        height=math.ceil(max((node.y + node.height for node in (*sources, *targets)), default=0)),
        sources=sources,
        targets=targets,
        ribbons=_ribbons(flows, sources, targets, places),
    )


def combination_picture(figures: MapFigures) -> CombinationPicture:
    """The largest combinations."""
    shown = figures.combinations[:_BARS_MOST]
    used = [figure.name for figure in figures.segments if any(figure.name in each.names for each in shown)]
    base = _BAR_HEIGHT + 18.0
    rows = {name: base + 18 + number * _DOT_ROW for number, name in enumerate(used)}
    most = max((each.size for each in shown), default=1)
    bars = []
    for number, each in enumerate(shown):
        height = max(_BAR_HEIGHT * each.size / most, _LEAST)
        bars.append(
            Bar(
                names=each.names,
                size=each.size,
                x=_NAMES_WIDTH + number * _COLUMN,
                y=base - height,
                height=height,
                dots=tuple(rows[name] for name in each.names),
                empty=tuple(y for name, y in rows.items() if name not in each.names),
            )
        )
    return CombinationPicture(
        width=_NAMES_WIDTH + _COLUMN * max(len(shown), 1),
        height=round(base + 28 + _DOT_ROW * len(used)),
        base=base,
        rows=tuple(rows.items()),
        bars=tuple(bars),
        left_out=len(figures.combinations) - len(shown),
    )


def shade(part: int, whole: int) -> int:
    """The step of colour of a share; anything at all is at least the faintest."""
    if not part or not whole:
        return 0
    return max(1, round(SHADES * part / whole))


def _nodes(sizes: Sequence[tuple[str, int]], total: int, x: float, order: Sequence[str]) -> tuple[Node, ...]:
    nodes, y = [], 0.0
    for name, size in sizes:
        if not size:
            continue
        height = max(_FLOW_HEIGHT * size / total, _LEAST)
        colour = order.index(name) if name in order else -1
        nodes.append(Node(name=name, x=x, y=y, width=_NODE_WIDTH, height=height, size=size, colour=colour))
        y += height + _NODE_GAP
    return tuple(nodes)


def _ribbons(
    flows: Sequence[Flow], sources: Sequence[Node], targets: Sequence[Node], places: Sequence[str]
) -> tuple[Ribbon, ...]:
    """Ribbons leave and arrive in the order of blocks, so that few cross."""
    left, right = {node.name: node for node in sources}, {node.name: node for node in targets}
    out = {node.name: node.y for node in sources}
    into = {node.name: node.y for node in targets}
    ordered = sorted(flows, key=lambda flow: (places.index(flow.source), places.index(flow.target)))
    ends: dict[tuple[str, str], float] = {}
    for flow in sorted(flows, key=lambda flow: (places.index(flow.target), places.index(flow.source))):
        target = right[flow.target]
        ends[flow.source, flow.target] = into[flow.target]
        into[flow.target] += target.height * flow.size / target.size
    ribbons = []
    for flow in ordered:
        source, target = left[flow.source], right[flow.target]
        thick, thin = source.height * flow.size / source.size, target.height * flow.size / target.size
        begin, end = out[flow.source], ends[flow.source, flow.target]
        out[flow.source] += thick
        path = _path((source.x + source.width, begin, thick), (target.x, end, thin))
        ribbons.append(Ribbon(flow=flow, path=path, colour=source.colour, moved=flow.source != flow.target))
    return tuple(ribbons)


def _path(begin: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    (x0, y0, thick), (x1, y1, thin) = begin, end
    middle = (x0 + x1) / 2
    return (
        f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        f"V{y1 + thin:.1f}C{middle:.1f} {y1 + thin:.1f} {middle:.1f} {y0 + thick:.1f} {x0:.1f} {y0 + thick:.1f}Z"
    )
