"""Edits of a YAML file at the level of what is written: a value put, an entry added or removed; all other characters,
comments and blank lines stay as they are.

Each function takes the text and gives the new one. The text is read again for every edit, so that places are always
those of the text at hand.
"""

from collections.abc import Mapping, Sequence

from services.use_cases.authoring.source_nodes import (
    Path,
    ReadSource,
    SourceAlias,
    SourceEntry,
    SourceList,
    SourceMap,
    SourceNode,
    SourceScalar,
    Step,
    at,
)
from services.use_cases.authoring.yaml_writing import Plain, entry_lines, inline, item_lines


class EditRefused(Exception):
    """The place cannot be edited by fields without touching what is shared or unreadable; the text still can."""


def put(text: str, read: ReadSource, path: Path, value: Plain) -> str:
    """The text with the value at the path; keys on the way that are missing are made. Raises EditRefused,
    SourceUnreadable."""
    root = read(text)
    depth = len(path)
    while depth and at(root, path[:depth]) is None:
        depth -= 1
    found = at(root, path[:depth])
    _refuse_shared(root, path[:depth])
    rest = path[depth:]
    if not rest:
        return _replaced(text, root, path, value)
    nested = _nested(rest[1:], value)
    if isinstance(found, SourceMap) and isinstance(rest[0], str):
        return _entered(text, found, rest[0], nested)
    if is_empty(found):
        return _replaced(text, root, path[:depth], _nested(rest, value))
    raise EditRefused(f"{_words(path)} cannot be written: {_words(path[:depth])} is not a mapping")


def append(text: str, read: ReadSource, path: Path, value: Plain) -> str:
    """The text with one more entry in the list at the path, which is made if there is none. Raises EditRefused,
    SourceUnreadable."""
    root = read(text)
    _refuse_shared(root, path)
    found = at(root, path)
    if not isinstance(found, SourceList) or not found.items:
        if found is not None and not isinstance(found, SourceList) and not is_empty(found):
            raise EditRefused(f"{_words(path)} is no list")
        return put(text, read, path, [value])
    if found.flow:
        return _spliced(text, found.items[-1].end, found.items[-1].end, f", {inline(value)}")
    lines = item_lines(value, _column(text, found.start))
    gap = "\n" if _blank_between(text, found) else ""
    return _after_line(text, found.end, gap + "\n".join(lines))


def drop(text: str, read: ReadSource, path: Path) -> str:
    """The text without what stands at the path; no change where nothing does. Raises EditRefused, SourceUnreadable."""
    root = read(text)
    parent, found = at(root, path[:-1]), at(root, path)
    if found is None:
        return text
    _refuse_shared(root, path[:-1])
    match parent, path[-1]:
        case SourceMap() as mapping, str() as key:
            return _without_entry(text, mapping, key)
        case SourceList() as items, int() as number:
            return _without_item(text, items, number)
    raise EditRefused(f"{_words(path)} cannot be removed")


def _replaced(text: str, root: SourceNode, path: Path, value: Plain) -> str:
    found, parent = at(root, path), at(root, path[:-1]) if path else None
    if found is None:
        raise EditRefused(f"{_words(path)} is not there")
    single = value is None or isinstance(value, str | bool | int | float)
    if isinstance(found, SourceScalar) and single and found.end > found.start and text[found.start] not in "|>":
        quote = text[found.start] if text[found.start] in "'\"" and isinstance(value, str) else ""
        return _spliced(text, found.start, found.end, inline(value, quote))
    if isinstance(parent, SourceMap) and isinstance(path[-1], str):
        entry = parent.entry(path[-1])
        if entry is not None:
            return _rewritten(text, parent, entry, value)
    if isinstance(parent, SourceList) and isinstance(path[-1], int) and not parent.flow:
        start = parent.starts[path[-1]]
        return _spliced(text, start, found.end, "\n".join(item_lines(value, _column(text, start))).lstrip())
    if not path and not single:
        return _spliced(text, found.start, found.end, "\n".join(_root_lines(value)) + "\n")
    return _spliced(text, found.start, found.end, inline(value))


def _root_lines(value: Plain) -> list[str]:
    entries = value.items() if isinstance(value, Mapping) else ()
    return [line for key, item in entries for line in entry_lines(key, item, 0)]


