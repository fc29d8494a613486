"""How it goes: the funnel of a period, what was accepted and converted, what the arms earned, who got little."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from decision_engine.strategy import Strategy
from models.evaluation.experiments import ArmResult, ExperimentResult
from services.api.authentication import ApiScope
from services.api.screens import console_results_charts as charts
from services.api.screens.console_frame import Console
from services.api.screens.console_models import model_routes
from services.api.screens.console_results_asked import DAYS, OWN, Asked, asked_of
from services.api.screens.console_results_parts import answered, names_of
from services.api.screens.console_volumes import volume_routes
from services.api.screens.desk import Desk
from services.api.screens.visits import Visit
from services.use_cases.attribution_report import AttributionQuery, CreditedBy, CreditModel, ReportTooLarge
from services.use_cases.observing.funnel import funnel
from services.use_cases.observing.funnel_log import FunnelLog
from services.use_cases.observing.results import Row, RowsBy, breakdown, by_day, lacking
from services.use_cases.observing.results_desk import ResultsDesk
from services.use_cases.observing.results_rates import wilson
from services.use_cases.observing.results_reading import AsOf

ROWS_SHOWN = 60


def observing_routes(desk: Desk, console: Console) -> APIRouter:
    """Results, volumes and models; none where nothing of it is at hand."""
    router = APIRouter(include_in_schema=False)
    ports = desk.runtime.results
    if ports is None:
        return router
    results = ResultsDesk(ports.log, desk.runtime.clock)
    router.include_router(result_routes(desk, console, results))
    router.include_router(volume_routes(desk, console, results, ports.volumes))
    router.include_router(model_routes(desk, console, results, ports.models))
    return router


def result_routes(desk: Desk, console: Console, results: ResultsDesk) -> APIRouter:
    """The page, and its parts, which are read from the archive while it stands there already."""
    router = desk.router("/console/results")
    reader = Depends(desk.visitor(ApiScope.READ))

    @router.get("")
    async def page(visit: Annotated[Visit, reader]) -> Response:
        asked = asked_of(desk, visit)
        return console.page(visit, "console/results.html", "results", asked=asked, **_choices(desk, visit))

    @router.get("/figures")
    async def figures(visit: Annotated[Visit, reader]) -> Response:
        asked, strategy = asked_of(desk, visit), desk.runtime.live().prepared.strategy

        async def read() -> Response:
            found = await results.funnel_log(asked.period, strategy.version)
            values = await asyncio.to_thread(_figures, asked, found, strategy)
            values |= await _realised(desk, results, asked)
            names = names_of(strategy, visit.locale)
            return console.fragment(visit, "console/results_figures.html", asked=asked, names=names, **values)

        return await answered(console, visit, read)

    @router.get("/lift")
    async def lift(visit: Annotated[Visit, reader]) -> Response:
        asked, version = asked_of(desk, visit), desk.runtime.live().prepared.strategy.version
        if visit.client.channels is not None:
            return console.fragment(visit, "console/results_fault.html", fault="channels", detail="")

        async def read() -> Response:
            found = await results.experiments(asked.period, version)
            return console.fragment(
                visit, "console/results_lift.html", asked=asked, as_of=found.at_ms, experiments=_lifts(found.found)
            )

        return await answered(console, visit, read)

    return router


def _choices(desk: Desk, visit: Visit) -> dict[str, Any]:
    strategy = desk.runtime.live().prepared.strategy
    channels = sorted({placement.channel for placement in strategy.placements.values()})
    titles = names_of(strategy, visit.locale)
    return {
        "periods": (*DAYS, OWN),
        "channels": [channel for channel in channels if visit.client.speaks_for(channel)],
        "groups": sorted({offer.group for offer in strategy.offers}),
        "offers": sorted(((str(o.name), titles[str(o.name)]) for o in strategy.offers), key=lambda row: row[1]),
    }


def _figures(asked: Asked, read: AsOf[FunnelLog], strategy: Strategy) -> dict[str, Any]:
    log, part, days = read.found, asked.part, asked.period.days
    rows = breakdown(log, part, asked.by, {str(offer.name): offer.group for offer in strategy.offers})
    course = by_day(log, part, len(days))
    acceptance, found = [day.steps.acceptance for day in course], funnel(log, part)
    return {
        "as_of": read.at_ms,
        "log": log,
        "funnel": found,
        "answered": wilson(found.answered, found.requests),
        "most": max(1, found.candidates),
        "rows": rows[:ROWS_SHOWN],
        "rows_left_out": max(0, len(rows) - ROWS_SHOWN),
        "whiskers": _whiskers(rows[:ROWS_SHOWN]),
        "bys": tuple(RowsBy),
        "course": course,
        "days": days,
        "requests_chart": charts.bar_chart(days, [day.requests for day in course]),
        "acceptance_chart": charts.rate_chart(days, course, acceptance),
        "lacking": lacking(log, part, asked.weak_below),
    }


def _whiskers(rows: Sequence[Row]) -> Mapping[str, Any]:
    scale = charts.rate_scale([row.steps.acceptance for row in rows])
    return {
        "scale": scale,
        "of": {row.name: charts.rate_whisker(row.steps.acceptance, scale) for row in rows},
    }


async def _realised(desk: Desk, results: ResultsDesk, asked: Asked) -> dict[str, Any]:
    """The value that attribution credits to each row in the same days, minor units; None where nobody attributes."""
    strategy, reports = desk.runtime.live().prepared.strategy, desk.runtime.attribution
    by = CreditedBy.OFFER if asked.by is RowsBy.GROUP or asked.part.offers is not None else CreditedBy(asked.by.value)
    if strategy.attribution is None or reports is None:
        return {"realised": None, "realised_total": None, "realised_of": {}}
    since_ms, until_ms = asked.period.starts_ms[0], asked.period.starts_ms[-1]
    query = AttributionQuery(
        since_ms=since_ms, until_ms=until_ms, by=by, model=CreditModel.LAST_TOUCH, channels=asked.part.channels
    )
    try:
        report = await results.credits(reports, query)
    except ReportTooLarge:
        return {"realised": None, "realised_total": None, "realised_of": {}}
    groups = {str(offer.name): offer.group for offer in strategy.offers}
    of_row: dict[str, int] = {}
    total = 0
    for row in report.rows:
        if by is CreditedBy.OFFER and asked.part.offers is not None and row.name not in asked.part.offers:
            continue
        name = groups.get(row.name, row.name) if asked.by is RowsBy.GROUP else row.name
        of_row[name] = of_row.get(name, 0) + row.value
        total += row.value
    told = {} if by is CreditedBy.OFFER and asked.by not in (RowsBy.OFFER, RowsBy.GROUP) else of_row
    return {"realised": report, "realised_total": total, "realised_of": told}


def _lifts(results: Sequence[ExperimentResult]) -> list[dict[str, object]]:
    """Each experiment with the small pictures of its lifts, which share one scale."""
    shown: list[dict[str, object]] = []
    for result in results:
        reach = charts.lift_reach([e for arm in result.arms for e in (arm.accept_lift, arm.value_lift)])
        shown.append({"result": result, "reach": reach, "arms": [_arm(arm, reach) for arm in result.arms]})
    return shown


def _arm(arm: ArmResult, reach: float) -> dict[str, Any]:
    return {
        "arm": arm,
        "measures": [
            {
                "name": name, "ratio": ratio, "difference": difference, "lift": lift, "verdict": verdict,
                "whisker": None if lift is None else charts.lift_whisker(lift, reach),
            }
            for name, ratio, difference, lift, verdict in (
                ("accept", arm.accept_rate, arm.accept_difference, arm.accept_lift, arm.accept_verdict),
                ("value", arm.value, arm.value_difference, arm.value_lift, arm.value_verdict),
            )
        ],
    }  # fmt: skip
