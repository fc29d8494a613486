"""What a draft changes, entry by entry: which offers, rules, limits are new, gone or different, and in what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.use_cases.authoring.entries import Files, Sources
from services.use_cases.authoring.source_nodes import SourceMap, plain

_LABELS = ("name", "id", "code", "offer", "group", "issue", "scope")
Value = object


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A value that differs; None where there is none on that side."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChange:
    """An entry of a list (`section` is its name), or a section that is no list. `change` is `added`, `removed` or
    `changed`."""

    section: str
    label: str
    change: str
    fields: tuple[FieldChange, ...]


def entry_changes(sources: Sources, before: Files, after: Files) -> tuple[EntryChange, ...]:
    """Every change in the order of sections and labels; comments and layout are none."""
    old, new = _entries(sources, before), _entries(sources, after)
    return tuple(_changes(old, new))


def _changes(old: Mapping[tuple[str, str], Value], new: Mapping[tuple[str, str], Value]) -> Iterator[EntryChange]:
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if was == now:
            continue
        change = "changed" if key in old and key in new else "added" if key in new else "removed"
        flat_was, flat_now = dict(_flat(was, "")), dict(_flat(now, ""))
        fields = tuple(
            FieldChange(path=path, before=flat_was.get(path), after=flat_now.get(path))
            for path in dict.fromkeys((*flat_was, *flat_now))
            if flat_was.get(path) != flat_now.get(path)
        )
        yield EntryChange(section=key[0], label=key[1], change=change, fields=fields)


def _entries(sources: Sources, files: Files) -> dict[tuple[str, str], Value]:
    """By section and label; entries that share a label are told apart by number."""
    found: dict[tuple[str, str], Value] = {}
    for file in sorted(files):
        root = sources.root(files[file])
        for section, value in _sections(plain(root) if isinstance(root, SourceMap) else {}):
            if not isinstance(value, list):
                found[section, ""] = value
                continue
            for item in value:
                label = wanted = _label(item)
                number = 1
                while (section, label) in found:
                    number += 1
                    label = f"{wanted} ({number})"
                found[section, label] = item
    return found


def _sections(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """The lists of entries, and what else stands at the top; a mapping's lists of entries stand by themselves."""
    if not isinstance(value, dict):
        return
    rest = {}
    for key, item in value.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(item, list) and any(isinstance(each, dict) for each in item):
            yield name, item
        elif isinstance(item, dict) and not path:
            yield from _sections(item, name)
        elif path:
            rest[str(key)] = item
        else:
            yield name, item
    if path and rest:
        yield path, rest


def _label(item: object) -> str:
    if isinstance(item, dict):
        for key in _LABELS:
            if isinstance(item.get(key), str):
                return str(item[key])
        scope = item.get("scope")
        if isinstance(scope, dict):
            return "/".join((*map(str, scope.values()), str(item.get("layer", ""))))
    return str(item)[:60]


def _flat(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for item in value:
            yield from _flat(item, f"{path}[{_label(item)}]")
    elif isinstance(value, list):
        yield path, ", ".join(str(item) for item in value)
    elif value is not None:
        yield path, ("true" if value else "false") if isinstance(value, bool) else str(value)
