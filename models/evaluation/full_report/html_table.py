"""Tables and plain pieces of a page; everything that comes from data is escaped here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

from models.evaluation.full_report.svg_plot import interval_glyph
from models.evaluation.intervals import Estimate

MISSING = "–"
PERCENT = "{:.2%}"
"""How shares are written."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of ready markup, with a class where it has one."""

    markup: str
    style: str = ""


Content = str | Cell
"""Text is escaped, a cell's markup is not."""


def table(head: Sequence[str], rows: Iterable[Sequence[Content]], style: str = "") -> str:
    """A table that scrolls by itself where the page is narrow; nothing without rows. `dense` is for many columns."""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    if not body:
        return ""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    kind = f' class="{style}"' if style else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def words(text: str) -> Cell:
    """Text to the left, in as many lines as it needs."""
    return Cell(escape(text), "words")


def flag(text: str) -> Cell:
    """Text that stands out."""
    return Cell(escape(text), "flag")


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text."""
    kind = f' class="{style}"' if style else ""
    return f"<p{kind}>{escape(text)}</p>"


def figure(plot: str, caption: str) -> str:
    """A plot over its caption."""
    return f"<figure>{plot}<figcaption>{escape(caption)}</figcaption></figure>"


def figures(*found: str) -> str:
    """Figures side by side where there is room."""
    return f'<div class="figures">{"".join(found)}</div>'


def number(value: float | None, form: str = "{:.4f}") -> str:
    """A figure, or a dash where there is none."""
    return MISSING if value is None or not isfinite(value) else form.format(value)


def value(found: Estimate | None, form: str = "{:.4f}") -> str:
    """An estimate without its interval."""
    return number(None if found is None else found.value, form)


def interval(found: Estimate | None, form: str = "{:.4f}") -> str:
    """The interval; a dash where it is unbounded."""
    if found is None or not (isfinite(found.low) and isfinite(found.high)):
        return MISSING
    return f"{form.format(found.low)} to {form.format(found.high)}"


def glyphs(found: Sequence[Estimate | None], reference: float | None = None) -> list[Cell]:
    """The estimates drawn to one scale, one cell each."""
    known = [one for one in found if one is not None and isfinite(one.value)]
    ends = [e for one in known for e in (one.low, one.high, one.value) if isfinite(e)]
    ends += [] if reference is None else [reference]
    span = (min(ends, default=0.0), max(ends, default=1.0))
    return [
        Cell("")
        if one is None or not isfinite(one.value)
        else Cell(interval_glyph(one.value, (one.low, one.high), span, reference))
        for one in found
    ]


def _cell(content: Content) -> str:
    if isinstance(content, Cell):
        kind = f' class="{content.style}"' if content.style else ""
        return f"<td{kind}>{content.markup}</td>"
    return f"<td>{escape(content)}</td>"
