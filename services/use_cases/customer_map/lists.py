"""Customers behind a part of the map: a page at a time, or as a file for the bank's own tools."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.features.definitions import Value
from services.use_cases.customer_map.figures import GONE, NEW, first_segment
from services.use_cases.customer_map.segmented import Segmented

PAGE_ROWS = 50
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which customers: in all of `inside`; with `exactly`, in no further segment; between two snapshots, those whose
    first segment was `source` and is `target`."""

    inside: tuple[str, ...] = ()
    exactly: bool = False
    source: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One customer of a list. `value` as the map measures it, None where it is not known."""

    customer_id: str
    segments: tuple[str, ...]
    value: float | None
    score: float | None
    row: int
    """Where they stand in the snapshot's figures."""


def listed(part: Part, now: Segmented, before: Segmented | None) -> list[Listed]:
    """The customers of a part, the most valuable first. Raises KeyError for an unknown segment."""
    wanted = sum({now.bit(name) for name in part.inside})
    was = {} if before is None else dict(zip(before.customers, before.masks, strict=True))
    found = []
    for row, (customer, mask) in enumerate(zip(now.customers, now.masks, strict=True)):
        if mask & wanted != wanted or (part.exactly and mask != wanted):
            continue
        if part.target is not None and first_segment(now, mask) != part.target:
            continue
        if part.source is not None:
            source = first_segment(now, was[customer]) if customer in was else NEW
            if source != part.source:
                continue
        found.append(
            Listed(
                customer_id=customer,
                segments=now.names(mask),
                value=now.values[row],
                score=now.scores[row],
                row=row,
            )
        )
    if part.target == GONE and before is not None:
        return _gone(part, now, before)
    return sorted(found, key=lambda each: (-(each.value or 0.0), each.customer_id))


def _gone(part: Part, now: Segmented, before: Segmented) -> list[Listed]:
    """Who was there and is not any more; as they were."""
    here = set(now.customers)
    found = [
        Listed(customer_id=c, segments=before.names(mask), value=before.values[row], score=before.scores[row], row=-1)
        for row, (c, mask) in enumerate(zip(before.customers, before.masks, strict=True))
        if c not in here and part.source in (None, first_segment(before, mask))
    ]
    return sorted(found, key=lambda each: (-(each.value or 0.0), each.customer_id))


def csv_lines(
    customers: Iterable[Listed], names: Sequence[str], attributes: Mapping[str, Mapping[str, Value]]
) -> Iterable[bytes]:
    """The file, a line at a time: customer, segments, and the named attributes by customer. UTF-8 with the mark that
    spreadsheets ask for; what they could take for a formula is text."""
    yield b"\xef\xbb\xbf" + _line(["customer_id", "segments", *names])
    for each in customers:
        known = attributes.get(each.customer_id, {})
        yield _line([each.customer_id, " ".join(each.segments), *(_cell(known.get(name)) for name in names)])


def _cell(value: Value | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _line(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    safe = [f"'{cell}" if cell.startswith(_FORMULA) and not _is_number(cell) else cell for cell in cells]
    csv.writer(buffer, lineterminator="\r\n").writerow(safe)
    return buffer.getvalue().encode()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
