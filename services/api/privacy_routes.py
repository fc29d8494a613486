"""What a person may ask of the bank: to be erased, and to see what is held on them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response

from decision_engine.identifiers import CustomerId
from services.api.authentication import ApiScope, Client
from services.api.customer_guard import CustomerGuard
from services.api.errors import NOT_FOUND, UNAVAILABLE, ApiError
from services.api.routes import CustomerIdText, json_response, may
from services.api.runtime import ApiRuntime
from services.use_cases.erasure.request_erasure import ErasureUnknown, RequestErasure
from services.use_cases.person_export.export_person import ExportPerson

ErasureIdText = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


def privacy_routes(runtime: ApiRuntime) -> APIRouter:
    """Erasure with its progress, export, and receipts of consents."""
    router = APIRouter(prefix="/v1", tags=["privacy"])
    officer, guard = Depends(may(runtime, ApiScope.PRIVACY)), CustomerGuard.of(runtime)

    @router.delete(
        "/customers/{customer_id}", status_code=202, summary="Erase a person; answers where progress is told"
    )
    async def erase(customer_id: CustomerIdText, client: Annotated[Client, officer]) -> Response:
        await guard.require(client, customer_id)
        requests = _erasures(runtime)
        erasure_id = await requests(CustomerId(customer_id), f"kairos/{client.name}")
        place = f"/v1/erasures/{erasure_id}"
        answer = json_response({"erasure_id": erasure_id, "status": "running", "progress": place}, 202)
        answer.headers["location"] = place
        return answer

    @router.get("/erasures/{erasure_id}", summary="How far an erasure has come, place by place", dependencies=[officer])
    async def erasure(erasure_id: ErasureIdText) -> Response:
        try:
            return json_response(await _erasures(runtime).status(erasure_id))
        except ErasureUnknown as error:
            raise ApiError(NOT_FOUND, "No such erasure is known.") from error

    @router.get("/customers/{customer_id}/export", summary="Everything that is held on a person")
    async def export(customer_id: CustomerIdText, client: Annotated[Client, officer]) -> Response:
        await guard.require(client, customer_id)
        return json_response(await _export(runtime)(CustomerId(customer_id)))

    @router.get("/customers/{customer_id}/consents", summary="Consents as they count, and the receipt of each change")
    async def consents(customer_id: CustomerIdText, client: Annotated[Client, officer]) -> Response:
        await guard.require(client, customer_id)
        return json_response(await _export(runtime).consents(CustomerId(customer_id)))

    return router


def _erasures(runtime: ApiRuntime) -> RequestErasure:
    if runtime.erasures is None:
        raise ApiError(UNAVAILABLE, "Erasure is not set up on this node: it has no key of pseudonyms.")
    return runtime.erasures


def _export(runtime: ApiRuntime) -> ExportPerson:
    if runtime.export_person is None:
        raise ApiError(UNAVAILABLE, "There is no archive on this node to export from.")
    return runtime.export_person
