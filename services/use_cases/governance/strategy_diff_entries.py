"""A diff of two strategies entry by entry, for screens: which offers, rules, limits are new, gone or different, and in
what. Every change of the diff is in it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from services.use_cases.governance.strategy_diff import Change, Item, Kind, Plain, Step, by_name, compact


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A value that differs; None where there is none on that side."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChange:
    """An entry of a list (`section` is its name), or with an empty label what else a section says. `moved`: the entries
    of the section stand in another order."""

    section: str
    label: str
    change: Kind
    fields: tuple[FieldChange, ...]


def entry_changes(changes: Iterable[Change]) -> tuple[EntryChange, ...]:
    """Grouped by entry, in the order in which the entries first come."""
    groups: dict[tuple[str, str, bool], list[tuple[tuple[Step, ...], Change]]] = {}
    for change in changes:
        section, label, rest = _entry_of(change)
        groups.setdefault((section, label, change.kind == "moved" and not rest), []).append((rest, change))
    return tuple(
        EntryChange(
            section=section,
            label=label,
            change=next((change.kind for rest, change in found if not rest), "changed"),
            fields=tuple(field for rest, change in found for field in _fields(_words(rest), change)),
        )
        for (section, label, _), found in groups.items()
    )


def _entry_of(change: Change) -> tuple[str, str, tuple[Step, ...]]:
    """The section and name of the entry, and the way inside."""
    for number, step in enumerate(change.path):
        if isinstance(step, Item):
            return _words(change.path[:number]), step.name, change.path[number + 1 :]
    if change.kind == "moved":
        return _words(change.path), "", ()
    return _words(change.path[:1]), "", change.path[1:]


def _words(path: Sequence[Step]) -> str:
    words = ""
    for step in path:
        words += f"[{step.name}]" if isinstance(step, Item) else f".{step}" if words else step
    return words


def _fields(path: str, change: Change) -> Iterator[FieldChange]:
    """Leaf by leaf, so that a new treatment is read as one; where leaves look alike, the values as they are."""
    if change.kind != "moved":
        before, after = dict(_leaves(change.before, path)), dict(_leaves(change.after, path))
        found = [
            FieldChange(path=name, before=before.get(name), after=after.get(name))
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]
        if found:
            yield from found
            return
    before_said, after_said = _said(change.before), _said(change.after)
    if before_said == after_said:  # 1 and "1", or a list and its only entry
        before_said, after_said = (json.dumps(value, ensure_ascii=False) for value in (change.before, change.after))
    yield FieldChange(path=path, before=before_said, after=after_said)


def _leaves(value: Plain, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for name, item in by_name(value).items():
            yield from _leaves(item, f"{path}[{name}]")
    elif isinstance(value, list):
        yield path, ", ".join(compact(item) for item in value)
    elif value is not None:
        yield path, compact(value)


def _said(value: Plain) -> str | None:
    if isinstance(value, list):
        return ", ".join(compact(item) for item in value)
    return None if value is None else compact(value)
