"""How two strategies differ, in the words of the strategy file: what was added, removed and changed, thing by thing,
down to the text of one locale; and the lines of the files beside it. Pure.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from decision_engine.strategy_loading.document import ListNode, MapNode, Node, ScalarNode

Kind = Literal["added", "removed", "changed", "moved"]
Plain = bool | int | float | str | None | list["Plain"] | dict[str, "Plain"]
_CONTEXT_LINES = 2
_SHOWN_CHARACTERS = 160
_NAMES = ("name", "id")
_SINGULAR = {
    "offers": "offer", "groups": "group", "issues": "issue", "features": "feature", "derived": "derived attribute",
    "segments": "segment", "tags": "tag", "placements": "placement", "profile": "profile attribute",
    "policies": "policy", "volumes": "volume", "levers": "lever", "triggers": "trigger", "experiments": "experiment",
    "consents": "consent", "models": "model", "holdouts": "holdout", "links": "link", "linked": "linked attribute",
    "boosts": "boost", "context": "context attribute", "service_first": "service-first rule",
    "context_weights": "context weight", "contact_policy": "contact policy", "treatments": "treatment",
    "eligibility": "eligibility rule", "applicability": "applicability rule", "suitability": "suitability rule",
    "rules": "rule", "reasons": "reason", "limits": "limit",
}  # fmt: skip
"""What one of a list is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. `area` is the section (`offers`); `thing` what it is about (`offer gold_card, treatment banner`);
    `field` the way inside of it (`content.zh-CN.title`), empty for the whole thing."""

    kind: Kind
    area: str
    thing: str
    field: str
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
    old, new = _plain(before), _plain(after)
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return
    for area in [*new, *(name for name in old if name not in new)]:
        yield from _Place(area, "", "").compared(old.get(area), new.get(area))


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


def change_text(change: Change) -> str:
    """One difference as a line."""
    about = ", ".join(part for part in (change.thing or change.area, change.field) if part)
    if change.kind == "moved":
        return f"{about}: another order"
    if change.kind == "added":
        return f"{about}: added {_shown(change.after)}"
    if change.kind == "removed":
        return f"{about}: removed {_shown(change.before)}"
    return f"{about}: {_shown(change.before)} -> {_shown(change.after)}"


def diff_lines(found: StrategyDiff, *, with_files: bool = True) -> list[str]:
    """Everything as text: by area what differs, then the files."""
    lines: list[str] = []
    area = None
    for change in found.changes:
        if change.area != area:
            area = change.area
            lines += ["", area] if lines else [area]
        sign = {"added": "+", "removed": "-", "changed": "~", "moved": "^"}[change.kind]
        lines.append(f"  {sign} {change_text(change)}")
    if with_files:
        for file in found.files:
            lines += ["", f"{file.name} ({file.kind})", *(f"  {line}" for line in file.lines[2:] or file.lines)]
    return lines or ["no difference"]


def diff_as_json(found: StrategyDiff) -> dict[str, object]:
    """Everything for other programs, each change with its line for people."""
    return {
        "changes": [{**asdict(change), "text": change_text(change)} for change in found.changes],
        "files": [asdict(file) for file in found.files],
    }


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the comparison stands."""

    area: str
    thing: str
    field: str

    def compared(self, old: Plain, new: Plain) -> Iterator[Change]:
        if _same(old, new):
            return
        if isinstance(old, dict) and isinstance(new, dict):
            for key in [*new, *(name for name in old if name not in new)]:
                yield from self._inside(key).compared(old.get(key), new.get(key))
        elif (old or new) and _is_named(old) and _is_named(new):  # one of them may be absent
            yield from self._listed(_by_name(old), _by_name(new))
        else:
            kind: Kind = "added" if old is None else "removed" if new is None else "changed"
            yield self.change(kind, old, new)

    def _listed(self, old: Mapping[str, Plain], new: Mapping[str, Plain]) -> Iterator[Change]:
        for name, value in new.items():
            yield from self._one(name).compared(old.get(name), value)
        for name, value in old.items():
            if name not in new:
                yield self._one(name).change("removed", value, None)
        kept_before, kept_after = [n for n in old if n in new], [n for n in new if n in old]
        if kept_before != kept_after:
            yield self.change("moved", list(kept_before), list(kept_after))

    def _inside(self, key: str) -> "_Place":
        return _Place(self.area, self.thing, f"{self.field}.{key}" if self.field else key)

    def _one(self, name: str) -> "_Place":
        """One thing of a list."""
        last = (self.field or self.area).rpartition(".")[2]
        way = self.field.rpartition(".")[0]
        about = f"{_SINGULAR.get(last, last)} {name}"
        inside = f"{self.thing}, {about}" if self.thing else about
        return _Place(self.area, f"{inside} of {way}" if way else inside, "")

    def change(self, kind: Kind, old: Plain, new: Plain) -> Change:
        return Change(kind=kind, area=self.area, thing=self.thing, field=self.field, before=old, after=new)


def _is_named(value: Plain) -> bool:
    """Whether it is a list of things that can be told apart by name; an absent list is an empty one."""
    return value is None or (isinstance(value, list) and all(isinstance(item, dict) for item in value))


def _by_name(value: Plain) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for item in value if isinstance(value, list) else []:
        name = base = _name(item)
        number = 1
        while name in found:
            number += 1
            name = f"{base} ({number})"
        found[name] = item
    return found


def _name(item: Plain) -> str:
    """By its name or id; without any by what it is about, as `scope` and `layer` of a policy."""
    if not isinstance(item, dict):
        return json.dumps(item, ensure_ascii=False)
    for key in _NAMES:
        if isinstance(item.get(key), str):
            return str(item[key])
    scalars: dict[str, Plain] = {key: value for key, value in item.items() if not isinstance(value, list)}
    about: dict[str, Plain] = {key: value for key, value in scalars.items() if key in _ABOUT}
    return _compact(about or scalars)


_ABOUT = ("scope", "layer", "offer", "group", "issue", "channel", "code", "event", "response", "after", "of", "parent")


def _same(old: Plain, new: Plain) -> bool:
    """Equal, with true and 1 apart."""
    return old == new and json.dumps(old) == json.dumps(new)


def _shown(value: Plain) -> str:
    text = value if isinstance(value, str) else _compact(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _compact(value: Plain) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_compact(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_compact(part) for part in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def _plain(node: Node) -> Plain:
    if isinstance(node, MapNode):
        values = {entry.key: _plain(entry.value) for entry in node.entries}
        return {key: value for key, value in values.items() if value is not None}  # an empty value is an absent one
    if isinstance(node, ListNode):
        return [_plain(item) for item in node.items]
    if isinstance(node, ScalarNode):
        return node.value
    raise TypeError(type(node).__name__)
