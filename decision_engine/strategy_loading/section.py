"""Reads one mapping of the document key by key, noting every fault and carrying on with a harmless stand-in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from decision_engine.errors import Problem
from decision_engine.strategy_loading.document import Entry, ListNode, MapNode, Node, ScalarNode

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
CODE = re.compile(r"[A-Z][A-Z0-9_]*")
_LABELS = ("name", "id", "code")
"""Keys whose value names an entry of a list in the path of a problem."""


@dataclass(slots=True)
class Problems:
    """The faults found so far."""

    found: list[Problem] = field(default_factory=list)

    def add(self, at: Node | Entry, path: str, message: str) -> None:
        """Notes a fault where it stands; the same fault met again (a merged rule) is one."""
        problem = Problem(file=at.file, line=at.line, path=path or "strategy", message=message)
        if problem not in self.found:
            self.found.append(problem)


def suggestion(name: str, known: Sequence[str]) -> str:
    """`; did you mean …?` if a known name is close."""
    nearest = get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class Section:
    """A mapping being read. Every key asked for is known; `finish` reports the others."""

    def __init__(self, node: Node, path: str, problems: Problems) -> None:
        self.problems = problems
        self.path = path
        self.node = node
        entries: tuple[Entry, ...] = ()
        if isinstance(node, MapNode):
            entries = node.entries
        else:
            problems.add(node, path, f"must be a mapping, this is {_described(node)}")
        self._entries = {entry.key: entry for entry in entries}
        self._asked: dict[str, None] = {}

    def problem(self, message: str, key: str | None = None) -> None:
        """Notes a fault of the whole section or of one key."""
        entry = self._entries.get(key) if key is not None else None
        self.problems.add(entry.value if entry else self.node, self.path_of(key) if key else self.path, message)

    def path_of(self, key: str) -> str:
        """Where the key stands in the document."""
        return f"{self.path}.{key}" if self.path else key

    def finish(self) -> None:
        """Reports the keys nobody asked for."""
        for key, entry in self._entries.items():
            if key not in self._asked:
                hint = suggestion(key, tuple(self._asked))
                self.problems.add(
                    entry, self.path_of(key), f"unknown key{hint or '; known: ' + ', '.join(self._asked)}"
                )

    def keys(self) -> tuple[str, ...]:
        """All keys of the mapping, for sections whose keys are data."""
        return tuple(self._entries)

    def has(self, key: str) -> bool:
        """Whether the key is given, even if empty."""
        self._asked[key] = None
        return key in self._entries

    def get(self, key: str) -> Node | None:
        """The value of a key that may be absent; an empty one counts as absent."""
        if not self.has(key):
            return None
        value = self._entries[key].value
        return None if isinstance(value, ScalarNode) and value.value is None else value

    def given(self, key: str) -> bool:
        """Whether there is something under the key: neither absent nor an empty list or mapping."""
        match self.get(key):
            case None | ListNode(items=()) | MapNode(entries=()):
                return False
            case _:
                return True

    def require(self, key: str) -> Node | None:
        """The value of a key that must be there."""
        value = self.get(key)
        if value is None:
            message = "is empty" if key in self._entries else "is missing"
            self.problems.add(self.node, self.path_of(key), message)
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None when absent."""
        value = self.get(key)
        return None if value is None else self._as_text(key, value)

    def text(self, key: str) -> str:
        """A text that must be there; empty after a fault."""
        value = self.require(key)
        return "" if value is None else self._as_text(key, value)

    def name(self, key: str, pattern: re.Pattern[str] = NAME) -> str:
        """A text made of letters, digits and underscores; empty after a fault."""
        text = self.text(key)
        if text and not pattern.fullmatch(text):
            wanted = "capital letters" if pattern is CODE else "letters"
            self.problem(f"{text!r} must be {wanted}, digits and underscores, beginning with a letter", key)
            return ""
        return text

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of the choices; without a default it must be there. Empty after a fault."""
        if default is not None and self.get(key) is None:
            return default
        text = self.text(key)
        if text and text not in choices:
            self.problem(f"{text!r} is none of {', '.join(choices)}{suggestion(text, choices)}", key)
            return ""
        return text

    def flag(self, key: str, *, default: bool) -> bool:
        """true or false."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, ScalarNode) and isinstance(value.value, bool):
            return value.value
        self.problem(f"must be true or false, this is {_described(value)}", key)
        return default

    def integer(self, key: str, default: int | None = None, *, least: int, most: int | None = None) -> int:
        """A whole number within bounds; without a default it must be there. `least` after a fault."""
        value = self.require(key) if default is None else self.get(key)
        if value is None:
            return least if default is None else default
        number = value.value if isinstance(value, ScalarNode) else None
        if type(number) is not int:
            self.problem(f"must be a whole number, this is {_described(value)}", key)
            return least
        if number < least or (most is not None and number > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            self.problem(f"{number} must be {bounds}", key)
            return least
        return number

    def number(self, key: str, default: float | None = None, *, least: float, most: float) -> float:
        """A number within bounds, as a double; without a default it must be there. 0 after a fault."""
        value = self.require(key) if default is None else self.get(key)
        if value is None:
            return 0.0 if default is None else default
        number = value.value if isinstance(value, ScalarNode) else None
        if isinstance(number, bool) or not isinstance(number, int | float):
            self.problem(f"must be a number, this is {_described(value)}", key)
            return 0.0
        if not least <= number <= most:
            self.problem(f"{number} must be from {least:g} to {most:g}", key)
            return 0.0
        return float(number)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; none when absent."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, ListNode):
            self.problem(f"must be a list, this is {_described(value)}", key)
            return ()
        return tuple(text for item in value.items if (text := self._as_text(key, item)))

    def section(self, key: str) -> "Section | None":
        """A mapping, or None when absent."""
        value = self.get(key)
        return None if value is None else Section(value, self.path_of(key), self.problems)

    def required_section(self, key: str) -> "Section | None":
        """A mapping that must be there."""
        value = self.require(key)
        return None if value is None else Section(value, self.path_of(key), self.problems)

    def sections(self, key: str) -> tuple["Section", ...]:
        """A list of mappings; none when absent."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, ListNode):
            self.problem(f"must be a list, this is {_described(value)}", key)
            return ()
        return tuple(
            Section(item, f"{self.path_of(key)}[{_label(item, number)}]", self.problems)
            for number, item in enumerate(value.items)
        )

    def local_text(self, key: str, locales: Sequence[str]) -> dict[str, str]:
        """A text in every locale; what is missing is reported."""
        texts = self.required_section(key)
        if texts is None:
            return {}
        found = {locale: texts.text(locale) for locale in locales}
        if locales:  # otherwise they are at fault, not the texts
            texts.finish()
        return found

    def optional_local_text(self, key: str, locales: Sequence[str]) -> dict[str, str] | None:
        """A text in every locale, or None when absent altogether."""
        return None if self.get(key) is None else self.local_text(key, locales)

    def _as_text(self, key: str, value: Node) -> str:
        if isinstance(value, ScalarNode) and isinstance(value.value, str):
            if value.value.strip():
                return value.value
            self.problems.add(value, self.path_of(key), "is empty")
            return ""
        self.problems.add(value, self.path_of(key), f"must be text, this is {_described(value)}")
        return ""


def distinct(sections: Sequence[Section], names: Sequence[str], key: str) -> None:
    """Reports every name that stands before already; empty names are faults reported elsewhere."""
    first: dict[str, Section] = {}
    for section, name in zip(sections, names, strict=True):
        earlier = first.setdefault(name, section)
        if name and earlier is not section:
            section.problem(f"{name} stands already at {earlier.node.file}:{earlier.node.line}", key)


def _label(item: Node, number: int) -> str:
    if isinstance(item, MapNode):
        for entry in item.entries:
            if entry.key in _LABELS and isinstance(entry.value, ScalarNode) and isinstance(entry.value.value, str):
                return entry.value.value
    return str(number)


def _described(node: Node) -> str:
    match node:
        case MapNode():
            return "a mapping"
        case ListNode():
            return "a list"
        case ScalarNode(value=None):
            return "empty"
        case ScalarNode(value=bool(value)):
            return "true" if value else "false"
        case ScalarNode(value=str(value)):
            return f"the text {value[:60]!r}"
        case ScalarNode(value=value):
            return f"the number {value}"
