"""The catalogue: offers to look through, an offer's page, and every change to it, as edits of a draft."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse, Response

from services.api.authentication import ApiScope
from services.api.errors import INVALID, ApiError
from services.api.screens.console_edits import Change, sent_texts, try_change, work_after
from services.api.screens.console_fields import Posted, Shown, choices_in_words, known_lists, texts_of
from services.api.screens.console_frame import Console, go
from services.api.screens.console_offer_view import OfferPage
from services.api.screens.console_work import ACTIVE, Work, place_of
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.authoring.catalogue import STATUSES, Wanted, offer_rows
from services.use_cases.authoring.entries import Built, Changed, Place, built
from services.use_cases.authoring.entry_kinds import LAYERS, PARTS, part_fields
from services.use_cases.authoring.entry_text import entry_text, with_entry_text
from services.use_cases.authoring.new_offer import MOST_TREATMENTS, CapWords, add_offer
from services.use_cases.authoring.source_nodes import SourceMap, plain, text_at

FIRST_TREATMENTS = 2


def catalogue_routes(desk: Desk, console: Console) -> APIRouter:
    """Pages and changes of offers."""
    router = desk.router("/console")
    _reading(router, desk, console)
    _making(router, desk, console)
    _changing(router, desk, console)
    return router


def _reading(router: APIRouter, desk: Desk, console: Console) -> None:
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("")
    async def start(_: Annotated[Visit, reader]) -> Response:
        return RedirectResponse(f"/console/in/{ACTIVE}/offers", 303)

    @router.get("/in/{where}/offers")
    async def offers(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        return console.page(visit, "console/offers.html", "offers", work, **_listed(console, visit, work))

    @router.get("/in/{where}/offers/list")
    async def offer_list(where: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        return console.fragment(visit, "console/offer_list.html", work, **_listed(console, visit, work))

    @router.get("/in/{where}/offers/{name}")
    async def offer(where: str, name: str, visit: Annotated[Visit, reader]) -> Response:
        work = await console.works.open(where)
        if name == "new":
            return _new_offer(console, visit, work, Posted.nothing())
        values = _offer_values(console, visit, work, name, Posted.nothing())
        return console.page(visit, "console/offer.html", "offers", work, **values, saved=False)


def _making(router: APIRouter, desk: Desk, console: Console) -> None:
    author = Depends(desk.visitor(ApiScope.AUTHOR))

    @router.post("/in/{where}/offers/new")
    async def make(where: str, visit: Annotated[Visit, author]) -> Response:
        work = await console.works.open(where)
        texts = texts_of((await visit.form()).fields)
        words = CapWords(by_locale={each: desk.words.text("console.cap_text", each) for each in work.locales})
        tried = await try_change(
            console, visit, work, lambda work: add_offer(work.sources, work.files, work.strategy, texts, words)
        )
        made = tried.changed
        if tried.saved is None or made is None or made.place is None:
            return _new_form(console, visit, work, tried.shown_again("new", texts))
        node = work.sources.at(made.files, made.place)
        return go(f"{work.path}/offers/{text_at(node.node, ('name',)) if node else ''}")


def _changing(router: APIRouter, desk: Desk, console: Console) -> None:
    author = Depends(desk.visitor(ApiScope.AUTHOR))

    @router.post("/in/{where}/offers/{name}/change")
    async def change(where: str, name: str, visit: Annotated[Visit, author]) -> Response:
        work = await console.works.open(where, visit.request.query_params.get("revision", ""))
        form = await visit.form()
        texts = sent_texts(form)
        how = _change(work, name, form.need("_form"), form.one("_ref"), texts)
        return await _changed(console, visit, work, name, Sent(form.need("_form"), texts, how))

    @router.post("/in/{where}/offers/{name}/drop")
    async def drop(where: str, name: str, visit: Annotated[Visit, author]) -> Response:
        work = await console.works.open(where, visit.request.query_params.get("revision", ""))
        ref = (await visit.form()).need("_ref")
        place = _own_place(work, name, ref)
        if place.path == work.entry("offer", name).place.path:
            refusal = await console.attempt(
                lambda: console.works.save(work, work.sources.dropped(work.files, place).files, visit.client.name)
            )
            return go(f"{work.path}/offers") if refusal is None else console.refused(visit, refusal.text)
        return await _changed(console, visit, work, name, Sent("drop", {}, lambda w: w.sources.dropped(w.files, place)))

    @router.get("/in/{where}/offers/{name}/text")
    async def text(where: str, name: str, visit: Annotated[Visit, author]) -> Response:
        work = await console.works.open(where)
        entry = work.entry("offer", name)
        written: list[str] = []

        async def act() -> None:
            written.append(entry_text(work.files[entry.place.file], work.sources.read, entry.place))

        refusal = await console.attempt(act)
        if refusal is not None:
            return console.refused(visit, refusal.text)
        return console.fragment(
            visit, "console/entry_text.html", work, name=name, text=written[0], file=entry.place.file
        )


def _change(work: Work, name: str, form: str, ref: str, texts: Mapping[str, str]) -> Change:
    """What a form of the offer's page asks for."""
    entry = work.entry("offer", name)
    kind, _, number = form.partition(".")
    if form == "facts":
        return lambda w: w.sources.changed(w.files, entry.place, w.kind("offer").fields, texts)
    if form == "text":
        return lambda w: _with_text(w, entry.place, texts.get("text", ""))
    if kind not in PARTS:
        raise ApiError(INVALID, f"There is no form {form}.")
    fields = part_fields(kind, work.locales)
    if number == "new":
        return lambda w: _extended(w, entry.place, kind, built(fields, texts))
    place = _own_place(work, name, ref)
    return lambda w: w.sources.changed(w.files, place, fields, texts)


