"""The figures of the map: sizes, overlaps and flows of segments, with what they are worth and who of them has left."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.use_cases.customer_map.segmented import Segmented

NONE, NEW, GONE = "none", "new", "gone"
"""In flows: in no segment; not there before; not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFigures:
    """One segment. `value` and `score` are means over those of whom they are known, None where of nobody. `before` is
    its size in the earlier snapshot, `left` the share of those in it then who have left since; None without one."""

    name: str
    size: int
    share: float
    value: float | None
    total_value: float | None
    score: float | None
    before: int | None
    left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """Customers in exactly these segments."""

    names: tuple[str, ...]
    size: int
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Customers whose first segment (in the strategy's order) was `source` in the earlier snapshot and is `target`."""

    source: str
    target: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFigures:
    """Everything the map shows of one snapshot, and of an earlier one beside it. `overlaps` counts who is in both of
    two segments, in the strategy's order."""

    customers: int
    unprofiled: int
    missing: tuple[str, ...]
    segments: tuple[SegmentFigures, ...]
    none: int
    combinations: tuple[Combination, ...]
    overlaps: tuple[tuple[int, ...], ...]
    flows: tuple[Flow, ...]


def map_figures(now: Segmented, before: Segmented | None) -> MapFigures:
    """Counts everything. The earlier one has the segments of the same strategy."""
    exact = Counter(now.masks)
    numbers = range(len(now.segments))
    earlier = None if before is None else _Earlier.of(before)
    return MapFigures(
        customers=len(now.customers),
        unprofiled=now.unprofiled,
        missing=now.missing,
        segments=tuple(_figures(now, earlier, number) for number in numbers),
        none=exact.get(0, 0),
        combinations=_combinations(now, exact),
        overlaps=tuple(
            tuple(sum(size for mask, size in exact.items() if mask >> one & mask >> other & 1) for other in numbers)
            for one in numbers
        ),
        flows=() if before is None else flows(before, now),
    )


def first_segment(found: Segmented, mask: int) -> str:
    """The segment a customer counts under where each is to count once."""
    names = found.names(mask)
    return names[0] if names else NONE


def flows(before: Segmented, now: Segmented) -> tuple[Flow, ...]:
    """Every way from one first segment to another, the widest first; nobody is counted twice or left out."""
    was = {c: first_segment(before, mask) for c, mask in zip(before.customers, before.masks, strict=True)}
    is_now = {c: first_segment(now, mask) for c, mask in zip(now.customers, now.masks, strict=True)}
    counted = Counter((was.get(c, NEW), is_now.get(c, GONE)) for c in was.keys() | is_now.keys())
    found = (Flow(source=source, target=target, size=size) for (source, target), size in counted.items())
    return tuple(sorted(found, key=lambda flow: (-flow.size, flow.source, flow.target)))


@dataclass(frozen=True, slots=True)
class _Earlier:
    """Segments by customer, and who had left then."""

    masks: Mapping[str, int]
    left: frozenset[str]

    @classmethod
    def of(cls, before: Segmented) -> "_Earlier":
        """The earlier snapshot by customer."""
        gone = frozenset(customer for customer, left in zip(before.customers, before.left, strict=True) if left)
        return cls(dict(zip(before.customers, before.masks, strict=True)), gone)


def _figures(now: Segmented, earlier: _Earlier | None, number: int) -> SegmentFigures:
    rows = [row for row, mask in enumerate(now.masks) if mask >> number & 1]
    values = [value for row in rows if (value := now.values[row]) is not None]
    scores = [score for row in rows if (score := now.scores[row]) is not None]
    return SegmentFigures(
        name=now.segments[number].name,
        size=len(rows),
        share=len(rows) / len(now.masks) if now.masks else 0.0,
        value=_mean(values),
        total_value=sum(values) if values else None,
        score=_mean(scores),
        before=None if earlier is None else sum(mask >> number & 1 for mask in earlier.masks.values()),
        left=None if earlier is None else _left(now, earlier, number),
    )


def _left(now: Segmented, earlier: _Earlier, number: int) -> float | None:
    """Of those who were in the segment, had not left, and are known still, the share who have left by now."""
    found = [
        left
        for customer, left in zip(now.customers, now.left, strict=True)
        if earlier.masks.get(customer, 0) >> number & 1 and customer not in earlier.left
    ]
    return sum(found) / len(found) if found else None


def _combinations(now: Segmented, exact: Mapping[int, int]) -> tuple[Combination, ...]:
    worth: dict[int, list[float]] = {}
    for mask, value in zip(now.masks, now.values, strict=True):
        if value is not None:
            worth.setdefault(mask, []).append(value)
    ranked = sorted(((mask, size) for mask, size in exact.items() if mask), key=lambda each: (-each[1], each[0]))
    return tuple(
        Combination(names=now.names(mask), size=size, value=_mean(worth.get(mask, []))) for mask, size in ranked
    )


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
