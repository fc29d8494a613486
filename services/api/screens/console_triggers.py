"""Triggers: what starts contacts by itself, in words, and every part of it as fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

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
from services.api.screens.console_frame import Console, go
from services.api.screens.console_work import Work, place_of
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.authoring.entries import Changed, Entry
from services.use_cases.authoring.fields import Field, Rows
from services.use_cases.authoring.source_nodes import SourceNode, items_at, text_at
from services.use_cases.authoring.trigger_editing import changed_trigger, new_trigger
from services.use_cases.authoring.trigger_kinds import SHAPES, shape_of

NEW = "new"
_WAITS = {"event": ("on",), "count": ("on", "count"), "absence": ("on", "after")}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """An event type with the filter that its events pass, in words where it has one."""

    event: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRow:
    """A trigger at a glance. `events` are what it waits for, `lacking` what must not come, `moment` what is told."""

    name: str
    title: str
    shape: str
    events: tuple[EventView, ...]
    lacking: EventView | None
    moment: str
    lead: str
    within: str
    placement: str
    cooldown: str
    waves: int
    problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeForm:
    """The fields of one shape a trigger may have."""

    name: str
    fields: tuple[FormField, ...]
    rows: tuple[RowsForm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerForm:
    """A trigger with all its fields; without a name it is a new one."""

    name: str
    title: str
    ref: str
    shape: str
    shapes: tuple[ShapeForm, ...]
    fields: Mapping[str, FormField]
    rows: Mapping[str, RowsForm]
    remarks: tuple[str, ...]


def trigger_routes(desk: Desk, console: Console) -> APIRouter:
    """The list of triggers, a trigger's page, and its changes."""
    router = desk.router("/console/in/{where}/triggers")
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("")
    async def triggers(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        rows = [_row(console, work, entry, visit.locale) for entry in _entries(work)]
        return console.page(visit, "console/triggers.html", "triggers", work, rows=rows)

    @router.get("/{name}")
    async def trigger(where: str, name: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        entry = None if name == NEW else work.entry("trigger", name)
        values = _values(work, visit, entry, Posted.nothing())
        return console.page(visit, "console/trigger.html", "triggers", work, **values, saved=False)

    _changing(router, desk, console)
    return router


def _changing(router: APIRouter, desk: Desk, console: Console) -> None:
    author = Depends(desk.visitor(ApiScope.AUTHOR))

    @router.post("/{name}/change")
    async def change(where: str, name: str, visit: Annotated[Visit, author]) -> Response:
        work = await console.works.open(where, visit.request.query_params.get("revision", ""))
        form = await visit.form()
        act, ref, texts = form.one("_form"), form.one("_ref"), sent_texts(form)
        tried = await try_change(console, visit, work, lambda work: _change(work, name, act, ref, texts))
        after = await work_after(console, work, tried)
        if tried.saved is not None:
            if act == "drop":
                return go(f"{work.path}/triggers")
            if name == NEW:
                return go(f"{work.path}/triggers/{texts.get('name', '').strip()}")
        entry = None if name == NEW else after.entry("trigger", name)
        posted = tried.shown_again("trigger", texts) if tried.saved is None else Posted.nothing()
        values = _values(after, visit, entry, posted)
        return console.fragment(visit, "console/trigger_parts.html", after, **values, saved=tried.saved is not None)


def _change(work: Work, name: str, form: str, ref: str, texts: Mapping[str, str]) -> Changed:
    kind = work.kind("trigger")
    if name == NEW:
        return new_trigger(work.sources, work.files, kind, texts)
    own = work.entry("trigger", name).place
    if place_of(ref) != own:
        raise ApiError(INVALID, "The trigger stands somewhere else by now: open it again.")
    if form == "drop":
        return work.sources.dropped(work.files, own)
    return changed_trigger(work.sources, work.files, own, kind, texts)


def _entries(work: Work) -> Iterator[Entry]:
    return work.sources.entries(work.files, work.kind("trigger"))


def _row(console: Console, work: Work, entry: Entry, locale: str) -> TriggerRow:
    node, shape = entry.node, shape_of(entry.node)

    def event(found: SourceNode | None, path: tuple[str, ...] = ()) -> EventView:
        source, where = text_at(found, (*path, "event")), text_at(found, (*path, "where"))
        said = console.works.editing(work.strategy).about_event(source).said(where, locale) if where else ""
        return EventView(event=source, said=said or where)

    steps = [event(item) for _, item in items_at(node, ("on", "sequence"))]
    return TriggerRow(
        name=entry.label,
        title=text_at(node, ("title", locale)) or entry.label,
        shape=shape,
        events=tuple(steps or ([event(node, _WAITS[shape])] if shape in _WAITS else [])),
        lacking=event(node, ("on", "absence")) if shape == "absence" else None,
        moment=text_at(node, ("on", "moment")),
        lead=text_at(node, ("on", "lead")) or text_at(node, ("on", "lag")),
        within=text_at(node, ("on", "within")),
        placement=text_at(node, ("contact", "placement")),
        cooldown=text_at(node, ("cooldown",)),
        waves=sum(1 for _ in items_at(node, ("waves",))),
        problems=len(work.checked.under(entry.named)),
    )


def _values(work: Work, visit: Visit, entry: Entry | None, posted: Posted) -> dict[str, object]:
    kind = work.kind("trigger")
    shown = Shown(
        work=work,
        choices=choices_in_words(work, visit.locale),
        node=None if entry is None else entry.node,
        named="" if entry is None else entry.named,
        posted=posted if posted.form else None,
    )
    all_fields = [*kind.fields, *(field for own in SHAPES.values() for field in own.fields)]
    all_rows = [*kind.rows, *(rows for own in SHAPES.values() for rows in own.rows)]
    title = "" if entry is None else text_at(entry.node, ("title", visit.locale)) or entry.label
    form = TriggerForm(
        name="" if entry is None else entry.label,
        title=title,
        ref="" if entry is None else entry.place.ref,
        shape=posted.texts.get("shape") or shape_of(None if entry is None else entry.node),
        shapes=tuple(_shape(shown, name, own.fields, own.rows) for name, own in SHAPES.items()),
        fields={field.key: field for field in shown.fields(kind.fields)},
        rows={rows.key: rows for rows in shown.rows(kind.rows)},
        remarks=shown.loose(all_fields, all_rows),
    )
    fields = (*form.fields.values(), *(field for each in form.shapes for field in each.fields))
    lists = (*form.rows.values(), *(rows for each in form.shapes for rows in each.rows))
    return {"trigger": form, "posted": posted, "known": known_lists(shown.choices, fields, lists)}


def _shape(shown: Shown, name: str, fields: tuple[Field, ...], rows: tuple[Rows, ...]) -> ShapeForm:
    own = Shown(
        work=shown.work,
        choices=shown.choices,
        node=shown.node,
        named=shown.named,
        posted=shown.posted,
        prefix=f"{name}/",
    )
    return ShapeForm(name=name, fields=own.fields(fields), rows=own.rows(rows))
