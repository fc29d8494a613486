"""A strategy file cut into units: the entries of its lists, each with the comments above it, and whatever else stands
at the top. The texts of all units together are the file, byte for byte."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.use_cases.authoring.source_nodes import ReadSource, SourceList, SourceMap, SourceNode, SourceScalar
from services.use_cases.governance.strategy_diff import Plain, entry_name

Shape = Literal["entries", "sections", "whole"]
"""How a key's value is cut: a list by its entries, a mapping by its keys, anything else not at all."""
TAIL = ""
"""The section of what follows the last unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """`section` is a key, or one inside of a mapping (`contact_policy.limits`); `label` names an entry of its list and
    is empty for what stands above the entries, and for a section that is not cut."""

    section: str
    label: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is told apart by."""
        return self.section, self.label

    @property
    def said(self) -> str:
        """The text without the blank lines around it, which belong to nobody."""
        return self.text.strip("\n")


def shapes(text: str, read: ReadSource) -> dict[str, Shape]:
    """By section how it can be cut. Raises SourceUnreadable."""
    root, found = read(text), dict[str, Shape]()
    if not isinstance(root, SourceMap) or root.flow:
        return found
    for entry in root.entries:
        shape = found[entry.key] = _shape(entry.value, deep=True)
        if shape == "sections" and isinstance(entry.value, SourceMap):
            for inner in entry.value.entries:
                found[f"{entry.key}.{inner.key}"] = _shape(inner.value, deep=False)
    return found


def uncut(all_shapes: Sequence[Mapping[str, Shape]]) -> frozenset[str]:
    """The sections that must stay whole so that several texts are cut alike."""
    sections = {section for found in all_shapes for section in found}
    return frozenset(
        section
        for section in sections
        if len(kinds := {found[section] for found in all_shapes if section in found}) > 1 or kinds == {"whole"}
    )


def units_of(text: str, read: ReadSource, whole: Collection[str]) -> tuple[Unit, ...]:
    """The file in units, those sections uncut. Raises SourceUnreadable."""
    root = read(text)
    if not text:
        return ()
    if not isinstance(root, SourceMap) or root.flow:
        return (Unit(section=TAIL, label="", text=text),)
    ends = list(_ends(text, root, "", whole))
    units, begin = list[Unit](), 0
    for section, label, end in ends:
        units.append(Unit(section=section, label=label, text=text[begin:end]))
        begin = end
    if begin < len(text):
        units.append(Unit(section=TAIL, label="", text=text[begin:]))
    return tuple(units)


def joined(texts: Sequence[str]) -> str:
    """One file of these texts, each on lines of its own."""
    return "".join(text if text.endswith("\n") or number + 1 == len(texts) else f"{text}\n" for number, text in
                   enumerate(texts))  # fmt: skip


def _shape(value: SourceNode, *, deep: bool) -> Shape:
    if isinstance(value, SourceList) and not value.flow and value.items:
        names = [entry_name(_value(item)) for item in value.items if isinstance(item, SourceMap)]
        return "entries" if len(set(names)) == len(value.items) else "whole"
    if deep and isinstance(value, SourceMap) and not value.flow and value.entries:
        return "sections"
    return "whole"


def _ends(text: str, mapping: SourceMap, inside: str, whole: Collection[str]) -> Iterator[tuple[str, str, int]]:
    """Section, label and end of each unit, in their order."""
    for entry in mapping.entries:
        section, value = f"{inside}{entry.key}", entry.value
        if section not in whole and isinstance(value, SourceList):
            yield section, "", _line_after(text, entry.start)
            for item in value.items:
                yield section, entry_name(_value(item)), _line_after(text, item.end)
        elif section not in whole and isinstance(value, SourceMap):
            yield section, "", _line_after(text, entry.start)
            yield from _ends(text, value, f"{section}.", whole)
        else:
            yield section, "", _line_after(text, max(value.end, entry.start + len(entry.key) + 1))


def _value(node: SourceNode) -> Plain:
    match node:
        case SourceMap(entries=entries):
            return {entry.key: _value(entry.value) for entry in entries}
        case SourceList(items=items):
            return [_value(item) for item in items]
        case SourceScalar(value=value):
            return value
    return f"*{node.name}"


def _line_after(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1
