"""YAML text to document nodes that know their lines.

Built from the parser's events, not from PyYAML's objects: plain values follow YAML 1.2 (`on`, `off`, `yes` and dates
are texts), duplicate keys are found, and neither nesting nor aliases can exhaust anything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from decision_engine.errors import Problem
from decision_engine.strategy_loading.document import Entry, ListNode, MapNode, Node, ScalarNode, ScalarValue

MAX_DEPTH = 64
MAX_NODES = 500_000
"""Nodes after aliases are spelled out."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_MERGE = "<<"
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, ScalarValue] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlFile:
    """What a file holds; no root when it cannot be read as YAML at all."""

    root: Node | None
    problems: tuple[Problem, ...] = ()


def read_yaml(text: str, file: str) -> YamlFile:
    """The one document of a file. Syntax errors, duplicate keys and excesses are problems, never exceptions."""
    builder = _Builder(file)
    try:
        builder.read(text)
    except yaml.YAMLError as error:
        builder.fail(_line(error), _reason(error))
    except UnicodeEncodeError as error:
        builder.fail(text.count("\n", 0, error.start) + 1, "holds half of a character (a lone surrogate)")
    except _TooMuch as error:
        builder.fail(error.line, str(error))
    return YamlFile(root=builder.root, problems=tuple(builder.problems))


class _TooMuch(Exception):
    """The document is deeper or larger than any strategy."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(message)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    mapping: bool
    line: int
    anchor: str | None
    items: list[Node] = field(default_factory=list)
    keys: list[ScalarNode] = field(default_factory=list)
    pending: ScalarNode | None = None
    size: int = 1


class _Builder:
    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}

    def fail(self, line: int, message: str) -> None:
        """Gives the document up."""
        self.root = None
        self._problem(line, message)

    def read(self, text: str) -> None:
        """Goes through the events of the text."""
        documents = 0
        for event in _events(text):
            line = event.start_mark.line + 1 if event.start_mark is not None else 0
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(line, "a file holds one document; leave the second `---` out")
                    return
            else:
                self._take(event, line)
        if self.root is None:
            self._add(ScalarNode(value=None, file=self._file, line=1), 1, 1)

    def _take(self, event: yaml.Event, line: int) -> None:
        match event:
            case yaml.ScalarEvent():
                node = ScalarNode(value=self._scalar(event, line), file=self._file, line=line)
                key = self._open and self._open[-1].mapping and self._open[-1].pending is None
                if key:
                    # A key is a text whatever it looks like: `on`, `404`.
                    node = ScalarNode(value=str(event.value), file=self._file, line=line)
                self._remember(event.anchor, node, 1)
                self._add(node, 1, line)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(self._open) >= MAX_DEPTH:
                    raise _TooMuch(f"nests deeper than {MAX_DEPTH} levels", line)
                mapping = isinstance(event, yaml.MappingStartEvent)
                self._open.append(_Open(mapping=mapping, line=line, anchor=event.anchor))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._add(*self._anchored(event.anchor, line), line)

    def _anchored(self, anchor: str | None, line: int) -> tuple[Node, int]:
        known = self._anchors.get(anchor or "")
        if known is None:
            raise _TooMuch(f"the alias *{anchor} stands inside its own anchor or before it", line)
        return known

    def _remember(self, anchor: str | None, node: Node, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)

    def _close(self) -> None:
        done = self._open.pop()
        node: Node
        if done.mapping:
            node = MapNode(entries=tuple(self._entries(done)), file=self._file, line=done.line)
        else:
            node = ListNode(items=tuple(done.items), file=self._file, line=done.line)
        self._remember(done.anchor, node, done.size)
        self._add(node, done.size, done.line)

    def _add(self, node: Node, size: int, line: int) -> None:
        """Puts a finished node where it belongs: into the open mapping or list, or as the root."""
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.size += size
        if parent.size > MAX_NODES:
            raise _TooMuch("spelled out, the document is larger than any strategy", line)
        if not parent.mapping:
            parent.items.append(node)
        elif parent.pending is None:
            if not isinstance(node, ScalarNode):
                self._problem(line, "a key must be text")
                node = ScalarNode(value="", file=self._file, line=line)
            parent.pending = node
        else:
            parent.keys.append(parent.pending)
            parent.items.append(node)
            parent.pending = None

    def _entries(self, done: _Open) -> Iterator[Entry]:
        """The entries, those of a merge key (`<<`) after the mapping's own, which they do not replace."""
        first: dict[str, int] = {}
        merged: list[MapNode] = []
        for key, value in zip(done.keys, done.items, strict=True):
            name = str(key.value)
            if name == _MERGE:
                merged += self._merged(value, key.line)
            elif name in first:
                self._problem(key.line, f"the key stands already on line {first[name]}", name)
            else:
                first[name] = key.line
                yield Entry(key=name, value=value, file=self._file, line=key.line)
        for node in merged:
            for entry in node.entries:
                if entry.key not in first:
                    first[entry.key] = entry.line
                    yield entry

    def _merged(self, value: Node, line: int) -> list[MapNode]:
        nodes = value.items if isinstance(value, ListNode) else (value,)
        mappings = [node for node in nodes if isinstance(node, MapNode)]
        if len(mappings) < len(nodes):
            self._problem(line, "<< takes mappings", _MERGE)
        return mappings

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> ScalarValue:
        text = str(event.value)
        if event.tag is not None and event.tag not in _STRING_TAGS:
            self._problem(line, f"the tag {event.tag} has no meaning here")
        if event.style not in (None, "") or event.tag is not None:
            return text
        return plain_value(text)

    def _problem(self, line: int, message: str, path: str = "strategy") -> None:
        self.problems.append(Problem(file=self._file, line=line, path=path, message=message))


def plain_value(text: str) -> ScalarValue:
    """An unquoted value, by the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        # Longer ones are texts: no number of a strategy is, and converting them takes long.
        return int(text) if len(text) <= 19 else text
    return float(text) if _FLOAT.fullmatch(text) else text


def _events(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=_LOADER)


def _line(error: yaml.YAMLError) -> int:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return mark.line + 1 if mark is not None else 0


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return ", ".join(part for part in (error.problem, error.context) if part) or "is no YAML"
    return str(error).splitlines()[0]
