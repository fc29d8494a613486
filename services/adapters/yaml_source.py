"""YAML text to nodes that know where they stand in it, for edits that leave everything else as it is."""

import re
from dataclasses import dataclass, field
from typing import Final

import yaml

from services.adapters.yaml_document import plain_value
from services.use_cases.authoring.source_nodes import (
    SourceAlias,
    SourceEntry,
    SourceList,
    SourceMap,
    SourceNode,
    SourceScalar,
    SourceUnreadable,
)

MAX_DEPTH: Final = 64
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DASH = re.compile(r"-[ \t\r\n]")


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    mapping: bool
    start: int
    flow: bool
    items: list[SourceNode] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    keys: list[SourceScalar] = field(default_factory=list)
    pending: SourceScalar | None = None


def read_source(text: str) -> SourceNode:
    """The one document of a text. Raises SourceUnreadable."""
    try:
        return _Reader(text).read()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 0
        raise SourceUnreadable(error.problem or "is no YAML", line) from error
    except yaml.YAMLError as error:
        raise SourceUnreadable(str(error).splitlines()[0], 0) from error
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise SourceUnreadable("holds half of a character (a lone surrogate)", line) from error


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[_Open] = []
        self._root: SourceNode | None = None

    def read(self) -> SourceNode:
        for event in yaml.parse(self._text, Loader=_LOADER):
            self._take(event)
        if self._root is None:
            return SourceScalar(value=None, start=len(self._text), end=len(self._text))
        return self._root

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._add(self._scalar(event))
            case yaml.AliasEvent():
                start, end = _span(event)
                self._add(SourceAlias(name=str(event.anchor), start=start, end=end))
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(self._open) >= MAX_DEPTH:
                    raise SourceUnreadable(f"nests deeper than {MAX_DEPTH} levels", _line(event))
                start = self._behind_anchor(event)
                mapping = isinstance(event, yaml.MappingStartEvent)
                self._open.append(_Open(mapping=mapping, start=start, flow=bool(event.flow_style)))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close(_span(event)[1])

    def _behind_anchor(self, event: yaml.Event) -> int:
        """Where a collection itself begins; its event begins with the anchor, if it has one."""
        start = _span(event)[0]
        if getattr(event, "anchor", None) is None and getattr(event, "tag", None) is None:
            return start
        while self._text[start] in "&!":
            start += len(re.match(r"\S*\s*", self._text[start:]).group())  # type: ignore[union-attr]
        return start

    def _scalar(self, event: yaml.ScalarEvent) -> SourceScalar:
        start, end = _span(event)
        if event.style in ("|", ">"):
            end = start + len(self._text[start:end].rstrip())
        keyed = bool(self._open) and self._open[-1].mapping and self._open[-1].pending is None
        quoted = event.style not in (None, "") or event.tag is not None
        value = str(event.value) if keyed or quoted else plain_value(str(event.value))
        return SourceScalar(value=value, start=start, end=end)

    def _close(self, end: int) -> None:
        done = self._open.pop()
        if not done.flow:  # a block ends with what is in it, not where the next begins
            end = max((item.end for item in done.items), default=done.start)
        node: SourceNode
        if done.mapping:
            entries = tuple(
                SourceEntry(key=str(key.value), start=key.start, value=value)
                for key, value in zip(done.keys, done.items, strict=True)
            )
            node = SourceMap(entries=entries, start=done.start, end=end, flow=done.flow)
        else:
            starts = tuple(done.starts)
            node = SourceList(items=tuple(done.items), starts=starts, start=done.start, end=end, flow=done.flow)
        self._add(node)

    def _add(self, node: SourceNode) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if not parent.mapping:
            parent.starts.append(node.start if parent.flow else self._dash_before(node.start, parent))
            parent.items.append(node)
        elif parent.pending is None:
            if not isinstance(node, SourceScalar):
                raise SourceUnreadable("a key must be text", 0)
            parent.pending = node
        else:
            parent.keys.append(parent.pending)
            parent.items.append(node)
            parent.pending = None

    def _dash_before(self, place: int, parent: _Open) -> int:
        """Where the dash of an entry stands: in the column of the list's first one."""
        column = parent.start - (self._text.rfind("\n", 0, parent.start) + 1)
        line = self._text.rfind("\n", 0, place) + 1
        while line >= 0:
            if _DASH.match(self._text, line + column) and not self._text[line : line + column].strip(" -"):
                return line + column
            if line == 0:
                break
            line = self._text.rfind("\n", 0, line - 1) + 1
        return place


def _span(event: yaml.Event) -> tuple[int, int]:
    start, end = event.start_mark, event.end_mark
    return (start.index if start is not None else 0), (end.index if end is not None else 0)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0
