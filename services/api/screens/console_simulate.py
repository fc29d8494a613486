"""Simulations at the console: begun for a draft or a version, watched, and shown side by side with what is active."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response

from services.api.authentication import ApiScope
from services.api.errors import NOT_FOUND, UNAVAILABLE, ApiError
from services.api.screens.console_frame import Console
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.ports import StoreUnavailable
from services.use_cases.governance.simulations import SimulationAsked, SimulationJob, Simulations
from services.use_cases.governance.state import Simulation

STAGES = ("sorting the archive by customer", "folding what customers did before", "deciding again", "adding up")
"""The stages of a simulation in their order, for the words of the screen."""
MOST_DAYS = 31
_SHOWN_ROWS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """A report as the page shows it: everything of the document, and rows picked by how much they change."""

    document: Mapping[str, Any]
    offers: Sequence[Mapping[str, Any]]
    groups: Sequence[Mapping[str, Any]]
    funnel: Sequence[Mapping[str, Any]]
    most_dropped: int
    tenths: Sequence["TenthBar"]
    unfair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenthBar:
    """A tenth of the customers as a bar: in units of the drawing, upwards or downwards from the middle."""

    number: int
    change: float
    x: float
    y: float
    height: float


def simulate_routes(desk: Desk, console: Console) -> APIRouter:
    """Starting, watching, cancelling, reading."""
    router = desk.router("/console/simulations")
    author = Depends(desk.visitor(ApiScope.AUTHOR))

    @router.post("")
    async def start(visit: Annotated[Visit, author]) -> Response:
        form = await visit.form()
        draft, version, days = form.one("draft"), form.one("version"), form.one("days", "1")
        begun: list[SimulationJob] = []

        async def act() -> None:
            files = await (console.governance.draft_files(draft) if draft else console.governance.files(version))
            asked = SimulationAsked(
                files=files,
                against=await console.governance.files(console.works.active_version()),
                actor=visit.client.name,
                day_count=min(MOST_DAYS, max(1, int(days))) if days.isdecimal() else 1,
                draft=draft or None,
            )
            begun.append(await _simulations(desk).start(asked))

        refusal = await console.attempt(act)
        if refusal is not None:
            return console.fragment(
                visit, "console/simulation.html", job=None, refusal=console.said(visit, refusal.text), report=None
            )
        return _part(console, visit, begun[0], None)

    _reading(router, desk, console)

    @router.post("/{job_id}/cancel")
    async def cancel(job_id: str, visit: Annotated[Visit, author]) -> Response:
        job = await _simulations(desk).cancel(job_id)
        if job is None:
            raise ApiError(NOT_FOUND, "There is no such simulation any more.")
        return _part(console, visit, job, None)

    return router


def _reading(router: APIRouter, desk: Desk, console: Console) -> None:
    """How far one is; and the reports, which the history names and the store keeps, so that any node has them."""
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("/reports/{digest}")
    async def page(digest: str, visit: Annotated[Visit, reader]) -> Response:
        recorded = _recorded(console, digest)
        report = await _report(desk, digest)
        return console.page(
            visit, "console/simulation_page.html", "approvals", recorded=recorded, digest=digest, report=report
        )

    @router.get("/reports/{digest}/part")
    async def kept(digest: str, visit: Annotated[Visit, reader]) -> Response:
        report = await _report(desk, digest)
        return console.fragment(visit, "console/simulation_report.html", digest=digest, report=report)

    @router.get("/reports/{digest}/whole")
    async def whole(digest: str, _: Annotated[Visit, reader]) -> Response:
        report = await _simulations(desk).report(digest)
        if report is None:
            raise ApiError(NOT_FOUND, "The report of this simulation is not kept any more.")
        headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
        return HTMLResponse(report.page, headers=headers)

    @router.get("/{job_id}/part")
    async def part(job_id: str, visit: Annotated[Visit, reader]) -> Response:
        job = await _simulations(desk).get(job_id)
        if job is None:
            raise ApiError(NOT_FOUND, "There is no such simulation any more.")
        return _part(console, visit, job, None if job.report_digest is None else await _report(desk, job.report_digest))


async def newest_simulation(console: Console, version: str | None) -> str | None:
    """Where the page of a version finds its newest simulation: how far it is, or its report; None without any. The
    store tells of those under way and ended otherwise, the history of those that came to something."""
    simulations = console.desk.runtime.simulations
    if version is None or simulations is None:
        return None
    job: SimulationJob | None = None
    with suppress(StoreUnavailable):  # the history is at hand all the same
        job = await simulations.newest(version)
    if job is not None and job.state != "done":
        return f"/console/simulations/{job.id}/part"
    recorded = console.governance.state().simulations.get(version, ())
    return f"/console/simulations/reports/{recorded[-1].report_digest}/part" if recorded else None


def _simulations(desk: Desk) -> Simulations:
    found = desk.runtime.simulations
    if found is None:
        raise ApiError(UNAVAILABLE, "This service has no archive to simulate on.")
    return found


def _part(console: Console, visit: Visit, job: SimulationJob, report: ReportView | None) -> Response:
    return console.fragment(visit, "console/simulation.html", job=job, report=report, stages=STAGES, refusal="")


def _recorded(console: Console, digest: str) -> Simulation:
    """What the history says of the simulation with this report. Raises ApiError (not found)."""
    for simulations in console.governance.state().simulations.values():
        for simulation in simulations:
            if simulation.report_digest == digest:
                return simulation
    raise ApiError(NOT_FOUND, "There is no such simulation in the history.")


async def _report(desk: Desk, digest: str) -> ReportView | None:
    report = await _simulations(desk).report(digest)
    return None if report is None else report_view(orjson.loads(report.document))


def report_view(document: Mapping[str, Any]) -> ReportView:
    """What changes most comes first."""
    funnel = sorted(document["funnel"], key=lambda s: abs(s["draft"] - s["active"]), reverse=True)
    return ReportView(
        document=document,
        offers=_by_change(document["offers"])[:_SHOWN_ROWS],
        groups=_by_change(document["groups"])[:_SHOWN_ROWS],
        funnel=funnel[:_SHOWN_ROWS],
        most_dropped=max((max(step["active"], step["draft"]) for step in funnel[:_SHOWN_ROWS]), default=1) or 1,
        tenths=_bars(document["tenths"]),
        unfair=sum(bool(group["below"][1]) and not group["below"][0] for group in document["fairness"]),
    )


def _by_change(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    def moved(row: Mapping[str, Any]) -> tuple[float, int]:
        return abs(row["change"]["value"]), abs(row["draft"]["options"] - row["active"]["options"])

    return sorted(rows, key=moved, reverse=True)


def _bars(tenths: Sequence[Mapping[str, Any]]) -> list[TenthBar]:
    changes = [tenth["draft"] - tenth["active"] for tenth in tenths]
    most = max((abs(change) for change in changes), default=0.0) or 1.0
    return [
        TenthBar(
            number=tenth["number"],
            change=change,
            x=6 + 39.0 * place,
            y=round(50 - max(0.0, change) / most * 40, 1),
            height=round(abs(change) / most * 40, 1),
        )
        for place, (tenth, change) in enumerate(zip(tenths, changes, strict=True))
    ]
