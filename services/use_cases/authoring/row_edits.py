"""Lists inside an entry, edited in one form with it: each row's fields are named `<list>.<number>.<field>`, and a row
whose fields are all empty is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.use_cases.authoring.entries import Built, Changed, Files, Place, Sources, built
from services.use_cases.authoring.fields import Field, Rows
from services.use_cases.authoring.source_nodes import SourceList, at
from services.use_cases.authoring.yaml_writing import Plain

Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Fields of an entry with the lists inside it."""

    fields: tuple[Field, ...]
    rows: tuple[Rows, ...] = ()


def changed_form(sources: Sources, files: Files, place: Place, form: Form, texts: Texts) -> Changed:
    """The files with what the form says put at the place. Rows that were there keep their place and layout, emptied
    ones go, further ones come last; a list that the texts do not name stays as it is. Raises EditRefused,
    SourceUnreadable."""
    changed = sources.changed(files, place, form.fields, texts)
    faults = dict(changed.faults)
    for rows in form.rows:
        if any(key.startswith(f"{rows.key}.") for key in texts):
            inner = _changed_rows(sources, changed.files, place, rows, texts)
            faults |= {f"{rows.key}.{key}": reason for key, reason in inner.faults.items()}
            changed = inner
    if faults:
        return Changed(files=files, faults=faults, place=place)
    return Changed(files=changed.files, place=place)


def built_form(form: Form, texts: Texts) -> Built:
    """What the form says, as one new entry; empty fields and rows are left out."""
    made = built(form.fields, texts)
    value, faults = dict(made.value), dict(made.faults)
    for rows in form.rows:
        items: list[Plain] = []
        for number, sub in filled_rows(rows, texts).items():
            inner = built_form(Form(fields=rows.fields, rows=rows.rows), sub)
            faults |= {f"{rows.key}.{number}.{key}": reason for key, reason in inner.faults.items()}
            items.append(inner.value)
        if items:
            _put(value, rows.path, items)
    return Built(value=value, faults=faults)


def filled_rows(rows: Rows, texts: Texts) -> dict[int, dict[str, str]]:
    """The texts of each row that says anything, by number."""
    found = {number: under(texts, f"{rows.key}.{number}.") for number in range(rows.most)}
    return {number: sub for number, sub in found.items() if any(text.strip() for text in sub.values())}


def under(texts: Texts, prefix: str) -> dict[str, str]:
    """The texts whose names begin so, without that beginning."""
    return {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}


def _changed_rows(sources: Sources, files: Files, place: Place, rows: Rows, texts: Texts) -> Changed:
    path = (*place.path, *rows.path)
    written = at(sources.read(files[place.file]), path)
    there = len(written.items) if isinstance(written, SourceList) else 0
    filled = filled_rows(rows, texts)
    form = Form(fields=rows.fields, rows=rows.rows)
    faults: dict[str, str] = {}
    for number in (number for number in filled if number < there):
        changed = changed_form(sources, files, Place(file=place.file, path=(*path, number)), form, filled[number])
        faults |= {f"{number}.{key}": reason for key, reason in changed.faults.items()}
        files = changed.files
    added = {number: built_form(form, sub) for number, sub in filled.items() if number >= there}
    faults |= {f"{number}.{key}": reason for number, made in added.items() for key, reason in made.faults.items()}
    if faults:
        return Changed(files=files, faults=faults, place=place)
    gone = [number for number in range(min(there, rows.most)) if number not in filled]
    return Changed(files=_with_and_without(sources, files, place, rows, gone, list(added.values())), place=place)


def _with_and_without(
    sources: Sources, files: Files, place: Place, rows: Rows, gone: Sequence[int], added: Sequence[Built]
) -> Files:
    for made in added:
        files = sources.extended(files, place, rows.path, made.value).files
    path = (*place.path, *rows.path)
    for number in reversed(gone):
        left = at(sources.read(files[place.file]), path)
        whole = isinstance(left, SourceList) and len(left.items) == 1
        files = sources.dropped(files, Place(file=place.file, path=path if whole else (*path, number))).files
    return files


def _put(value: dict[str, Plain], path: Sequence[str | int], items: Plain) -> None:
    for step in path[:-1]:
        inner = value.setdefault(str(step), {})
        if not isinstance(inner, dict):
            return
        value = inner
    value[str(path[-1])] = items
