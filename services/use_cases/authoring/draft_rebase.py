"""A draft moved onto the version that is active now: what only one side changed since they parted is taken, entry by
entry with its comments; what both changed differently is a conflict for a person to settle. Nothing is lost silently:
where entries cannot be told apart, or do not fit together again, the whole file is the conflict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from services.use_cases.authoring.file_units import Unit, joined, shapes, uncut, units_of
from services.use_cases.authoring.source_nodes import ReadSource, SourceUnreadable

Files = Mapping[str, str]
Side = Literal["mine", "theirs"]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An entry (or with an empty label a section, with neither a file) that the draft and the active version changed
    differently; None where it was removed."""

    file: str
    section: str
    label: str
    before: str | None
    mine: str | None
    theirs: str | None

    @property
    def id(self) -> str:
        """Says what was chosen between, too: a choice between other texts is no answer to this one."""
        parts = (self.file, self.section, self.label, *map(repr, (self.mine, self.theirs)))
        return sha256("\0".join(parts).encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """`open` are the conflicts nobody has settled; `files` hold the active version's side of these. `reordered` names
    files whose entries both sides put in another order; there the active version's order stays."""

    files: Files
    conflicts: tuple[Conflict, ...]
    open: tuple[Conflict, ...]
    reordered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sides:
    """The texts of one file, or one unit; None where there is none."""

    base: str | None
    active: str | None
    draft: str | None

    def taken(self) -> tuple[bool, str | None]:
        """Whether it is clear what to take, and what."""
        if self.draft in (self.active, self.base):
            return True, self.active
        return (True, self.draft) if self.base == self.active else (False, self.active)


@dataclass(slots=True)
class _Merge:
    """What is being put together."""

    read: ReadSource
    choices: Mapping[str, Side]
    conflicts: list[Conflict]
    reordered: list[str]

    def settled(self, conflict: Conflict) -> str | None:
        self.conflicts.append(conflict)
        return conflict.mine if self.choices.get(conflict.id) == "mine" else conflict.theirs

    def file(self, name: str, sides: _Sides) -> str | None:
        clear, text = sides.taken()
        if clear:
            return text
        if sides.active is not None and sides.draft is not None:
            known = len(self.conflicts)
            try:
                return self.entries(name, sides.base or "", sides.active, sides.draft)
            except (SourceUnreadable, _DoesNotFit):
                del self.conflicts[known:]
        whole = Conflict(file=name, section="", label="", before=sides.base, mine=sides.draft, theirs=sides.active)
        return self.settled(whole)

    def entries(self, name: str, *texts: str) -> str:
        """Base, active and draft merged by entry. Raises SourceUnreadable, _DoesNotFit."""
        whole = uncut([shapes(text, self.read) for text in texts])
        base, active, draft = ({unit.key: unit for unit in self.cut(text, whole)} for text in texts)
        taken: dict[Key, Unit] = {}
        for key in (*active, *(key for key in draft if key not in active)):
            unit = self.unit(name, key, (base.get(key), active.get(key), draft.get(key)))
            if unit is not None:
                taken[key] = unit
        order, kept_order = _ordered(tuple(base), tuple(active), tuple(draft), taken)
        merged = joined([taken[key].text for key in order])
        if [(unit.key, unit.said) for unit in self.cut(merged, whole)] != [(k, taken[k].said) for k in order]:
            raise _DoesNotFit
        if not kept_order:
            self.reordered.append(name)
        return merged

    def cut(self, text: str, whole: frozenset[str]) -> tuple[Unit, ...]:
        units = units_of(text, self.read, whole)
        if len({unit.key for unit in units}) != len(units):
            raise _DoesNotFit
        return units

    def unit(self, name: str, key: Key, found: tuple[Unit | None, Unit | None, Unit | None]) -> Unit | None:
        said = _Sides(*(None if unit is None else unit.said for unit in found))
        clear, text = said.taken()
        if not clear:
            conflict = Conflict(
                file=name, section=key[0], label=key[1], before=said.base, mine=said.draft, theirs=said.active
            )
            text = self.settled(conflict)
        return next((unit for unit in found[1:] if unit is not None and unit.said == text), None)


class _DoesNotFit(Exception):
    """The entries cannot be put together to a file that has exactly them."""


def rebase(read: ReadSource, base: Files, active: Files, draft: Files, choices: Mapping[str, Side]) -> Rebased:
    """The draft's changes of the base on top of the active version. `choices` settle conflicts by their id."""
    merge, files = _Merge(read, choices, [], []), dict[str, str]()
    for name in sorted({*base, *active, *draft}):
        text = merge.file(name, _Sides(base.get(name), active.get(name), draft.get(name)))
        if text is not None:
            files[name] = text
    return Rebased(
        files=files,
        conflicts=tuple(merge.conflicts),
        open=tuple(conflict for conflict in merge.conflicts if conflict.id not in choices),
        reordered=tuple(merge.reordered),
    )


def _ordered(
    base: Sequence[Key], active: Sequence[Key], draft: Sequence[Key], taken: Mapping[Key, Unit]
) -> tuple[list[Key], bool]:
    """The order of what was taken, and whether nobody's order is lost."""
    common = {*base} & {*active} & {*draft} & {*taken}
    was, theirs, mine = ([key for key in keys if key in common] for keys in (base, active, draft))
    leading, other = (draft, active) if theirs == was and mine != was else (active, draft)
    order = [key for key in leading if key in taken]
    for number, key in enumerate(other):
        if key in taken and key not in order:
            before = next((known for known in reversed(other[:number]) if known in order), None)
            order.insert(0 if before is None else order.index(before) + 1, key)
    return order, mine in (was, theirs) or theirs == was
