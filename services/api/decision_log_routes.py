"""`GET /v1/decision-log`: recorded decisions by what is known of them (docs/explain.md)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from event_schemas.envelope import epoch_ms
from services.api.authentication import ApiScope, Client
from services.api.customer_guard import CustomerGuard
from services.api.errors import INVALID, UNAVAILABLE, ApiError, FieldError
from services.api.routes import json_response, may
from services.api.runtime import ApiRuntime
from services.api.schemas import WireMoment
from services.use_cases.observing.decision_search import (
    DAY_MS,
    MOST_DAYS,
    PAGE,
    DecisionQuery,
    FoundDecisions,
    SearchDecisions,
    SearchInvalid,
    place_of,
)
from services.use_cases.wire_time import rfc3339

_DEFAULT_DAYS = 2


class DecisionLogQuery(BaseModel):
    """What is asked of the log; every field narrows it down."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    since: WireMoment | None = Field(
        default=None, alias="from", description=f"First decision; default: {_DEFAULT_DAYS} days before `to`"
    )
    to: WireMoment | None = Field(
        default=None, description=f"Decisions before this moment, at most {MOST_DAYS} days after `from`; default: now"
    )
    customer_id: str = Field(default="", max_length=80)
    request_id: str = Field(default="", max_length=128)
    channel: str = Field(default="", max_length=64)
    offer: str = Field(default="", max_length=64, description="That was offered")
    arm: str = Field(default="", max_length=64)
    strategy_version: str = Field(default="", max_length=64)
    degraded: bool = Field(default=False, description="Only degraded ones")
    fallback: bool = Field(default=False, description="Only those with a placement that had nothing to offer")
    before: str = Field(default="", max_length=64, description="`next` of the page before")
    limit: int = Field(default=PAGE, ge=1, le=200, description="Decisions a page")

    def query(self, now_ms: int, channels: frozenset[str] | None) -> DecisionQuery:
        """The search, for somebody who may know of these channels. Raises SearchInvalid."""
        until_ms = now_ms + 1 if self.to is None else epoch_ms(self.to)
        return DecisionQuery(
            since_ms=until_ms - _DEFAULT_DAYS * DAY_MS if self.since is None else epoch_ms(self.since),
            until_ms=until_ms,
            customer_id=self.customer_id,
            request_id=self.request_id,
            channel=self.channel,
            offer=self.offer,
            arm=self.arm,
            strategy_version=self.strategy_version,
            degraded=self.degraded,
            fallback=self.fallback,
            channels=channels,
            before=place_of(self.before) if self.before else None,
            most=self.limit,
        )


def decision_log_routes(runtime: ApiRuntime) -> APIRouter:
    """The search."""
    router = APIRouter(prefix="/v1", tags=["reading"])
    reader, guard = Depends(may(runtime, ApiScope.READ)), CustomerGuard.of(runtime)

    @router.get("/decision-log", summary="Recorded decisions, the newest first")
    async def decision_log(client: Annotated[Client, reader], asked: Annotated[DecisionLogQuery, Query()]) -> Response:
        if runtime.decisions is None:
            raise ApiError(UNAVAILABLE, "This node has no archive to read.")
        try:
            query = asked.query(runtime.clock.now_ms(), client.channels)
            await guard.require_named(client, query.customer_id)
            return json_response(_shown(query, await SearchDecisions(log=runtime.decisions.log)(query)))
        except SearchInvalid as error:
            fault = FieldError(error.field, error.code, str(error).partition(": ")[2])
            raise ApiError(INVALID, "See errors.", [fault]) from error

    return router


def _shown(query: DecisionQuery, found: FoundDecisions) -> dict[str, object]:
    complete_since = found.complete_since_ms
    return {
        "from": rfc3339(query.since_ms),
        "to": rfc3339(query.until_ms),
        "decisions": found.decisions,
        "next": None if found.older is None else str(found.older),
        "looked_at": found.looked_at,
        "complete": complete_since is None,
        "complete_since": None if complete_since is None else rfc3339(complete_since),
        "archived_until": None if found.reaches_ms is None else rfc3339(found.reaches_ms),
    }
