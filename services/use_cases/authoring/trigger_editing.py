"""Triggers by fields: a new one, and changes of one, whatever shape of events it waits for before and after."""

from services.use_cases.authoring.entries import Built, Changed, Files, Place, Sources
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.fields import Rows
from services.use_cases.authoring.row_edits import Form, Texts, built_form, changed_form, filled_rows, under
from services.use_cases.authoring.source_edits import put
from services.use_cases.authoring.trigger_kinds import SHAPES, shape_of

PROFILE_UPDATED = "bank.profile.updated"


def new_trigger(sources: Sources, files: Files, kind: EntryKind, texts: Texts) -> Changed:
    """The files with one more trigger. The fields of a shape are named `<shape>/<field>`; `shape` says which count.
    Raises EditRefused, SourceUnreadable."""
    shape = _shape(texts)
    waits = _waits_for(shape, texts)
    made = built_form(Form(fields=kind.fields, rows=kind.rows), texts)
    faults = dict(made.faults) | {f"{shape}/{key}": reason for key, reason in waits.faults.items()}
    name = texts.get("name", "").strip()
    if not name:
        faults["name"] = "needed"
    elif sources.entry(files, kind, name) is not None:
        faults["name"] = "taken"
    if faults:
        return Changed(files=files, faults=faults)
    value = {**made.value, **waits.value}
    first = [key for key in ("name", "title", "on") if key in value]
    ordered = {key: value[key] for key in (*first, *(key for key in value if key not in first))}
    return sources.with_entry(files, kind, ordered)


def changed_trigger(sources: Sources, files: Files, place: Place, kind: EntryKind, texts: Texts) -> Changed:
    """The files with the trigger changed. Another shape writes what it waits for anew; else only what differs is
    written. Raises EditRefused, SourceUnreadable."""
    shape = _shape(texts)
    found = sources.at(files, place)
    changed = changed_form(sources, files, place, Form(fields=kind.fields, rows=kind.rows), texts)
    faults = dict(changed.faults)
    files_then = changed.files
    if found is not None and shape_of(found.node) == shape:
        own = SHAPES[shape]
        inner = changed_form(
            sources, files_then, place, Form(fields=own.fields, rows=own.rows), under(texts, f"{shape}/")
        )
        faults |= {f"{shape}/{key}": reason for key, reason in inner.faults.items()}
        files_then = inner.files
    elif not faults:
        waits = _waits_for(shape, texts)
        faults |= {f"{shape}/{key}": reason for key, reason in waits.faults.items()}
        text = put(files_then[place.file], sources.read, (*place.path, "on"), waits.value.get("on"))
        files_then = {**files_then, place.file: text}
    if faults:
        return Changed(files=files, faults=faults, place=place)
    return Changed(files=files_then, place=place)


def matching_event(texts: Texts) -> str:
    """The type of the event whose fields a guard may name, from a trigger's form; empty where none is chosen."""
    shape = _shape(texts)
    own, given = SHAPES[shape], under(texts, f"{shape}/")
    if not own.matching:
        return PROFILE_UPDATED
    for rows in own.rows:
        if rows.key == own.matching:
            return _last(rows, given)
    return given.get(own.matching, "")


def _last(rows: Rows, texts: Texts) -> str:
    filled = filled_rows(rows, texts)
    return filled[max(filled)].get("event", "") if filled else ""


def _waits_for(shape: str, texts: Texts) -> Built:
    own = SHAPES[shape]
    made = built_form(Form(fields=own.fields, rows=own.rows), under(texts, f"{shape}/"))
    if not made.value:
        return Built(value={}, faults={**made.faults, (own.fields[0].key): "needed"})
    return made


def _shape(texts: Texts) -> str:
    shape = texts.get("shape", "")
    return shape if shape in SHAPES else next(iter(SHAPES))
