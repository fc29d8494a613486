"""Entries of a draft's files: found, changed, added and removed; each change is an edit of the text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.fields import Fault, Field, FieldKind, meant, shown
from services.use_cases.authoring.source_edits import append, drop, is_empty, put
from services.use_cases.authoring.source_nodes import (
    Path,
    ReadSource,
    SourceMap,
    SourceNode,
    SourceUnreadable,
    at,
    items_at,
    labelled,
    text_at,
)
from services.use_cases.authoring.yaml_writing import Plain

Files = Mapping[str, str]
"""Name to text, in the order of names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An entry of a list: its file, and its path there."""

    file: str
    path: Path

    @property
    def ref(self) -> str:
        """The place as a form names it."""
        return "/".join((self.file, *(str(step) for step in self.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry with what is written there; `named` is its path in the words of problems."""

    place: Place
    label: str
    node: SourceMap
    named: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The files after a change. `faults` are fields whose text means nothing, by key; then nothing was changed."""

    files: Files
    faults: Mapping[str, str] = field(default_factory=dict)
    place: Place | None = None
    """Where a new entry stands."""


class Sources:
    """Files read once each, as texts are alike from one question to the next."""

    def __init__(self, read: ReadSource) -> None:
        self.read: ReadSource = lru_cache(maxsize=256)(read)

    def read_all(self, files: Files) -> None:
        """Reads each, so that whoever asks later need not wait; one that is no YAML says so then."""
        for text in files.values():
            self.root(text)

    def root(self, text: str) -> SourceNode | None:
        """What the text says; None if it is no YAML."""
        try:
            return self.read(text)
        except SourceUnreadable:
            return None

    def entries(self, files: Files, kind: EntryKind) -> Iterator[Entry]:
        """Every entry of the kind, in the order of files."""
        for file in sorted(files):
            root = self.root(files[file])
            for number, node in items_at(root, kind.path):
                path = (*kind.path, number)
                label = text_at(node, (kind.label,)) if kind.label else ""
                yield Entry(place=Place(file=file, path=path), label=label, node=node, named=labelled(root, path))

    def entry(self, files: Files, kind: EntryKind, label: str) -> Entry | None:
        """The entry of that name."""
        return next((entry for entry in self.entries(files, kind) if entry.label == label), None)

    def single(self, files: Files, kind: EntryKind) -> Entry | None:
        """The one mapping of a kind that is no list."""
        for file in sorted(files):
            if (found := self.at(files, Place(file=file, path=kind.path))) is not None:
                return found
        return None

    def at(self, files: Files, place: Place) -> Entry | None:
        """The entry at the place."""
        root = self.root(files.get(place.file, ""))
        node = at(root, place.path)
        if not isinstance(node, SourceMap):
            return None
        return Entry(place=place, label="", node=node, named=labelled(root, place.path))

    def changed(
        self, files: Files, place: Place, fields: Sequence[Field], posted: Mapping[str, str]
    ) -> Changed:  # fmt: skip
        """The files with what the fields say put at the place; only what differs from what is shown is written.
        Raises EditRefused, SourceUnreadable."""
        text = files[place.file]
        node = at(self.read(text), place.path)
        wanted = [f for f in fields if f.key in posted and meant(f, posted[f.key]) != meant(f, shown(node, f))]
        values = {each: meant(each, posted[each.key]) for each in wanted}
        faults = {each.key: value.reason for each, value in values.items() if isinstance(value, Fault)}
        if faults:
            return Changed(files=files, faults=faults, place=place)
        for each, value in values.items():
            if not isinstance(value, Fault):
                text = self._written(text, place.path, each, value)
        return Changed(files={**files, place.file: text}, place=place)

    def added(
        self, files: Files, kind: EntryKind, fields: Sequence[Field], posted: Mapping[str, str], file: str | None = None
    ) -> Changed:  # fmt: skip
        """The files with one more entry. Raises EditRefused, SourceUnreadable."""
        made = built(fields, posted)
        if made.faults:
            return Changed(files=files, faults=made.faults)
        return self.with_entry(files, kind, made.value, file)

    def with_entry(
        self, files: Files, kind: EntryKind, value: Mapping[str, Plain], file: str | None = None
    ) -> Changed:  # fmt: skip
        """The files with one more entry as given. Raises EditRefused, SourceUnreadable."""
        file = file or self._home(files, kind)
        text = append(files.get(file, ""), self.read, kind.path, value)
        number = len(list(items_at(self.read(text), kind.path))) - 1
        return Changed(files={**files, file: text}, place=Place(file=file, path=(*kind.path, number)))

    def with_single(self, files: Files, kind: EntryKind, value: Mapping[str, Plain]) -> Changed:
        """The files with the one mapping of a kind that is no list, where there was none. Raises EditRefused,
        SourceUnreadable."""
        text = put(files.get(kind.file, ""), self.read, kind.path, value)
        return Changed(files={**files, kind.file: text}, place=Place(file=kind.file, path=kind.path))

    def extended(self, files: Files, place: Place, key: str | Path, value: Mapping[str, Plain]) -> Changed:
        """The files with one more entry in a list of the entry at the place. Raises EditRefused, SourceUnreadable."""
        path = (*place.path, *((key,) if isinstance(key, str) else key))
        text = append(files[place.file], self.read, path, value)
        number = len(list(items_at(self.read(text), path))) - 1
        return Changed(files={**files, place.file: text}, place=Place(file=place.file, path=(*path, number)))

    def dropped(self, files: Files, place: Place) -> Changed:
        """The files without the entry. Raises EditRefused, SourceUnreadable."""
        return Changed(files={**files, place.file: drop(files[place.file], self.read, place.path)})

    def _written(self, text: str, path: Path, each: Field, value: Plain) -> str:
        whole = (*path, *each.path)
        if each.kind is FieldKind.SCOPE:
            for scope in each.scopes:
                if not (isinstance(value, Mapping) and scope in value):
                    text = drop(text, self.read, (*whole, scope)) if not each.path else text
            if each.path:
                return put(text, self.read, whole, value)
            for scope, name in value.items() if isinstance(value, Mapping) else ():
                text = put(text, self.read, (*whole, scope), name)
            return text
        if value is None or (each.kind is FieldKind.FLAG and value is False):
            return self._dropped_key(text, path, each.path)
        return put(text, self.read, whole, value)

    def _dropped_key(self, text: str, path: Path, key: Path) -> str:
        """Without the key, and without the mapping it stood in if nothing is left there."""
        text = drop(text, self.read, (*path, *key))
        if len(key) > 1 and is_empty(at(self.read(text), (*path, *key[:-1]))):
            return self._dropped_key(text, path, key[:-1])
        return text

    def _home(self, files: Files, kind: EntryKind) -> str:
        """The file in which most entries of the kind stand, or that has the mapping they belong in."""
        counts: dict[str, int] = {}
        for entry in self.entries(files, kind):
            counts[entry.place.file] = counts.get(entry.place.file, 0) + 1
        if counts:
            return max(counts, key=lambda file: counts[file])
        for file in sorted(files):
            if len(kind.path) > 1 and at(self.root(files[file]), kind.path[:1]) is not None:
                return file
        return kind.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A new entry from fields."""

    value: Mapping[str, Plain]
    faults: Mapping[str, str] = field(default_factory=dict)


def built(fields: Sequence[Field], posted: Mapping[str, str]) -> Built:
    """What the fields say, as one entry; empty ones are left out."""
    value: dict[str, Plain] = {}
    faults: dict[str, str] = {}
    for each in fields:
        said = meant(each, posted.get(each.key, ""))
        if isinstance(said, Fault):
            faults[each.key] = said.reason
        elif said is not None and not (each.kind is FieldKind.FLAG and said is False):
            _put(value, each.path, said)
    return Built(value=value, faults=faults)


def _put(value: dict[str, Plain], path: Path, said: Plain) -> None:
    if not path:
        value.update(said if isinstance(said, Mapping) else {})
        return
    for step in path[:-1]:
        inner = value.setdefault(str(step), {})
        if not isinstance(inner, dict):
            return
        value = inner
    value[str(path[-1])] = said
