"""Lists that are edited in place: the contact policy and volumes, levers, weights and groups, experiments with their
arms, the portrait."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.errors import INVALID, ApiError
from services.api.screens.console_edits import sent_texts, try_change, work_after
from services.api.screens.console_fields import (
    FormField,
    Posted,
    RowsForm,
    Shown,
    choices_in_words,
    known_lists,
)
from services.api.screens.console_frame import Console
from services.api.screens.console_work import Work, place_of
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.authoring.entries import Changed, Entry
from services.use_cases.authoring.entry_kind import EntryKind
from services.use_cases.authoring.experiment_kinds import arm_shares
from services.use_cases.authoring.row_edits import Form, built_form, changed_form

SHEETS: dict[str, tuple[str, ...]] = {
    "caps": ("policy", "limit", "quiet", "holiday", "service", "volume"),
    "levers": ("lever", "weight", "group"),
    "experiments": ("standing", "experiment", "holdout"),
    "portrait": ("portrait",),
}
"""Pages and the lists on them."""
_NAMED = frozenset({"group"})
"""Lists that get no further entries here: a group is of use only with what else is about it."""
_BAR = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareView:
    """An arm's part of the customers, as a share of one and as a bar: from where, how wide."""

    name: str
    share: float
    start: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """An entry as a row of fields, with the lists inside it. `shares` of an experiment end with who is in no arm."""

    ref: str
    form: str
    label: str
    fields: tuple[FormField, ...]
    rows: tuple[RowsForm, ...]
    remarks: tuple[str, ...]
    shares: tuple[ShareView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetView:
    """A list: its rows, and the fields of a new one; `new` is None where there can be no further one."""

    kind: str
    single: bool
    rows: tuple[RowView, ...]
    new: RowView | None


def list_routes(desk: Desk, console: Console) -> APIRouter:
    """Pages of lists, and their changes."""
    router = desk.router("/console/in/{where}")
    reader, author = Depends(desk.visitor(ApiScope.READ)), Depends(desk.visitor(ApiScope.AUTHOR))

    async def sheet(where: str, place: str, visit: Visit) -> Response:
        work = await console.works.open(where)
        values = _values(work, visit, place, Posted.nothing())
        return console.page(visit, "console/sheets.html", place, work, **values, saved=False)

    @router.get("/caps")
    async def caps(where: str, visit: Annotated[Visit, reader]) -> Response:
        return await sheet(where, "caps", visit)

    @router.get("/levers")
    async def levers(where: str, visit: Annotated[Visit, reader]) -> Response:
        return await sheet(where, "levers", visit)

    @router.get("/experiments")
    async def experiments(where: str, visit: Annotated[Visit, reader]) -> Response:
        return await sheet(where, "experiments", visit)

    @router.get("/portrait")
    async def portrait(where: str, visit: Annotated[Visit, reader]) -> Response:
        return await sheet(where, "portrait", visit)

    _changing(router, console, author)
    return router


def _changing(router: APIRouter, console: Console, author: Any) -> None:
    @router.post("/{place}/change")
    async def change(where: str, place: str, visit: Annotated[Visit, author]) -> Response:
        if place not in SHEETS:
            raise ApiError(INVALID, f"There is no list {place}.")
        work = await console.works.open(where, visit.request.query_params.get("revision", ""))
        form = await visit.form()
        name, ref, texts = form.need("_form"), form.one("_ref"), sent_texts(form)
        tried = await try_change(console, visit, work, lambda work: _change(work, place, name, ref, texts))
        after = await work_after(console, work, tried)
        posted = tried.shown_again(name, texts) if tried.saved is None else Posted.nothing()
        values = _values(after, visit, place, posted)
        return console.fragment(visit, "console/sheet_parts.html", after, **values, saved=tried.saved is not None)


def _change(work: Work, sheet: str, form: str, ref: str, texts: Mapping[str, str]) -> Changed:
    """What a row asks for: `<kind>.new`, `<kind>.drop`, or a change of the row."""
    kind_name, _, act = form.partition(".")
    if kind_name not in SHEETS[sheet]:
        raise ApiError(INVALID, f"There is no form {form}.")
    kind = work.kind(kind_name)
    asked = Form(fields=kind.fields, rows=kind.rows)
    if act == "new":
        made = built_form(asked, texts)
        if made.faults:
            return Changed(files=work.files, faults=made.faults)
        add = work.sources.with_single if kind.single else work.sources.with_entry
        return add(work.files, kind, made.value)
    place = place_of(ref)
    if place.path[: len(kind.path)] != kind.path or place.file not in work.files:
        raise ApiError(INVALID, "This is no entry of the list.")
    if act == "drop" and not kind.single:
        return work.sources.dropped(work.files, place)
    return changed_form(work.sources, work.files, place, asked, texts)


def _values(work: Work, visit: Visit, place: str, posted: Posted) -> dict[str, object]:
    choices = choices_in_words(work, visit.locale)
    sheets = [_sheet(work, work.kind(name), choices, posted) for name in SHEETS[place]]
    forms = [row for sheet in sheets for row in (*sheet.rows, *((sheet.new,) if sheet.new else ()))]
    known = known_lists(choices, (f for row in forms for f in row.fields), (r for row in forms for r in row.rows))
    return {"sheets": sheets, "posted": posted, "sheet": place, "known": known}


def _sheet(work: Work, kind: EntryKind, choices: dict[str, tuple[tuple[str, str], ...]], posted: Posted) -> SheetView:
    sources = work.sources
    if kind.single:
        one = sources.single(work.files, kind)
        entries = [] if one is None else [one]
    else:
        entries = list(sources.entries(work.files, kind))
    shown = Shown(work=work, choices=choices)
    rows = tuple(
        _row(shown, kind, f"{kind.name}.{number}", entry, posted) for number, entry in enumerate(entries)
    )  # fmt: skip
    further = kind.name not in _NAMED and not (kind.single and rows)
    new = _row(shown, kind, f"{kind.name}.new", None, posted) if further else None
    return SheetView(kind=kind.name, single=kind.single, rows=rows, new=new)


def _row(shown: Shown, kind: EntryKind, form: str, entry: Entry | None, posted: Posted) -> RowView:
    mine = Shown(
        work=shown.work,
        choices=shown.choices,
        node=None if entry is None else entry.node,
        named="" if entry is None else entry.named,
        posted=posted if posted.form == form else None,
    )
    return RowView(
        ref="" if entry is None else entry.place.ref,
        form=form,
        label="" if entry is None else entry.label,
        fields=mine.fields(kind.fields),
        rows=mine.rows(kind.rows),
        remarks=mine.loose(kind.fields, kind.rows),
        shares=() if entry is None or kind.name not in ("experiment", "standing") else _shares(entry, kind),
    )


def _shares(entry: Entry, kind: EntryKind) -> tuple[ShareView, ...]:
    """The arms one after another, and whoever is left: `full` of the standing experiment, `control` of others."""
    arms = [(name, share) for name, share in arm_shares(entry.node) if share > 0]
    arms.append(("full" if kind.single else "control", max(0.0, 1 - sum(share for _, share in arms))))
    found, start = [], 0.0
    for name, share in arms:
        width = min(share, 1 - start)
        found.append(ShareView(name=name, share=share, start=round(start * _BAR, 1), width=round(width * _BAR, 1)))
        start += width
    return tuple(found)
