"""A YAML file as it is written: every value with the place it has in the text, so that an edit touches nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from decision_engine.strategy_loading.document import ScalarValue

Step = str | int
"""A key of a mapping, or a number in a list."""
Path = tuple[Step, ...]
_LABELS = ("name", "id", "code")
"""Keys whose value names an entry of a list, as in the paths of problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceScalar:
    """A single value; `start` and `end` (exclusive) count characters of the text, quotes included."""

    value: ScalarValue
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """A key of a mapping with its value; `start` is the key's."""

    key: str
    start: int
    value: "SourceNode"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMap:
    """A mapping, written over lines or in braces (`flow`)."""

    entries: tuple[SourceEntry, ...]
    start: int
    end: int
    flow: bool

    def get(self, key: str) -> "SourceNode | None":
        """The value of a key."""
        entry = self.entry(key)
        return None if entry is None else entry.value

    def entry(self, key: str) -> SourceEntry | None:
        """The key with its value."""
        return next((entry for entry in self.entries if entry.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceList:
    """A list, written over lines or in brackets (`flow`). `starts` are where its entries begin, dashes included."""

    items: tuple["SourceNode", ...]
    starts: tuple[int, ...]
    start: int
    end: int
    flow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAlias:
    """`*name`: what is written elsewhere, and shared with whoever else names it."""

    name: str
    start: int
    end: int


SourceNode = SourceScalar | SourceMap | SourceList | SourceAlias


class SourceUnreadable(Exception):
    """The text is no YAML, so it can be edited as text only; `line` is where it breaks."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class ReadSource(Protocol):
    """Reads the one document of a text. Raises SourceUnreadable."""

    def __call__(self, text: str) -> SourceNode: ...


def at(node: SourceNode | None, path: Path) -> SourceNode | None:
    """What stands at the path, if anything."""
    for step in path:
        match node, step:
            case SourceMap(), str():
                node = node.get(step)
            case SourceList(items=items), int() if 0 <= step < len(items):
                node = items[step]
            case _:
                return None
    return node


def scalar_at(node: SourceNode | None, path: Path) -> ScalarValue:
    """The single value at the path; None where there is none."""
    found = at(node, path)
    return found.value if isinstance(found, SourceScalar) else None


def text_at(node: SourceNode | None, path: Path) -> str:
    """The value at the path as text; empty where there is none."""
    value = scalar_at(node, path)
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def plain(node: SourceNode | None) -> object:
    """The value as plain mappings, lists and scalars; what is shared stands as its name."""
    match node:
        case SourceMap(entries=entries):
            return {entry.key: plain(entry.value) for entry in entries}
        case SourceList(items=items):
            return [plain(item) for item in items]
        case SourceScalar(value=value):
            return value
        case SourceAlias(name=name):
            return f"*{name}"
    return None


def labelled(root: SourceNode | None, path: Path) -> str:
    """The path in the words of a problem: `offers[gold_card].eligibility[adult].when`."""
    words = ""
    node = root
    for step in path:
        if isinstance(step, int):
            item = at(node, (step,))
            words += f"[{_label(item, step)}]"
            node = item
        else:
            words += f".{step}" if words else step
            node = at(node, (step,))
    return words


def _label(item: SourceNode | None, number: int) -> str:
    if isinstance(item, SourceMap):
        for entry in item.entries:
            if entry.key in _LABELS and isinstance(entry.value, SourceScalar) and isinstance(entry.value.value, str):
                return entry.value.value
    return str(number)


def items_at(root: SourceNode | None, path: Path) -> Iterator[tuple[int, SourceMap]]:
    """The mappings of a list with their numbers."""
    found = at(root, path)
    if isinstance(found, SourceList):
        for number, item in enumerate(found.items):
            if isinstance(item, SourceMap):
                yield number, item
