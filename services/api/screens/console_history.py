"""The history of governance: every act with who, when, why and what became of it, whether the chain is sound, and the
log itself to take away."""

from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.errors import INVALID, UNAVAILABLE, ApiError
from services.api.screens.console_frame import Console
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.ports import StoreUnavailable
from services.use_cases.governance.audit import exported_lines, verified
from services.use_cases.governance.chain import Head
from services.use_cases.governance.history_search import HistoryQuery, choices, search
from services.use_cases.governance.state import GovernanceState

_OUTCOMES = ("valid", "void", "refused", "broken")
_FILTERS = ("person", "kind", "about", "outcome", "since", "until")
_LONGEST_FILTER = 128
_LONGEST_REASON = 2_000


def history_routes(desk: Desk, console: Console) -> APIRouter:
    """The page, its list, the check against the bus, and the export."""
    router = desk.router("/console/history")
    _reading(router, desk, console)
    _auditing(router, desk, console)
    return router


def _reading(router: APIRouter, desk: Desk, console: Console) -> None:
    auditor = Depends(desk.visitor(ApiScope.AUDIT))

    @router.get("")
    async def history(visit: Annotated[Visit, auditor]) -> Response:
        state = console.governance.state()
        return console.page(
            visit,
            "console/history.html",
            "history",
            **_listed(desk, visit, state),
            choices=choices(state),
            outcomes=_OUTCOMES,
            state=state,
            kept=await _against_store(desk, console),
        )

    @router.get("/list")
    async def listing(visit: Annotated[Visit, auditor]) -> Response:
        state = console.governance.state()
        return console.fragment(visit, "console/history_list.html", **_listed(desk, visit, state), state=state)


def _auditing(router: APIRouter, desk: Desk, console: Console) -> None:
    auditor = Depends(desk.visitor(ApiScope.AUDIT))

    @router.post("/verify")
    async def verify(visit: Annotated[Visit, auditor]) -> Response:
        if desk.runtime.audit is None:
            raise ApiError(UNAVAILABLE, "This service cannot read the log of acts by itself.")
        known = (await visit.form()).one("head")[:_LONGEST_FILTER] or None
        records = await desk.runtime.audit.records()
        found, head = verified(records, await desk.runtime.audit.kept_head(), known)
        return console.fragment(visit, "console/history_verified.html", found=found, head=head, records=len(records))

    @router.post("/export")
    async def export(visit: Annotated[Visit, auditor]) -> Response:
        if desk.runtime.audit is None:
            raise ApiError(UNAVAILABLE, "This service cannot read the log of acts by itself.")
        reason = (await visit.form()).need("reason")[:_LONGEST_REASON]
        records = await desk.runtime.audit.records()
        await console.governance.record_export(
            "governance_history", rows=len(records), actor=visit.client.name, comment=reason
        )
        name = f"acts-{len(records)}.jsonl"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return Response(exported_lines(records), 200, headers, "application/x-ndjson")


def _listed(desk: Desk, visit: Visit, state: GovernanceState) -> dict[str, Any]:
    query = visit.request.query_params
    asked = {name: query.get(name, "").strip()[:_LONGEST_FILTER] for name in _FILTERS}
    before = query.get("before", "")
    wanted = HistoryQuery(
        person=asked["person"],
        kind=asked["kind"],
        about=asked["about"],
        outcome=asked["outcome"],
        since=_day(asked["since"]),
        until=_day(asked["until"]),
        before=int(before) if before.isdecimal() and len(before) < 16 else None,
    )
    found = search(state, wanted, desk.runtime.live().prepared.zone)
    set_ones = {name: value for name, value in asked.items() if value}
    return {
        "asked": asked,
        "found": found,
        "first_page": None if wanted.before is None else f"?{urlencode(set_ones)}",
        "next_page": None if found.older is None else f"?{urlencode({**set_ones, 'before': found.older})}",
    }


async def _against_store(desk: Desk, console: Console) -> tuple[Head | None, str | None]:
    """The head kept in the store, and what it says against the chain as this node has read it."""
    if desk.runtime.audit is None:
        return None, None
    try:
        kept = await desk.runtime.audit.kept_head()
    except StoreUnavailable:
        return None, None
    # A node that has not read the newest act yet is behind for a moment, which is no contradiction.
    behind = kept is not None and kept.sequence > console.governance.state().head.sequence
    return kept, None if kept is None or behind else console.governance.log.contradiction(kept)


def _day(text: str) -> date | None:
    """Raises ApiError."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise ApiError(INVALID, "The day is no date.") from error