def _extended(work: Work, place: Place, key: str, made: Built) -> Changed:
    if made.faults:
        return Changed(files=work.files, faults=made.faults)
    return work.sources.extended(work.files, place, key, made.value)


def _with_text(work: Work, place: Place, written: str) -> Changed:
    text = with_entry_text(work.files[place.file], work.sources.read, place, written)
    return Changed(files={**work.files, place.file: text}, place=place)


def _own_place(work: Work, name: str, ref: str) -> Place:
    """A place inside the offer. Raises ApiError."""
    place, own = place_of(ref), work.entry("offer", name).place
    if place.file != own.file or place.path[: len(own.path)] != own.path:
        raise ApiError(INVALID, "This is no part of the offer.")
    return place


async def _changed(console: Console, visit: Visit, work: Work, name: str, sent: "Sent") -> Response:
    tried = await try_change(console, visit, work, sent.how)
    after = await work_after(console, work, tried)
    posted = tried.shown_again(sent.form, sent.texts) if tried.saved is None else Posted.nothing()
    values = _offer_values(console, visit, after, name, posted)
    return console.fragment(visit, "console/offer_parts.html", after, **values, saved=tried.saved is not None)


@dataclass(frozen=True, slots=True)
class Sent:
    """A form of the offer's page: its name, its fields, and what it asks for."""

    form: str
    texts: Mapping[str, str]
    how: Change


def _offer_values(console: Console, visit: Visit, work: Work, name: str, posted: Posted) -> dict[str, object]:
    page = OfferPage(
        work=work,
        editing=console.works.editing(work.strategy),
        entry=work.entry("offer", name),
        locale=visit.locale,
        now_ms=console.works.runtime.clock.now_ms(),
        posted=posted,
        stopped=console.stopped(),
    )
    offer = page.view()
    return {"offer": offer, "posted": posted, "known": known_lists(page.choices, offer.new_treatment)}


def _listed(console: Console, visit: Visit, work: Work) -> dict[str, object]:
    query = visit.request.query_params
    wanted = Wanted(
        text=query.get("q", ""),
        issue=query.get("issue", ""),
        group=query.get("group", ""),
        channel=query.get("channel", ""),
        status=query.get("status", ""),
    )
    now_ms = console.works.runtime.clock.now_ms()
    rows = offer_rows(work.strategy, now_ms, wanted, console.stopped())
    changed = {name for name, text in work.files.items() if work.base.get(name) != text}
    touched = {
        entry.label
        for entry in work.sources.entries({n: work.files[n] for n in changed}, work.kind("offer"))
        if _differs(work, entry.label, entry.node)
    }
    return {
        "rows": rows,
        "total": len(work.strategy.offers),
        "wanted": wanted,
        "touched": touched,
        "choices": choices_in_words(work, visit.locale),
        "statuses": STATUSES,
        "group_titles": work.titles("groups", visit.locale),
        "issue_titles": work.titles("issues", visit.locale),
    }


def _differs(work: Work, label: str, node: SourceMap) -> bool:
    before = work.sources.entry(work.base, work.kind("offer"), label)
    return before is None or plain(before.node) != plain(node)


def _new_offer(console: Console, visit: Visit, work: Work, posted: Posted) -> Response:
    return console.page(visit, "console/new_offer.html", "offers", work, **_new_values(work, visit, posted))


def _new_form(console: Console, visit: Visit, work: Work, posted: Posted) -> Response:
    return console.fragment(visit, "console/new_offer_form.html", work, **_new_values(work, visit, posted))


def _new_values(work: Work, visit: Visit, posted: Posted) -> dict[str, object]:
    choices = choices_in_words(work, visit.locale)
    fields = work.kind("offer").fields
    shown = Shown(work=work, choices=choices, posted=posted if posted.form else None)
    return {
        "fields": {f.key: f for f in shown.fields(fields)},
        "posted": posted,
        "choices": choices,
        "treatments": range(1, MOST_TREATMENTS + 1),
        "first_treatments": FIRST_TREATMENTS,
        "layers": LAYERS,
        "strategy_locales": work.locales,
        "shapes": {p.id: p.channel for p in work.strategy.placements.values()},
    }
