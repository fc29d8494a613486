"""`/map`: the segments as a picture, and the customers behind each part of it (docs/screens.md)."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from decision_engine.strategy import Strategy
from services.api.authentication import ApiScope, Client
from services.api.errors import INVALID, NOT_FOUND, TAKEN, ApiError
from services.api.screens.desk import Desk
from services.api.screens.formats import localized
from services.api.screens.map_charts import combination_picture, flow_picture, shade
from services.api.screens.map_source import MapSource, worth, worths
from services.api.screens.visits import Visit
from services.use_cases.customer_map.figures import GONE, NEW, NONE, map_figures
from services.use_cases.customer_map.lists import PAGE_ROWS, Listed, Part, csv_lines, listed
from services.use_cases.customer_map.segmented import Segmented
from services.use_cases.customer_map.shelf import SnapshotShelf, SnapshotUnreadable

Name = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_]*$")]
DayText = Annotated[str, Field(max_length=10, pattern=r"^(|\d{4}-\d{2}-\d{2}|none)$")]
MOST_COLUMNS = 40
_LONGEST_REASON = 2_000
_NO_FLOW = "none"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is looked at: a snapshot, an earlier one (None: none), and the attribute of worth."""

    days: list[date]
    day: date
    before: date | None
    value: str | None
    now: Segmented
    earlier: Segmented | None

    @property
    def query(self) -> str:
        """The same view, in an address."""
        before = _NO_FLOW if self.before is None else self.before.isoformat()
        return f"day={self.day}&before={before}&value={self.value or ''}"


class ListQuery(BaseModel):
    """A page of a list, in an address."""

    model_config = ConfigDict(extra="forbid")

    inside: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)
    exactly: bool = False
    source: Name = ""
    target: Name = ""
    page: Annotated[int, Field(ge=1, le=100_000)] = 1
    day: DayText = ""
    before: DayText = ""
    value: Name = ""


class CustomerMap:
    """What the routes share."""

    def __init__(self, desk: Desk, shelf: SnapshotShelf) -> None:
        self.desk = desk
        self.shelf = shelf
        self.source = MapSource(shelf)

    @property
    def strategy(self) -> Strategy:
        """The active one: its conditions say who belongs where."""
        return self.desk.runtime.live().prepared.strategy

    async def view(self, day: str, before: str, value: str) -> View | None:
        """The snapshots asked for, else the newest and the one before it; None where there are none.

        Raises ApiError."""
        days = await self.source.days()
        if not days:
            return None
        shown = _one_of(day, days) or days[-1]
        earlier = [each for each in days if each < shown]
        compared = None if before == _NO_FLOW else (_one_of(before, earlier) or (earlier[-1] if earlier else None))
        wanted = worth(self.strategy, value or None)
        try:
            now = await self.source.segmented(self.strategy, shown, wanted)
            was = None if compared is None else await self.source.segmented(self.strategy, compared, wanted)
        except SnapshotUnreadable as error:
            raise ApiError(NOT_FOUND, str(error)) from error
        return View(days=days, day=shown, before=compared, value=wanted, now=now, earlier=was)

    def titles(self, visit: Visit) -> dict[str, str]:
        """Segments by name in the person's language, and the places of flows that are no segment."""
        named = {each.name: localized(each.title, visit.locale, each.name) for each in self.strategy.segments}
        words = self.desk.words
        return named | {name: words.text(f"map.{name}", visit.locale) for name in (NONE, NEW, GONE)}

    def is_money(self, value: str | None) -> bool:
        """Whether the attribute of worth is an amount in minor units."""
        info = self.strategy.dictionary.get(value or "")
        return info is not None and any("minor" in text or "分）" in text for text in info.description.values())

    def last_whole_day(self) -> date:
        """Yesterday, by the service's clock and the bank's time zone."""
        runtime = self.desk.runtime
        now = datetime.fromtimestamp(runtime.clock.now_ms() / 1000, UTC).astimezone(runtime.live().prepared.zone)
        return now.date() - timedelta(days=1)

    def around(self, visit: Visit) -> dict[str, Any]:
        """What every template of the map is given."""
        return {
            "titles": self.titles(visit),
            "making": self.shelf.making(),
            "next_day": self.last_whole_day(),
            "strategy_version": self.strategy.version,
            "may_export": {ApiScope.READ, ApiScope.AUTHOR} <= visit.client.scopes,
        }


def map_routes(desk: Desk, shelf: SnapshotShelf) -> APIRouter:
    """The map."""
    router, customers = desk.router("/map"), CustomerMap(desk, shelf)
    _add_picture(router, customers, Depends(desk.visitor(ApiScope.READ)))
    _add_lists(router, customers, Depends(desk.visitor(ApiScope.READ, ApiScope.AUTHOR)))
    _add_snapshots(router, customers, Depends(desk.visitor(ApiScope.READ, ApiScope.AUTHOR)))
    return router


def _add_picture(router: APIRouter, customers: CustomerMap, visitor: Any) -> None:
    @router.get("")
    async def page(
        visit: Annotated[Visit, visitor], day: DayText = "", before: DayText = "", value: Name = ""
    ) -> Response:
        view = await customers.view(day, before, value)
        around = customers.around(visit)
        if view is None:
            return customers.desk.page(visit, "map/nothing.html", **around)
        figures = map_figures(view.now, view.earlier)
        order = [segment.name for segment in view.now.segments]
        return customers.desk.page(
            visit,
            "map/map.html",
            view=view,
            figures=figures,
            flow=flow_picture(figures.flows, order) if figures.flows else None,
            combinations=combination_picture(figures),
            shade=shade,
            is_money=customers.is_money(view.value),
            worths=_described(customers.strategy, worths(customers.strategy), visit),
            **around,
        )


