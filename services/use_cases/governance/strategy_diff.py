"""How two strategies differ, in the words of the strategy file: what was added, removed and changed, thing by thing,
down to the text of one locale; and the lines of the files beside it. Pure.

The command line and the API say it change by change (`strategy_diff_text`), the console entry by entry
(`strategy_diff_entries`); both are views of the same changes.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from decision_engine.strategy_loading.document import ListNode, MapNode, Node, ScalarNode

Kind = Literal["added", "removed", "changed", "moved"]
Plain = bool | int | float | str | None | list["Plain"] | dict[str, "Plain"]
_CONTEXT_LINES = 2
_NAMES = ("name", "id")


@dataclass(frozen=True, slots=True)
class Item:
    """A step into a list: the entry of this name."""

    name: str


Step = str | Item
"""A key of a mapping, or an entry of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference, at its place in the document: `offers`, the entry `gold_card`, `value`."""

    kind: Kind
    path: tuple[Step, ...]
    before: Plain = None
    after: Plain = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """The lines of one file, as a unified diff."""

    name: str
    kind: Literal["added", "removed", "changed"]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyDiff:
    """All differences, by area in the order of the file, and all changed files by name."""

    changes: tuple[Change, ...]
    files: tuple[FileDiff, ...]


def strategy_diff(
    before: Mapping[str, str], after: Mapping[str, str], documents: tuple[Node, Node] | None = None
) -> StrategyDiff:
    """From one to the other; without their documents, by the lines of the files alone."""
    changes = () if documents is None else tuple(document_changes(*documents))
    return StrategyDiff(changes=changes, files=tuple(file_diffs(before, after)))


def document_changes(before: Node, after: Node) -> Iterator[Change]:
    """What differs between two documents, in the order of their sections."""
    old, new = plain(before), plain(after)
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return
    for area in [*new, *(name for name in old if name not in new)]:
        yield from _compared((area,), old.get(area), new.get(area))


def file_diffs(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FileDiff]:
    """The files that are not the same, byte for byte."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        lines = difflib.unified_diff(
            [] if old is None else old.splitlines(),
            [] if new is None else new.splitlines(),
            fromfile=name if old is not None else "nothing",
            tofile=name if new is not None else "nothing",
            lineterm="",
            n=_CONTEXT_LINES,
        )
        kind: Literal["added", "removed", "changed"] = (
            "added" if old is None else "removed" if new is None else "changed"
        )
        yield FileDiff(name=name, kind=kind, lines=tuple(lines) or ("(only line ends or invisible characters differ)",))


def _compared(path: tuple[Step, ...], old: Plain, new: Plain) -> Iterator[Change]:
    if _same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(name for name in old if name not in new)]:
            yield from _compared((*path, key), old.get(key), new.get(key))
    elif (old or new) and _is_named(old) and _is_named(new):  # one of them may be absent
        yield from _listed(path, by_name(old), by_name(new))
    else:
        kind: Kind = "added" if old is None else "removed" if new is None else "changed"
        yield Change(kind=kind, path=path, before=old, after=new)


def _listed(path: tuple[Step, ...], old: Mapping[str, Plain], new: Mapping[str, Plain]) -> Iterator[Change]:
    for name, value in new.items():
        yield from _compared((*path, Item(name)), old.get(name), value)
    for name, value in old.items():
        if name not in new:
            yield Change(kind="removed", path=(*path, Item(name)), before=value)
    kept_before, kept_after = [n for n in old if n in new], [n for n in new if n in old]
    if kept_before != kept_after:
        yield Change(kind="moved", path=path, before=list(kept_before), after=list(kept_after))


def _is_named(value: Plain) -> bool:
    """Whether it is a list of things that can be told apart by name; an absent list is an empty one."""
    return value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def by_name(value: Plain) -> dict[str, Plain]:
    """The entries of a list by name; those that share one are told apart by number."""
    found: dict[str, Plain] = {}
    for item in value if isinstance(value, list) else []:
        name = base = entry_name(item)
        number = 1
        while name in found:
            number += 1
            name = f"{base} ({number})"
        found[name] = item
    return found


def entry_name(item: Plain) -> str:
    """By its name or id; without any by what it is about, as `scope` and `layer` of a policy."""
    if not isinstance(item, dict):
        return json.dumps(item, ensure_ascii=False)
    for key in _NAMES:
        if isinstance(item.get(key), str):
            return str(item[key])
    scalars: dict[str, Plain] = {key: value for key, value in item.items() if not isinstance(value, list)}
    about: dict[str, Plain] = {key: value for key, value in scalars.items() if key in _ABOUT}
    return compact(about or scalars)


_ABOUT = ("scope", "layer", "offer", "group", "issue", "channel", "code", "event", "response", "after", "of", "parent")


def _same(old: Plain, new: Plain) -> bool:
    """Equal, with true and 1 apart."""
    return old == new and json.dumps(old) == json.dumps(new)


def compact(value: Plain) -> str:
    """On one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {compact(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(compact(part) for part in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def plain(node: Node) -> Plain:
    """The document as plain values."""
    if isinstance(node, MapNode):
        values = {entry.key: plain(entry.value) for entry in node.entries}
        return {key: value for key, value in values.items() if value is not None}  # an empty value is an absent one
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    if isinstance(node, ScalarNode):
        return node.value
    raise TypeError(type(node).__name__)
