"""How a book is written down: cells as packed doubles, options as short JSON, names as text."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from decision_engine.online import OnlineLearning
from models.errors import EvidenceUnreadable
from models.online.book import Book
from models.online.evidence import Cell, CellKey
from models.online.impressions import Counted, Pending

_BETWEEN = "\x1f"
"""Stands between the parts of a cell's name; no version, treatment or segment has it."""


def cell_name(key: CellKey) -> str:
    """The name a cell is kept under."""
    return _BETWEEN.join(key)


def cell_key(name: str) -> CellKey:
    """The cell of that name. Raises EvidenceUnreadable."""
    parts = name.split(_BETWEEN)
    if len(parts) != len(CellKey._fields):
        raise EvidenceUnreadable("the name of a cell has other parts")
    return CellKey(*parts)


def written_cell(cell: Cell) -> bytes:
    """The moment, then acceptances and exposures by step."""
    return struct.pack(f"<q{2 * len(cell.accepted)}d", cell.at_ms, *cell.accepted, *cell.exposed)


def read_cell(value: bytes) -> Cell:
    """A cell as written. Raises EvidenceUnreadable."""
    steps = (len(value) - 8) // 16
    if steps < 0 or len(value) != 8 + 16 * steps:
        raise EvidenceUnreadable(f"a cell does not have {len(value)} bytes")
    at_ms, *numbers = struct.unpack(f"<q{2 * steps}d", value)
    if not all(map(math.isfinite, numbers)):
        raise EvidenceUnreadable("a cell holds what is no number")
    return Cell(at_ms, numbers[:steps], numbers[steps:])


def read_cells(found: Mapping[str, bytes]) -> dict[CellKey, Cell]:
    """Cells by key. Raises EvidenceUnreadable."""
    return {cell_key(name): read_cell(value) for name, value in found.items()}


def written_option(option: Pending) -> bytes:
    """Everything known of an option, and what of it is in its cell."""
    fields = [
        option.noted_ms,
        None if option.cell is None else list(option.cell),
        option.exposure,
        option.seen_ms,
        option.accepted_ms,
        None if option.counted is None else list(option.counted),
    ]
    return json.dumps(fields, separators=(",", ":")).encode()


def read_option(value: bytes) -> Pending:
    """An option as written. Raises EvidenceUnreadable."""
    try:
        return _option(json.loads(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise EvidenceUnreadable(f"an option cannot be read: {type(error).__name__}") from error


def _option(fields: Sequence[Any]) -> Pending:
    noted_ms, cell, exposure, seen_ms, accepted_ms, counted = fields
    return Pending(
        noted_ms=noted_ms,
        cell=None if cell is None else CellKey(*cell),
        exposure=exposure,
        seen_ms=seen_ms,
        accepted_ms=accepted_ms,
        counted=None if counted is None else Counted(*counted),
    )


def read_book(terms: OnlineLearning, cells: Mapping[str, bytes], options: Mapping[str, bytes]) -> Book:
    """A book as it was kept. Raises EvidenceUnreadable."""
    return Book(terms, cells=read_cells(cells), stored=((name, read_option(value)) for name, value in options.items()))


def written_changes(book: Book) -> tuple[dict[str, bytes | None], dict[str, bytes | None]]:
    """The touched cells and options by name; None for those that are gone."""
    cells = {
        cell_name(key): None if (cell := book.cells.get(key)) is None else written_cell(cell)
        for key in book.touched_cells
    }
    options = {
        name: None if (option := book.options.get(name)) is None else written_option(option)
        for name in book.touched_options
    }
    return cells, options
