"""Reading strategies: every version with where it stands, its files, and how it differs from another."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from services.api.authentication import ApiScope
from services.api.errors import NOT_FOUND, ApiError
from services.api.governance_views import draft_view, record_view
from services.api.routes import VersionText, json_response, may
from services.api.runtime import ApiRuntime
from services.api.strategy_views import pending_view, strategy_summary, strategy_view
from services.ports import StrategyUnknown
from services.use_cases.governance.desk import GovernanceDesk, VersionUnknown
from services.use_cases.governance.strategy_diff_text import diff_as_json

Against = Annotated[VersionText | None, Query(description="The other version; default: the active one")]


def strategy_routes(runtime: ApiRuntime) -> APIRouter:
    """The versions."""
    router = APIRouter(prefix="/v1", tags=["reading"])
    reader = Depends(may(runtime, ApiScope.READ))

    @router.get(
        "/strategies", summary="Every strategy version and where it stands, newest first", dependencies=[reader]
    )
    async def strategies() -> Response:
        return json_response(listed(runtime))

    @router.get("/strategies/{version}", summary="One strategy, whole", dependencies=[reader])
    async def strategy(version: VersionText) -> Response:
        found = runtime.live().prepared.strategy
        if version != found.version:
            if runtime.strategies is None:
                raise ApiError(NOT_FOUND, "No strategy of this version is at hand.")
            try:
                found = (await asyncio.to_thread(runtime.strategies.prepared, version)).strategy
            except StrategyUnknown as error:
                raise ApiError(NOT_FOUND, "No strategy of this version is at hand.") from error
        return Response(strategy_view(found), media_type="application/json")

    desk = runtime.governance
    if desk is not None:
        _add_files(router, runtime, desk)
    return router


def _add_files(router: APIRouter, runtime: ApiRuntime, desk: GovernanceDesk) -> None:
    reader = Depends(may(runtime, ApiScope.READ))

    @router.get(
        "/strategies/{version}/files",
        summary="The files of a version or draft, exactly as submitted",
        dependencies=[reader],
    )
    async def files(version: VersionText) -> Response:
        return json_response({"version": version, "files": dict(await files_of(desk, version))})

    @router.get(
        "/strategies/{version}/diff",
        summary="How a version or draft differs from another: offers, treatments, rules, limits, features, words",
        dependencies=[reader],
    )
    async def diff(version: VersionText, against: Against = None) -> Response:
        other = against or desk.active_version()
        if other is None:
            raise ApiError(NOT_FOUND, "Nothing is active to compare with; name a version as against.")
        before, after = await files_of(desk, other), await files_of(desk, version)
        found = await desk.diff(before, after)
        return json_response({"version": version, "against": other, **diff_as_json(found)})


async def files_of(desk: GovernanceDesk, name: str) -> Mapping[str, str]:
    """The files of a version, or of a draft of that name. Raises ApiError."""
    try:
        if name in desk.state().drafts:
            return await desk.draft_files(name)
        return await desk.files(name)
    except (StrategyUnknown, VersionUnknown) as error:
        raise ApiError(NOT_FOUND, "No strategy or draft of this name is kept.") from error


def listed(runtime: ApiRuntime) -> dict[str, object]:
    """Every version: what decides here first, then by when anything was last done with it."""
    live, pending = runtime.live(), runtime.pending()
    waiting = [] if pending is None else [pending_view(pending)]
    summary = strategy_summary(live.prepared.strategy, live.features.layout)
    desk = runtime.governance
    if desk is None:
        return {"strategies": [*waiting, summary]}
    state = desk.state()
    views = {record.version: record_view(state, record) for record in state.versions.values()}
    here = live.prepared.strategy.version
    others = sorted(
        (record for record in state.versions.values() if record.version != here),
        key=lambda record: record.changed_at,
        reverse=True,
    )
    first = {**summary, **views.get(here, {})}
    return {
        "strategies": [*waiting, first, *(views[record.version] for record in others)],
        "drafts": [draft_view(draft) for draft in state.drafts.values()],
    }
