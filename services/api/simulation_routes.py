"""Simulations over HTTP: begun, watched from any node, and cancelled."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from services.api.authentication import ApiScope, Client
from services.api.errors import INVALID, NOT_FOUND, ApiError, FieldError
from services.api.governance_bodies import SimulationBody, actor_of, body_of, read
from services.api.governance_refusals import refusing
from services.api.governance_views import job_view
from services.api.routes import json_response, may
from services.api.runtime import ApiRuntime
from services.api.strategy_routes import files_of
from services.use_cases.governance.desk import GovernanceDesk
from services.use_cases.governance.simulations import SimulationAsked, SimulationJob, Simulations

JobText = Annotated[str, Path(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]


def add_simulations(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk, simulations: Simulations) -> None:
    """`/simulations`."""
    author, reader = Depends(may(runtime, ApiScope.AUTHOR)), Depends(may(runtime, ApiScope.READ))

    @router.post(
        "/simulations",
        status_code=202,
        summary="Try a version, a draft or files on recorded days, beside another version",
        openapi_extra=body_of(SimulationBody),
    )
    async def start(request: Request, client: Annotated[Client, author]) -> Response:
        body = await read(request, SimulationBody)
        async with refusing():
            job = await simulations.start(await asked(desk, body, actor_of(runtime, client, body)))
        return json_response(job_view(job), 202)

    @router.get("/simulations/{simulation_id}", summary="How far it is, and its report", dependencies=[reader])
    async def show(simulation_id: JobText) -> Response:
        job = await _known(simulations, simulation_id)
        view = job_view(job)
        report = await simulations.report(job.report_digest) if job.report_digest is not None else None
        if report is not None:
            view["report"] = orjson.Fragment(report.document)
        return json_response(view)

    @router.delete("/simulations/{simulation_id}", status_code=202, summary="End it", dependencies=[author])
    async def cancel(simulation_id: JobText) -> Response:
        await _known(simulations, simulation_id)
        job = await simulations.cancel(simulation_id)
        return json_response({} if job is None else job_view(job), 202)


async def asked(desk: GovernanceDesk, body: SimulationBody, actor: str) -> SimulationAsked:
    """What the body asks for, as files. Raises ApiError."""
    named = [each for each in (body.version, body.draft, body.files) if each is not None]
    if len(named) != 1:
        why = FieldError("version", "choice", "Exactly one of version, draft and files")
        raise ApiError(INVALID, "See errors.", [why])
    against = body.against or desk.active_version()
    if against is None:
        raise ApiError(NOT_FOUND, "Nothing is active to compare with; name a version as against.")
    return SimulationAsked(
        files=body.files if body.files is not None else await files_of(desk, body.draft or body.version or ""),
        against=await files_of(desk, against),
        actor=actor,
        day=body.day,
        day_count=body.days,
        draft=body.draft,
        comment=body.comment,
    )


async def _known(simulations: Simulations, simulation_id: str) -> SimulationJob:
    job = await simulations.get(simulation_id)
    if job is None:
        raise ApiError(NOT_FOUND, "There is no such simulation, or not any more.")
    return job