def _add_lists(router: APIRouter, customers: CustomerMap, visitor: Any) -> None:
    @router.get("/customers")
    async def listing(visit: Annotated[Visit, visitor], wanted: Annotated[ListQuery, Query()]) -> Response:
        view = await _needed(customers, wanted.day, wanted.before, wanted.value)
        part = Part(
            inside=tuple(wanted.inside),
            exactly=wanted.exactly,
            source=wanted.source or None,
            target=wanted.target or None,
        )
        available = await customers.source.available(customers.strategy, view.day)
        return customers.desk.page(
            visit,
            "map/customers.html",
            view=view,
            part=part,
            part_query=_query(part),
            is_money=customers.is_money(view.value),
            columns=_described(customers.strategy, available, visit),
            preferred={view.value, "branch_id", "manager_id", "segment"},
            **_page(_listed(part, view, visit.client), wanted.page),
            **customers.around(visit),
        )

    @router.post("/export")
    async def export(visit: Annotated[Visit, visitor]) -> Response:
        form = await visit.form()
        view = await _needed(customers, form.one("day"), form.one("before"), form.one("value"))
        part = Part(
            inside=form.all("inside"),
            exactly=form.one("exactly") == "true",
            source=form.one("source") or None,
            target=form.one("target") or None,
        )
        reason, names = form.need("reason"), _columns(form.all("column"))
        available = set(await customers.source.available(customers.strategy, view.day))
        if refused := [name for name in names if name not in available]:
            raise ApiError(INVALID, f"These attributes are not there to be exported: {', '.join(refused)}.")
        found = _listed(part, view, visit.client)
        held = view.before if part.target == GONE and view.before is not None else view.day
        attributes = await customers.source.attributes(held, [each.customer_id for each in found], names)
        _log.warning(
            "%s exports %d customers of the map (%s of %s) with %s: %s",
            visit.client.name, len(found), _query(part) or "everybody", view.day, ", ".join(names) or "no attributes",
            " ".join(reason.split())[:300], extra={"action": "customer list exported"},
        )  # fmt: skip
        await _held_fast(customers, visit, f"{view.day}: {_query(part) or 'everybody'}", names, len(found), reason)
        return _download(csv_lines(found, names, attributes), f"customers-{view.day}.csv")


async def _held_fast(
    customers: CustomerMap, visit: Visit, part: str, names: tuple[str, ...], rows: int, reason: str
) -> None:
    """Before anything is given out: an export that the history cannot hold is refused. Raises BusUnavailable."""
    governance = customers.desk.runtime.governance
    if governance is not None:
        await governance.record_export(
            "customers_of_map",
            rows=rows,
            actor=visit.client.name,
            comment=reason[:_LONGEST_REASON],
            part=part[:_LONGEST_REASON],
            attributes=names,
        )


def _add_snapshots(router: APIRouter, customers: CustomerMap, visitor: Any) -> None:
    @router.post("/snapshots")
    async def snapshot(visit: Annotated[Visit, visitor]) -> Response:
        form = await visit.form()
        day = _day(form.need("day"))
        if day > customers.last_whole_day():
            raise ApiError(INVALID, "The day is not over yet.")
        if not customers.shelf.make(day):
            raise ApiError(TAKEN, "Another snapshot is being made; wait until it is there.")
        return RedirectResponse("/map", 303)

    @router.get("/snapshots")
    async def making(visit: Annotated[Visit, visitor]) -> Response:
        return customers.desk.fragment(visit, "map/making.html", **customers.around(visit))


async def _needed(customers: CustomerMap, day: str, before: str, value: str) -> View:
    view = await customers.view(day, before, value)
    if view is None:
        raise ApiError(NOT_FOUND, "There is no snapshot yet.")
    return view


def _listed(part: Part, view: View, client: Client) -> list[Listed]:
    """Those of the part whom the person may see, by their ids: a list is no place to look up each one's profile."""
    scope = client.customers
    try:
        found = listed(part, view.now, view.earlier)
        return found if scope is None else [each for each in found if scope.has_id(each.customer_id)]
    except KeyError as error:
        raise ApiError(INVALID, "There is no such segment.") from error


def _page(found: list[Listed], number: int) -> dict[str, Any]:
    """One page of a list, and where it stands in it."""
    first = (number - 1) * PAGE_ROWS
    pages = max(1, -(-len(found) // PAGE_ROWS))
    shown = found[first : first + PAGE_ROWS]
    return {"rows": shown, "total": len(found), "number": number, "pages": pages, "first": first + 1}


def _columns(names: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(names))
    if len(chosen) > MOST_COLUMNS:
        raise ApiError(INVALID, f"At most {MOST_COLUMNS} attributes.")
    return chosen


def _download(lines: Iterable[bytes], name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(iter(lines), media_type="text/csv; charset=utf-8", headers=headers)


def _described(strategy: Strategy, names: Iterable[str], visit: Visit) -> list[tuple[str, str]]:
    infos = strategy.dictionary
    return sorted(
        ((name, localized(infos[name].description, visit.locale, name)) for name in names), key=lambda e: e[1]
    )


def _query(part: Part) -> str:
    """The part in an address; names of segments need no quoting."""
    pairs = [("inside", name) for name in part.inside]
    pairs += [("exactly", "true")] if part.exactly else []
    pairs += [(key, text) for key, text in (("source", part.source), ("target", part.target)) if text]
    return "&".join(f"{key}={text}" for key, text in pairs)


def _one_of(text: str, days: list[date]) -> date | None:
    if not text or text == _NO_FLOW:
        return None
    wanted = _day(text)
    if wanted not in days:
        raise ApiError(NOT_FOUND, f"There is no snapshot of {wanted}.")
    return wanted


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ApiError(INVALID, "The day is none: write it as 2026-10-31.") from error
