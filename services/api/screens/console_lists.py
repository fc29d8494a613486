"""Lists that are edited in place: contact limits and volumes, levers, groups, experiments and their arms."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.errors import INVALID, ApiError
from services.api.screens.console_fields import FormField, Posted, choices_in_words, form_fields, texts_of
from services.api.screens.console_frame import Console
from services.api.screens.console_work import Work, place_of
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.authoring.choices import ARMS
from services.use_cases.authoring.entries import Changed, Place, built
from services.use_cases.authoring.entry_kinds import ARM_FIELDS, EntryKind, standing_fields
from services.use_cases.authoring.source_nodes import SourceMap, at, items_at, text_at

SHEETS: dict[str, tuple[str, ...]] = {
    "caps": ("limit", "volume"),
    "levers": ("lever", "group"),
    "experiments": ("holdout",),
}
"""Pages and the lists on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """An entry as a row of fields."""

    ref: str
    form: str
    label: str
    fields: tuple[FormField, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetView:
    """A list: its rows, and the fields of a new one."""

    kind: str
    rows: tuple[RowView, ...]
    new: tuple[FormField, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerArms:
    """An experiment of the strategy's own with its arms."""

    name: str
    salt: str
    arms: tuple[RowView, ...]
    rest: float
    """The share of the control arm."""


def list_routes(desk: Desk, console: Console) -> APIRouter:
    """Pages of lists, and their changes."""
    router = desk.router("/console/work/{where}")
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

    _changing(router, console, author)
    return router


def _changing(router: APIRouter, console: Console, author: Any) -> None:
    @router.post("/{place}/change")
    async def change(where: str, place: str, visit: Annotated[Visit, author]) -> Response:
        if place not in SHEETS:
            raise ApiError(INVALID, f"There is no list {place}.")
        work = await console.works.open(where, visit.request.query_params.get("revision", ""))
        form = await visit.form()
        texts = texts_of({key: values for key, values in form.fields.items() if not key.startswith("_")})
        made: list[Changed] = []
        after = [work]

        async def act() -> None:
            made.append(_change(work, form.need("_form"), form.one("_ref"), texts))
            if not made[0].faults:
                after[0] = await console.works.save(work, made[0].files, visit.client.name)

        refusal = await console.attempt(act)
        posted = Posted.nothing()
        if refusal is not None:
            after[0] = await console.works.open(where)
        if refusal is not None or made[0].faults:
            faults = made[0].faults if made else {}
            posted = Posted(
                form=form.need("_form"), texts=texts, faults=faults, refusal=refusal.text if refusal else ""
            )
        values = _values(after[0], visit, place, posted)
        return console.fragment(visit, "console/sheet_parts.html", after[0], **values, saved=not posted.form)


def _change(work: Work, form: str, ref: str, texts: dict[str, str]) -> Changed:
    """What a row asks for: `<kind>.new`, `<kind>.drop`, `standing`, `arm`, or a change of the row."""
    kind_name, _, act = form.partition(".")
    if kind_name == "standing":
        return work.sources.changed(work.files, _standing(work), standing_fields(ARMS), texts)
    place = place_of(ref) if ref else None
    if place is not None and place.file not in work.files:
        raise ApiError(INVALID, "There is no such file.")
    if kind_name == "arm" and place is not None:
        return work.sources.changed(work.files, place, ARM_FIELDS, texts)
    if kind_name not in {name for names in SHEETS.values() for name in names}:
        raise ApiError(INVALID, f"There is no form {form}.")
    kind = work.kind(kind_name)
    if act == "new":
        made = built(kind.fields, texts)
        if made.faults:
            return Changed(files=work.files, faults=made.faults)
        return work.sources.with_entry(work.files, kind, made.value)
    if place is None or place.path[: len(kind.path)] != kind.path:
        raise ApiError(INVALID, "This is no entry of the list.")
    if act == "drop":
        return work.sources.dropped(work.files, place)
    return work.sources.changed(work.files, place, kind.fields, texts)


def _values(work: Work, visit: Visit, place: str, posted: Posted) -> dict[str, object]:
    choices = choices_in_words(work, visit.locale)
    sheets = [_sheet(work, work.kind(name), choices, posted) for name in SHEETS[place]]
    values: dict[str, object] = {"sheets": sheets, "posted": posted, "sheet": place}
    if place == "experiments":
        values["standing"] = _standing_row(work, posted)
        values["layers"] = [_layer_arms(work, node, file, path, posted) for file, path, node in _layers(work)]
    return values


def _sheet(work: Work, kind: EntryKind, choices: dict[str, tuple[tuple[str, str], ...]], posted: Posted) -> SheetView:
    rows = []
    for number, entry in enumerate(work.sources.entries(work.files, kind)):
        form = f"{kind.name}.{number}"
        rows.append(
            RowView(
                ref=entry.place.ref,
                form=form,
                label=entry.label,
                fields=form_fields(
                    work, kind.fields, entry.node, entry.named, choices, posted if posted.form == form else None
                ),
                remarks=tuple(
                    remark.message
                    for remark in work.checked.by_field(entry.named, [f.key for f in kind.fields]).get("", ())
                ),
            )
        )
    form = f"{kind.name}.new"
    new = form_fields(work, kind.fields, None, "", choices, posted if posted.form == form else None)
    return SheetView(kind=kind.name, rows=tuple(rows), new=new)


def _standing(work: Work) -> Place:
    """Where the standing experiment stands. Raises ApiError where there is none."""
    for name, text in work.files.items():
        if isinstance(at(work.sources.root(text), ("experiment",)), SourceMap):
            return Place(file=name, path=("experiment",))
    raise ApiError(INVALID, "The strategy has no standing experiment; add one as text.")


def _standing_row(work: Work, posted: Posted) -> RowView | None:
    try:
        place = _standing(work)
    except ApiError:
        return None
    entry = work.sources.at(work.files, place)
    fields = form_fields(
        work, standing_fields(ARMS), entry.node if entry else None, "experiment", {},
        posted if posted.form == "standing" else None,
    )  # fmt: skip
    return RowView(ref=place.ref, form="standing", label="", fields=fields, remarks=())


def _layers(work: Work) -> list[tuple[str, tuple[str | int, ...], SourceMap]]:
    return [
        (entry.place.file, entry.place.path, entry.node)
        for entry in work.sources.entries(work.files, work.kind("experiment"))
    ]


def _layer_arms(work: Work, node: SourceMap, file: str, path: tuple[str | int, ...], posted: Posted) -> LayerArms:
    name = text_at(node, ("name",))
    arms = []
    for number, arm in items_at(node, ("arms",)):
        place = Place(file=file, path=(*path, "arms", number))
        label = text_at(arm, ("name",))
        named = f"experiments[{name}].arms[{label}]"
        form = f"arm.{name}.{number}"
        fields = form_fields(work, ARM_FIELDS, arm, named, {}, posted if posted.form == form else None)
        arms.append(RowView(ref=place.ref, form=form, label=label, fields=fields, remarks=()))
    shares = [_share(text_at(arm, ("share",))) for _, arm in items_at(node, ("arms",))]
    return LayerArms(name=name, salt=text_at(node, ("salt",)), arms=tuple(arms), rest=max(0.0, 1 - sum(shares)))


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
