"""Decision search: any recorded decision by an id, a customer, or what it was like and when."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from fastapi.responses import RedirectResponse, Response

from decision_engine.experiment import Arm
from services.api.authentication import ApiScope
from services.api.customer_guard import CustomerGuard
from services.api.screens.console_decision import add_decision_pages
from services.api.screens.console_frame import Console
from services.api.screens.desk import Desk
from services.api.screens.formats import localized
from services.api.screens.visits import Visit
from services.use_cases.observing.decision_search import (
    DAY_MS,
    MOST_DAYS,
    Asked,
    DecisionQuery,
    FoundDecisions,
    SearchDecisions,
    SearchInvalid,
    place_of,
    recognised,
    require_sound,
)

DAYS, DAYS_OF_CUSTOMER = 2, MOST_DAYS
"""How far back is looked when nobody says: of everybody, and of one customer or request."""
_FIELDS = ("q", "from", "to", "channel", "offer", "arm", "version", "degraded", "fallback")


def decision_routes(desk: Desk, console: Console) -> APIRouter:
    """The search and the pages of decisions; none where there is no archive to search."""
    router = desk.router("/console/decisions")
    ports = desk.runtime.decisions
    if ports is None:
        return router
    reader = Depends(desk.visitor(ApiScope.READ))
    search, guard = SearchDecisions(log=ports.log), CustomerGuard.of(desk.runtime)

    @router.get("")
    async def page(visit: Annotated[Visit, reader]) -> Response:
        asked, name = recognised(visit.request.query_params.get("q", ""))
        if asked in (Asked.DECISION, Asked.TRACKING) and _plain(visit):
            decision_id, _, number = name.partition(".")
            return RedirectResponse(f"/console/decisions/{decision_id}" + (f"#option-{number}" if number else ""), 303)
        query, fault = _asked(desk, visit)
        values = _page_values(desk, console, visit)
        return console.page(
            visit, "console/decisions.html", "decisions", **values, fault=fault, ready=query is not None
        )

    @router.get("/list")
    async def found(visit: Annotated[Visit, reader]) -> Response:
        query, fault = _asked(desk, visit)
        if query is None:
            return console.fragment(visit, "console/decisions_fault.html", fault=fault)
        await guard.require_named(visit.client, query.customer_id)
        return _list(desk, console, visit, query, await search(query))

    add_decision_pages(router, desk, console, ports)
    return router


def _plain(visit: Visit) -> bool:
    """Whether nothing but the text is asked for: other fields make even an id a search for a request."""
    return not any(visit.request.query_params.get(name) for name in _FIELDS[3:])


def _asked(desk: Desk, visit: Visit) -> tuple[DecisionQuery | None, str]:
    """The search the fields describe, or the field at fault."""
    params = visit.request.query_params
    asked, name = recognised(params.get("q", ""))
    of_one = asked is not Asked.NOTHING
    try:
        since_ms, until_ms = _period(desk, params.get("from", ""), params.get("to", ""), of_one=of_one)
        query = DecisionQuery(
            since_ms=since_ms,
            until_ms=until_ms,
            customer_id=name if asked is Asked.CUSTOMER else "",
            request_id=name if of_one and asked is not Asked.CUSTOMER else "",
            channel=params.get("channel", ""),
            offer=params.get("offer", "").strip(),
            arm=params.get("arm", ""),
            strategy_version=params.get("version", "").strip(),
            degraded=params.get("degraded") == "1",
            fallback=params.get("fallback") == "1",
            channels=visit.client.channels,
            before=place_of(params["before"]) if params.get("before") else None,
        )
        require_sound(query)
    except SearchInvalid as error:
        key = f"console_decisions.fault_{error.field}_{error.code}"
        named = key if desk.words.has(key) else "console_decisions.fault_form"
        return None, desk.words.text(named, visit.locale, n=MOST_DAYS, field=error.field)
    return query, ""


def _period(desk: Desk, since: str, until: str, *, of_one: bool) -> tuple[int, int]:
    """Whole days of the bank's, both included; by default those up to now. Raises SearchInvalid."""
    zone = desk.runtime.live().prepared.zone
    today = datetime.fromtimestamp(desk.runtime.clock.now_ms() / 1000, UTC).astimezone(zone).date()
    last = _day("to", until) or today
    first = _day("from", since) or last - timedelta(days=(DAYS_OF_CUSTOMER if of_one else DAYS) - 1)
    begins, ends = (datetime.combine(each, time.min, zone) for each in (first, last + timedelta(days=1)))
    return int(begins.timestamp() * 1000), int(ends.timestamp() * 1000)


def _day(field: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SearchInvalid(field, "day", "a day such as 2026-11-21") from None


def _page_values(desk: Desk, console: Console, visit: Visit) -> dict[str, Any]:
    strategy = desk.runtime.live().prepared.strategy
    channels = sorted({placement.channel for placement in strategy.placements.values()})
    fields = {name: visit.request.query_params.get(name, "") for name in _FIELDS}
    return {
        "fields": fields,
        "query": urlencode({name: value for name, value in fields.items() if value}),
        "channels": [channel for channel in channels if visit.client.speaks_for(channel)],
        "offers": sorted(
            ((offer.name, localized(offer.title, visit.locale, offer.name)) for offer in strategy.offers),
            key=lambda row: row[1],
        ),
        "arms": [arm.value for arm in Arm],
        "versions": list(console.governance.state().versions)[::-1],
        "narrowed": any(fields[name] for name in _FIELDS[3:]),
    }


def _list(desk: Desk, console: Console, visit: Visit, query: DecisionQuery, found: FoundDecisions) -> Response:
    titles = {
        offer.name: localized(offer.title, visit.locale, offer.name)
        for offer in desk.runtime.live().prepared.strategy.offers
    }
    fields = {name: visit.request.query_params.get(name, "") for name in _FIELDS}
    asked = urlencode({name: value for name, value in fields.items() if value})
    return console.fragment(
        visit,
        "console/decisions_list.html",
        found=found,
        titles=titles,
        query=asked,
        later=query.before is not None,
        days=round((query.until_ms - query.since_ms) / DAY_MS),
        until_ms=min(query.until_ms - 1, desk.runtime.clock.now_ms()),
        since_ms=query.since_ms,
        of_customer=query.customer_id,
    )