def _rewritten(text: str, mapping: SourceMap, entry: SourceEntry, value: Plain) -> str:
    """A key's whole value anew."""
    if mapping.flow:
        written = f"{entry.key}: {inline(value)}"
    else:
        written = "\n".join(entry_lines(entry.key, value, _column(text, entry.start))).lstrip()
    return _spliced(text, entry.start, max(entry.value.end, entry.start + len(entry.key) + 1), written)


def _entered(text: str, mapping: SourceMap, key: str, value: Plain) -> str:
    """A key that was not there: behind the single values for a single value, else last."""
    if not mapping.entries:
        if mapping.flow:
            return _spliced(text, mapping.start + 1, mapping.start + 1, f"{key}: {inline(value)}")
        raise EditRefused(f"{key} has no place")
    if mapping.flow:
        end = mapping.entries[-1].value.end
        return _spliced(text, end, end, f", {key}: {inline(value)}")
    lines = entry_lines(key, value, _column(text, mapping.entries[0].start))
    behind = mapping.entries[-1]
    if len(lines) == 1:
        behind = next((e for e in reversed(mapping.entries) if _is_line(text, e)), mapping.entries[0])
    return _after_line(text, behind.value.end, "\n".join(lines))


def _without_entry(text: str, mapping: SourceMap, key: str) -> str:
    number = next(n for n, entry in enumerate(mapping.entries) if entry.key == key)
    entry = mapping.entries[number]
    if mapping.flow:
        parts = [(each.start, each.value.end) for each in mapping.entries]
        return _without_part(text, parts, number)
    lead = text[_line_start(text, entry.start) : entry.start]
    if lead.strip():  # `- name: …`: the dash belongs to the entries below as well
        if len(mapping.entries) == 1 or number:
            raise EditRefused(f"{key} cannot be removed by itself")
        following = mapping.entries[number + 1]
        return _spliced(text, entry.start, following.start, "")
    return _without_lines(text, entry.start, max(entry.value.end, entry.start + len(key) + 1))


def _without_item(text: str, items: SourceList, number: int) -> str:
    if items.flow:
        return _without_part(text, [(item.start, item.end) for item in items.items], number)
    return _without_lines(text, items.starts[number], items.items[number].end)


def _without_part(text: str, parts: Sequence[tuple[int, int]], number: int) -> str:
    """Without one of several that commas separate."""
    start, end = parts[number]
    if number + 1 < len(parts):
        return _spliced(text, start, parts[number + 1][0], "")
    return _spliced(text, parts[number - 1][1] if number else start, end, "")


def _without_lines(text: str, start: int, end: int) -> str:
    """Without the lines of a part, and without a second blank line where there was one on either side."""
    first, last = _line_start(text, start), _line_end(text, end)
    before, after = text[:first], text[last:].removeprefix("\n")
    if before.endswith("\n\n") and (after.startswith("\n") or not after):
        before = before[:-1]
    return before + after


def _after_line(text: str, end: int, lines: str) -> str:
    """New lines under the one that ends a part."""
    place = _line_end(text, end)
    return f"{text[:place]}\n{lines}{text[place:] or chr(10)}"


def _blank_between(text: str, items: SourceList) -> bool:
    """Whether the list's entries stand apart by blank lines."""
    if len(items.items) < 2:
        return False
    return "\n\n" in text[items.items[-2].end : items.starts[-1]]


def _is_line(text: str, entry: SourceEntry) -> bool:
    return "\n" not in text[entry.start : entry.value.end]


def is_empty(node: SourceNode | None) -> bool:
    """Whether nothing is written there: no value, or a list or mapping without entries."""
    match node:
        case SourceScalar(value=None) | SourceList(items=()) | SourceMap(entries=()):
            return True
    return False


def _nested(path: Sequence[Step], value: Plain) -> Plain:
    for step in reversed(path):
        if isinstance(step, int):
            raise EditRefused("an entry of a list that is not there cannot be changed")
        value = {step: value}
    return value


def _refuse_shared(root: SourceNode, path: Path) -> None:
    for depth in range(len(path) + 1):
        if isinstance(shared := at(root, path[:depth]), SourceAlias):
            raise EditRefused(
                f"{_words(path[:depth])} is *{shared.name}, written elsewhere and used by others too: edit the file"
            )


def _words(path: Path) -> str:
    return ".".join(str(step) for step in path) or "the file"


def _spliced(text: str, start: int, end: int, put_in: str) -> str:
    return text[:start] + put_in + text[end:]


def _line_start(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1


def _line_end(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found


def _column(text: str, place: int) -> int:
    return place - _line_start(text, place)
