"""A kind of entries: the list of a strategy they stand in, and their fields."""

from dataclasses import dataclass

from services.use_cases.authoring.fields import Field, Rows
from services.use_cases.authoring.source_nodes import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryKind:
    """A list of a strategy (`path` from the top) whose entries have these fields; `label` is the key that names an
    entry, empty where entries have no names. `file` is where the first one goes. `rows` are lists inside an entry that
    are edited with it. A `single` one is no list but one mapping."""

    name: str
    path: Path
    label: str
    fields: tuple[Field, ...]
    file: str
    rows: tuple[Rows, ...] = ()
    single: bool = False
