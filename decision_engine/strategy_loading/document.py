"""A strategy document before it is understood: plain nodes that remember the file and line they came from."""

from dataclasses import dataclass

ScalarValue = bool | int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A single value; None is an empty one."""

    value: ScalarValue
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """A sequence."""

    items: tuple["Node", ...]
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key of a mapping with its value; file and line are the key's."""

    key: str
    value: "Node"
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MapNode:
    """A mapping; its keys are distinct."""

    entries: tuple[Entry, ...]
    file: str
    line: int


Node = ScalarNode | ListNode | MapNode
