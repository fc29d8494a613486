"""How the models do: versions and their roles, what waits for approval, and what has drifted."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, Response

from decision_engine.scoring import PRIOR
from models.drift.findings import DriftKind, DriftReport
from models.errors import RegistryError
from services.api.authentication import ApiScope
from services.api.errors import NOT_FOUND, ApiError
from services.api.screens.console_card import card_blocks
from services.api.screens.console_frame import Console
from services.api.screens.console_results_asked import asked_of
from services.api.screens.console_results_parts import answered
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.observing.funnel_log import FunnelLog
from services.use_cases.observing.model_health import ModelDesk, ModelHealth
from services.use_cases.observing.results_desk import ResultsDesk

COLUMNS_SHOWN = 6
_RATIOS = (DriftKind.CALIBRATION, DriftKind.RESPONSE_RATE)
_INDEXES = (DriftKind.SCORE, DriftKind.LABEL_DELAY)
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""An evaluation report is a page by itself, with its styles in it."""


def model_routes(desk: Desk, console: Console, results: ResultsDesk, models: ModelDesk) -> APIRouter:
    """The page, its parts that are read from the archive, and the papers of versions."""
    router = desk.router("/console/models")
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("")
    async def page(visit: Annotated[Visit, reader]) -> Response:
        strategy, now = desk.runtime.live().prepared.strategy, datetime.fromtimestamp(_now_s(desk), UTC)
        found = await asyncio.to_thread(models.health, strategy, now)
        return console.page(visit, "console/models.html", "models", models=found, waiting_now=_waiting(found))

    @router.get("/volume/{name}")
    async def volume(name: str, visit: Annotated[Visit, reader]) -> Response:
        asked, version = asked_of(desk, visit), desk.runtime.live().prepared.strategy.version

        async def read() -> Response:
            found = await results.funnel_log(asked.period, version)
            scored = _scored(found.found, name, visit)
            return console.fragment(
                visit, "console/models_volume.html", scored=scored, share=found.found.share, prior=PRIOR
            )

        return await answered(console, visit, read)

    @router.get("/drift/{version}")
    async def drift(version: str, visit: Annotated[Visit, reader]) -> Response:
        async def read() -> Response:
            found = await results.drift(version)
            shown = _drift(found.found)
            return console.fragment(visit, "console/models_drift.html", as_of=found.at_ms, report=found.found, **shown)

        return await answered(console, visit, read)

    _add_papers(router, console, models, reader)
    return router


def _add_papers(router: APIRouter, console: Console, models: ModelDesk, reader: Any) -> None:
    """Cards and evaluation reports."""

    @router.get("/card/{version}")
    async def card(version: str, visit: Annotated[Visit, reader]) -> Response:
        try:
            text = await asyncio.to_thread(models.card, version)
        except RegistryError as error:
            raise ApiError(NOT_FOUND, str(error)) from error
        if text is None:
            raise ApiError(NOT_FOUND, f"{version} has no card.")
        return console.page(visit, "console/models_card.html", "models", version=version, blocks=card_blocks(text))

    @router.get("/report/{version}")
    async def report(version: str, _: Annotated[Visit, reader]) -> Response:
        try:
            found = await asyncio.to_thread(models.report, version)
        except RegistryError as error:
            raise ApiError(NOT_FOUND, str(error)) from error
        if found is None:
            raise ApiError(NOT_FOUND, f"No evaluation report of {version} was written.")
        return HTMLResponse(found, headers={"content-security-policy": _REPORT_POLICY})


def _now_s(desk: Desk) -> float:
    return desk.runtime.clock.now_ms() / 1000


def _waiting(found: tuple[ModelHealth, ...]) -> int:
    return sum(not proposal.lapsed for model in found for proposal in model.proposals)


def _scored(log: FunnelLog, name: str, visit: Visit) -> list[tuple[str, int]]:
    """Requests by the version that scored them, in the visit's channels."""
    found: dict[str, int] = {}
    for channel, model, version, number in log.models:
        if model == name and visit.client.speaks_for(channel):
            found[version] = found.get(version, 0) + number
    return sorted(found.items(), key=lambda row: (-row[1], row[0]))


def _drift(report: DriftReport) -> dict[str, Any]:
    """The figures as they are shown: ratios of all rows and those of offers beyond their limit, indexes, and the
    columns that moved most."""
    ratios = [f for f in report.figures if f.kind in _RATIOS and (f.name == f.kind.value or f.beyond)]
    columns = [f for f in report.figures if f.kind in (DriftKind.COLUMN, DriftKind.MISSING)]
    columns.sort(key=lambda figure: (not figure.beyond, not figure.watched, -figure.value))
    return {
        "ratios": ratios,
        "indexes": [f for f in report.figures if f.kind in _INDEXES],
        "columns": [f for f in columns if f.kind is DriftKind.COLUMN or f.beyond][:COLUMNS_SHOWN],
    }
