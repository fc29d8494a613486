"""`GET /v1/attribution`: what conversions are credited to (docs/attribution.md)."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from event_schemas.envelope import epoch_ms
from services.api.authentication import ApiScope, Client
from services.api.errors import INVALID, UNAVAILABLE, ApiError, FieldError
from services.api.routes import json_response, may
from services.api.runtime import ApiRuntime
from services.api.schemas import WireMoment
from services.use_cases.attribution_report import (
    AttributionQuery,
    AttributionReport,
    CreditedBy,
    CreditModel,
    ReportTooLarge,
)
from services.use_cases.wire_time import rfc3339

MOST_DAYS = 400
_DAY_MS = 86_400_000
_DEFAULT_DAYS = 30
From = Annotated[WireMoment | None, Query(alias="from", description="First conversion; default: 30 days before `to`")]
To = Annotated[WireMoment | None, Query(description="Conversions before this moment; default: now")]


def attribution_routes(runtime: ApiRuntime) -> APIRouter:
    """The report."""
    router = APIRouter(prefix="/v1", tags=["reading"])
    reader = Depends(may(runtime, ApiScope.READ))

    @router.get("/attribution", summary="What conversions are credited to")
    async def attribution(
        client: Annotated[Client, reader],
        since: From = None,
        to: To = None,
        by: CreditedBy = CreditedBy.OFFER,
        model: CreditModel = CreditModel.LAST_TOUCH,
    ) -> Response:
        since_ms, until_ms = _period(since, to, runtime.clock.now_ms())
        if runtime.attribution is None:
            raise ApiError(UNAVAILABLE, "This node has no archive to read.")
        query = AttributionQuery(since_ms=since_ms, until_ms=until_ms, by=by, model=model, channels=client.channels)
        try:
            found = await runtime.attribution.attribution(query)
        except ReportTooLarge as error:
            too_many = FieldError("from", "too_many", "Ask for a shorter period")
            raise ApiError(INVALID, "The period has too many conversions for one report.", [too_many]) from error
        return json_response(_shown(found, query, runtime.live().prepared.strategy.currency))

    return router


def _period(since: datetime | None, to: datetime | None, now_ms: int) -> tuple[int, int]:
    until_ms = now_ms if to is None else epoch_ms(to)
    since_ms = until_ms - _DEFAULT_DAYS * _DAY_MS if since is None else epoch_ms(since)
    if since_ms >= until_ms:
        raise ApiError(INVALID, "See errors.", [FieldError("from", "order", "Must lie before `to`")])
    if until_ms - since_ms > MOST_DAYS * _DAY_MS:
        raise ApiError(
            INVALID, "See errors.", [FieldError("from", "too_long", f"At most {MOST_DAYS} days before `to`")]
        )
    return since_ms, until_ms


def _shown(found: AttributionReport, query: AttributionQuery, currency: str) -> dict[str, object]:
    return {
        "from": rfc3339(query.since_ms),
        "to": rfc3339(query.until_ms),
        "by": query.by,
        "model": query.model,
        "currency": currency,
        "conversions": found.conversions,
        "value": found.value,
        "rows": [
            {query.by.value: row.name, "conversions": row.conversions, "value": row.value, "touches": row.touches}
            for row in found.rows
        ],
    }
