"""Everything but the two hot routes, on FastAPI."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse, Response

from decision_engine.features.provenance import AttributeUnknown
from decision_engine.identifiers import CustomerId, DecisionId
from event_schemas.asyncapi import asyncapi_document
from services.api.authentication import ApiScope, Client
from services.api.bodies import parse_json, read_body
from services.api.callers import calling
from services.api.customer_guard import CustomerGuard, CustomerUnknown
from services.api.errors import INVALID, NOT_FOUND, UNAVAILABLE, ApiError, FieldError
from services.api.runtime import ApiRuntime, Check
from services.api.schemas import MAX_EVENTS
from services.api.strategy_views import dictionary_view, pending_view
from services.ports import StrategyUnknown
from services.use_cases.decision_record import record_data
from services.use_cases.explain_decision import DecidingStrategies, DecisionUnknown, ExplainDecision
from services.use_cases.publish_events import PublishEvents
from services.use_cases.view_attribute import ViewAttribute
from services.use_cases.view_customer import ViewCustomer

CHECK_SECONDS = 1.0
_ULID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}")
DecisionIdText = Annotated[str, Path(json_schema_extra={"pattern": f"^{_ULID.pattern}$"})]
CustomerIdText = Annotated[str, Path(pattern=r"^(retail|corp):[A-Za-z0-9_-]{1,64}$")]
AttributeText = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,127}$")]
VersionText = Annotated[str, Path(pattern=r"^[0-9A-Za-z._-]{1,64}$")]


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer, without the framework's own encoding."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def may(runtime: ApiRuntime, scope: ApiScope) -> Callable[[Request], AsyncIterator[Client]]:
    """A dependency: the calling client, refused unless it has the scope, the rate and the room."""

    async def client_of(request: Request) -> AsyncIterator[Client]:
        client = await calling(runtime, request.scope, scope)
        with runtime.admission.working(runtime.other_requests, client.name, client.limit):
            yield client

    return client_of


def may_stay(runtime: ApiRuntime, scope: ApiScope) -> Callable[[Request], Awaitable[Client]]:
    """The same for what lasts, and is counted by its own bounds."""

    async def client_of(request: Request) -> Client:
        return await calling(runtime, request.scope, scope)

    return client_of


def reading_routes(runtime: ApiRuntime) -> APIRouter:
    """What was decided, what is known, and what decides."""
    router = APIRouter(prefix="/v1", tags=["reading"])
    decided_by = DecidingStrategies(at_hand=lambda: runtime.live().prepared, kept=runtime.strategies)
    explain = ExplainDecision(store=runtime.store, strategies=decided_by, archive=runtime.archive)
    guard = CustomerGuard.of(runtime)
    reader = Depends(may(runtime, ApiScope.READ))

    @router.get("/decisions/{decision_id}", summary="Every candidate of a decision and why it ended as it did")
    async def decision(decision_id: DecisionIdText, client: Annotated[Client, reader]) -> Response:
        if not _ULID.fullmatch(decision_id):
            raise DecisionUnknown  # nobody ever gave such an id, so neither store nor archive needs to be searched
        record = await explain.record(DecisionId(decision_id))
        data = record_data(record)
        if not client.speaks_for(str(data["channel"])) or not await guard.sees(client, str(data["customer_id"])):
            raise DecisionUnknown
        try:
            return json_response((await explain.explained(record)).data)
        except StrategyUnknown as error:
            raise ApiError(NOT_FOUND, "The strategy that made this decision is not kept any more.") from error

    _add_customer_routes(router, runtime)

    @router.get("/dictionary", summary="Every attribute: theme, type, description, source", dependencies=[reader])
    async def dictionary() -> Response:
        return json_response(dictionary_view(runtime.live().prepared.strategy))

    return router


def _add_customer_routes(router: APIRouter, runtime: ApiRuntime) -> None:
    """What is known of one customer, whole and one attribute at a time."""
    view = ViewCustomer(live=runtime.live, store=runtime.store, clock=runtime.clock)
    view_attribute = ViewAttribute(live=runtime.live, store=runtime.store, clock=runtime.clock)
    guard, reader = CustomerGuard.of(runtime), Depends(may(runtime, ApiScope.READ))

    @router.get("/customers/{customer_id}", summary="The 360 view of a customer")
    async def customer(customer_id: CustomerIdText, client: Annotated[Client, reader]) -> Response:
        await guard.require(client, customer_id)
        found = await view(CustomerId(customer_id))
        if client.customers is not None and not found.known:
            raise CustomerUnknown  # so that a client of some customers cannot tell the others from those who never were
        return json_response(found)

    @router.get(
        "/customers/{customer_id}/attributes/{name}",
        summary="One attribute: definition, value, and the events it comes from",
    )
    async def attribute(
        customer_id: CustomerIdText, name: AttributeText, client: Annotated[Client, reader]
    ) -> Response:
        await guard.require(client, customer_id)
        try:
            return json_response(await view_attribute(CustomerId(customer_id), name))
        except AttributeUnknown as error:
            raise ApiError(NOT_FOUND, "The strategy declares no attribute of this name.") from error


def event_routes(runtime: ApiRuntime) -> APIRouter:
    """The way in for events of callers without Kafka."""
    router = APIRouter(prefix="/v1", tags=["events"])
    publish = PublishEvents(publisher=runtime.publisher, clock=None if runtime.replays else runtime.clock)
    publisher, guard = Depends(may(runtime, ApiScope.PUBLISH)), CustomerGuard.of(runtime)

    @router.post("/events", status_code=202, summary="One event or a list, published")
    async def events(request: Request, client: Annotated[Client, publisher]) -> Response:
        value = parse_json(await read_body(request.scope, request.receive))
        documents = value if isinstance(value, list) else [value]
        if not 1 <= len(documents) <= MAX_EVENTS:
            raise ApiError(INVALID, "See errors.", [FieldError("", "length", f"1 to {MAX_EVENTS} events")])
        runtime.admission.charge(client.name, client.limit, len(documents) - 1)
        sees = None if client.customers is None else lambda customer_id: guard.sees(client, customer_id)
        taken = await publish(documents, sees)
        rejected = [{"index": index, "error": error} for index, error in taken.rejected]
        if not taken.accepted:
            errors = [FieldError(f"[{index}]", "event", error) for index, error in taken.rejected[:20]]
            raise ApiError(INVALID, "No event is valid.", errors)
        return json_response({"accepted": taken.accepted, "rejected": rejected}, 202)

    return router


def operating_routes(runtime: ApiRuntime, openapi: Callable[[], dict[str, object]]) -> APIRouter:
    """Health, metrics and documents."""
    router = APIRouter(tags=["operating"])
    documents = orjson.dumps(asyncapi_document())
    operator = Depends(may(runtime, ApiScope.OPERATE))

    @router.get("/livez", summary="Whether the process answers")
    async def livez() -> Response:
        return json_response({"live": True})

    unready: dict[int | str, dict[str, object]] = {
        UNAVAILABLE.status: {
            "description": "Some dependency does not",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }

    @router.get("/readyz", summary="Whether every dependency answers", responses=unready)
    async def readyz() -> Response:
        results = await asyncio.gather(*(_passes(check) for check in runtime.checks.values()))
        checks = dict(zip(runtime.checks, results, strict=True))
        ready = all(results)
        document = {"ready": ready, "checks": checks, "strategy_version": runtime.live().prepared.strategy.version}
        if (pending := runtime.pending()) is not None:
            document["strategy_pending"] = pending_view(pending)
        if (canary := runtime.canary()) is not None:
            document["strategy_canary"] = {"version": canary.version, "share": canary.share}
        return json_response(document, 200 if ready else UNAVAILABLE.status)

    page_of_metrics: dict[int | str, dict[str, object]] = {
        200: {"description": "The page", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        dependencies=[operator],
        response_class=Response,
        responses=page_of_metrics,
    )
    async def metrics() -> Response:
        page, content_type = runtime.exposition()
        return Response(page, headers={"content-type": content_type})

    @router.get("/openapi.json", summary="This interface", include_in_schema=False)
    async def openapi_json() -> Response:
        return json_response(openapi())

    @router.get("/asyncapi.json", summary="The events", include_in_schema=False)
    async def asyncapi_json() -> Response:
        return Response(documents, media_type="application/json")

    @router.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(files("services.api").joinpath("index.html").read_text("utf-8"))

    return router


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - whatever goes wrong in a check, the answer is that it does not pass
        return False
    return True
