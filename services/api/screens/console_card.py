"""A model card for the screen: its Markdown as headings, paragraphs, lists and tables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Block:
    """One part of a card. `kind` is heading, paragraph, list or table; `rows` are the cells of a table, its head first;
    of any other one row, of a list one a point."""

    kind: str
    rows: tuple[tuple[str, ...], ...]
    level: int = 0


def card_blocks(text: str) -> list[Block]:
    """The blocks, which empty lines part, in order; comments are left out."""
    return [_block(lines) for lines in _parts(text) if not lines[0].startswith("<!--")]


def _parts(text: str) -> Iterator[list[str]]:
    """Lines that belong together: a heading ends itself, a list and a table begin by themselves."""
    held: list[str] = []
    for line in (*text.splitlines(), ""):
        kind = _kind(line)
        if held and (not line.strip() or kind == "heading" or kind != _kind(held[-1])):
            yield held
            held = []
        if line.strip():
            held.append(line)
        if kind == "heading":
            yield held
            held = []


def _kind(line: str) -> str:
    if line.startswith("#"):
        return "heading"
    if line.startswith("|"):
        return "table"
    return "list" if line.startswith("- ") else "paragraph"


def _block(lines: list[str]) -> Block:
    kind = _kind(lines[0])
    if kind == "heading":
        marks, _, title = lines[0].partition(" ")
        return Block(kind, ((title,),), len(marks))
    if kind == "list":
        return Block(kind, tuple((line.removeprefix("- "),) for line in lines))
    if kind == "table":
        rows = [_cells(line) for line in lines]
        return Block(kind, tuple(rows[:1] + rows[2:]))  # the second is the line between head and body
    return Block(kind, ((" ".join(lines),),))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip().strip("|")))
