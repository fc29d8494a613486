"""One entry of a file as text: shown without its indentation, and put back with it, so that whatever no field knows can
be written too."""

from textwrap import dedent, indent

from services.use_cases.authoring.entries import Place
from services.use_cases.authoring.source_edits import EditRefused
from services.use_cases.authoring.source_nodes import ReadSource, SourceList, at


def entry_text(text: str, read: ReadSource, place: Place) -> str:
    """The entry as it is written, comments included, from its dash on. Raises EditRefused, SourceUnreadable."""
    start, end = _span(text, read, place)
    line = text.rfind("\n", 0, start) + 1
    return dedent(text[line:end]) + "\n"


def with_entry_text(text: str, read: ReadSource, place: Place, written: str) -> str:
    """The file with another text in the entry's place. Raises EditRefused, SourceUnreadable."""
    start, end = _span(text, read, place)
    line = text.rfind("\n", 0, start) + 1
    lines = dedent(written.replace("\r\n", "\n")).strip("\n").rstrip()
    if not lines.startswith("- "):
        raise EditRefused("an entry begins with `- `")
    after = text[:line] + indent(lines, " " * (start - line)) + text[end:]
    before = at(read(text), place.path[:-1])
    found = at(read(after), place.path[:-1])
    if not isinstance(found, SourceList) or not isinstance(before, SourceList):
        raise EditRefused("the text is no entry of the list it stands in")
    if len(found.items) != len(before.items):
        raise EditRefused("the text is more than one entry, or none")
    return after


def _span(text: str, read: ReadSource, place: Place) -> tuple[int, int]:
    found, number = at(read(text), place.path[:-1]), place.path[-1]
    if not isinstance(found, SourceList) or not isinstance(number, int) or number >= len(found.items):
        raise EditRefused("the entry is not there any more")
    if found.flow:
        raise EditRefused("the entry stands in brackets with others: edit it by its fields")
    return found.starts[number], found.items[number].end
