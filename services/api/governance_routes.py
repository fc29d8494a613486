"""The acts of governance: submit, approve, decline, activate, roll back, stop; the history; simulations."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from services.api.authentication import ApiScope, Client
from services.api.governance_bodies import (
    ActBody,
    ActivateBody,
    KillSwitchBody,
    SubmitBody,
    actor_of,
    body_of,
    read,
)
from services.api.governance_refusals import refusing
from services.api.governance_views import decides_view, history_view, record_view, switch_view
from services.api.routes import VersionText, json_response, may
from services.api.runtime import ApiRuntime
from services.api.simulation_routes import add_simulations
from services.api.strategy_routes import files_of
from services.use_cases.governance.desk import GovernanceDesk
from services.use_cases.governance.state import GovernanceState, StrategyRecord

Answer = Callable[[str, str, str | None], Awaitable[StrategyRecord]]
"""Version, actor, comment."""
Before = Annotated[int | None, Query(ge=1, description="Only records before this one")]
Limit = Annotated[int, Query(ge=1, le=1000)]


def governance_routes(runtime: ApiRuntime, desk: GovernanceDesk) -> APIRouter:
    """All of them."""
    router = APIRouter(prefix="/v1", tags=["governance"])
    _add_submissions(router, runtime, desk)
    _add_answers(router, runtime, desk)
    _add_activations(router, runtime, desk)
    _add_kill_switches(router, runtime, desk)
    _add_audit(router, runtime, desk)
    if runtime.simulations is not None:
        add_simulations(router, runtime, desk, runtime.simulations)
    return router


def _add_submissions(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk) -> None:
    author = Depends(may(runtime, ApiScope.AUTHOR))

    @router.post(
        "/strategies", status_code=201, summary="Hand in whole files for approval", openapi_extra=body_of(SubmitBody)
    )
    async def submit(request: Request, client: Annotated[Client, author]) -> Response:
        body = await read(request, SubmitBody)
        async with refusing():
            record = await desk.submit(
                body.files,
                actor=actor_of(runtime, client, body),
                comment=body.comment,
                title=body.title,
                base_version=body.base_version,
            )
        return _record(desk.state(), record, 201)

    @router.post(
        "/strategies/{version}/submit",
        status_code=201,
        summary="Hand in a draft by its id, or a version that is kept and not open",
        openapi_extra=body_of(ActBody),
    )
    async def submit_draft(version: VersionText, request: Request, client: Annotated[Client, author]) -> Response:
        body = await read(request, ActBody)
        actor = actor_of(runtime, client, body)
        async with refusing():
            if version in desk.state().drafts:
                record = await desk.submit_draft(version, actor=actor, comment=body.comment)
            else:
                files = await files_of(desk, version)
                record = await desk.submit(files, actor=actor, comment=body.comment)
        return _record(desk.state(), record, 201)


def _add_answers(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk) -> None:
    approver, author = Depends(may(runtime, ApiScope.APPROVE)), Depends(may(runtime, ApiScope.AUTHOR))

    async def answered(request: Request, client: Client, version: str, act: Answer) -> Response:
        body = await read(request, ActBody)
        async with refusing():
            record = await act(version, actor_of(runtime, client, body), body.comment)
        return _record(desk.state(), record)

    @router.post("/strategies/{version}/approve", summary="A second person's yes", openapi_extra=body_of(ActBody))
    async def approve(version: VersionText, request: Request, client: Annotated[Client, approver]) -> Response:
        return await answered(request, client, version, lambda v, actor, why: desk.approve(v, actor=actor, comment=why))

    @router.post("/strategies/{version}/decline", summary="A no to a submission", openapi_extra=body_of(ActBody))
    async def decline(version: VersionText, request: Request, client: Annotated[Client, approver]) -> Response:
        return await answered(request, client, version, lambda v, actor, why: desk.decline(v, actor=actor, comment=why))

    @router.post(
        "/strategies/{version}/retire",
        summary="Take back what was submitted or approved, or end a canary",
        openapi_extra=body_of(ActBody),
    )
    async def retire(version: VersionText, request: Request, client: Annotated[Client, author]) -> Response:
        if (canary := desk.state().canary) is not None and canary.version == version:
            client.require(ApiScope.APPROVE)
        return await answered(request, client, version, lambda v, actor, why: desk.retire(v, actor=actor, comment=why))


def _add_activations(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk) -> None:
    approver = Depends(may(runtime, ApiScope.APPROVE))

    @router.post(
        "/strategies/{version}/activate",
        summary="An approved version decides: for everybody or a share, at once or later",
        openapi_extra=body_of(ActivateBody),
    )
    async def activate(version: VersionText, request: Request, client: Annotated[Client, approver]) -> Response:
        body = await read(request, ActivateBody)
        async with refusing():
            decides = await desk.activate(
                version,
                actor=actor_of(runtime, client, body),
                share=body.share,
                effective_at=body.effective_at,
                comment=body.comment,
            )
        return json_response(decides_view(decides))

    @router.post(
        "/strategies/{version}/rollback",
        summary="Take this version back: the canary ends, or the version before the active one decides again",
        openapi_extra=body_of(ActBody),
    )
    async def rollback(version: VersionText, request: Request, client: Annotated[Client, approver]) -> Response:
        body = await read(request, ActBody)
        async with refusing():
            decides = await desk.rollback(actor=actor_of(runtime, client, body), comment=body.comment, version=version)
        return json_response(decides_view(decides))


def _add_kill_switches(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk) -> None:
    stopper, reader = Depends(may(runtime, ApiScope.STOP)), Depends(may(runtime, ApiScope.READ))

    @router.post("/kill-switches", summary="Stop something, or release it", openapi_extra=body_of(KillSwitchBody))
    async def switch(request: Request, client: Annotated[Client, stopper]) -> Response:
        body = await read(request, KillSwitchBody)
        act = desk.stop if body.engaged else desk.release
        async with refusing():
            done = await act(body.kind, body.name, actor=actor_of(runtime, client, body), comment=body.comment)
        return json_response(switch_view(done))

    @router.get("/kill-switches", summary="What is stopped, and what was", dependencies=[reader])
    async def switches() -> Response:
        return json_response({"kill_switches": [switch_view(each) for each in desk.state().kill_switches.values()]})


def _add_audit(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk) -> None:
    auditor = Depends(may(runtime, ApiScope.AUDIT))

    @router.get("/audit", summary="Every act, newest first, and whether the chain is sound", dependencies=[auditor])
    async def audit(before: Before = None, limit: Limit = 100) -> Response:
        state = desk.state()
        wanted = [line for line in state.history if before is None or line.record < before]
        shown = wanted[-limit:][::-1]
        document: dict[str, object] = {
            "head": {"sequence": state.head.sequence, "hash": state.head.hash},
            "sound": not state.faults,
            "faults": list(state.faults),
            "acts": [history_view(line) for line in shown],
        }
        if len(wanted) > len(shown):
            document["next_before"] = shown[-1].record
        return json_response(document)


def _record(state: GovernanceState, record: StrategyRecord, status: int = 200) -> Response:
    return json_response(record_view(state, record), status)
