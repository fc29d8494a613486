"""The OpenAPI document: the framework's part, and the hot routes it does not know."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.api.access_table import needed_scope
from services.api.errors import KINDS, REFUSED, ProblemKind
from services.api.governance_bodies import GOVERNANCE_BODIES
from services.api.schemas import (
    DecisionBody,
    DecisionShape,
    EventsTaken,
    ProblemShape,
    ResponseBody,
    ResponsesTaken,
)

API_VERSION = "1.0.0"
_REF = "#/components/schemas/{model}"
_SHAPES: Sequence[tuple[type[BaseModel], Any]] = (
    *((body, "validation") for body in GOVERNANCE_BODIES),
    (DecisionBody, "validation"),
    (ResponseBody, "validation"),
    (DecisionShape, "serialization"),
    (ResponsesTaken, "serialization"),
    (EventsTaken, "serialization"),
    (ProblemShape, "serialization"),
)
_GOVERNED = ("/v1/strategies", "/v1/kill-switches", "/v1/simulations")
"""Where people act under rules."""
_NAMING_THINGS = ("/v1/decisions", "/v1/stream", "/v1/simulations")
"""Paths whose query or body names what may not be there."""
_WITH_QUERY = ("/v1/stream", "/v1/attribution", "/v1/decision-log", "/v1/audit")
"""Paths whose query can be at fault."""
_EXAMPLE = {
    "request_id": "6f1c2a9e",
    "customer_id": "retail:1787",
    "channel": "mobile",
    "placements": [{"id": "home_banner", "count": 1}],
    "locale": "zh-CN",
}
Document = dict[str, Any]


def openapi_document(app: FastAPI) -> Document:
    """The whole interface as OpenAPI 3.1."""
    document = get_openapi(
        title="Kairos",
        version=API_VERSION,
        description="Real-time next-best-offer decisions. Errors are RFC 9457 problem documents.",
        routes=app.routes,
    )
    _, shapes = models_json_schema(_SHAPES, ref_template=_REF)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for framework_shape in ("HTTPValidationError", "ValidationError"):
        schemas.pop(framework_shape, None)
    schemas.update(shapes["$defs"])
    document["components"]["securitySchemes"] = {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    document["paths"] = {"/v1/decisions": {"post": _decide()}, "/v1/responses": {"post": _respond()}} | document[
        "paths"
    ]
    document["paths"]["/v1/events"]["post"] |= _events()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(method, path, operation)
    return document


def _decide() -> Document:
    return {
        "tags": ["deciding"],
        "operationId": "decide",
        "summary": "What to offer this customer here and now",
        "description": "A known customer with nothing to offer, an unknown customer, a slow store: still 200. "
        "The same request_id gives the same answer again and reserves nothing new.",
        "requestBody": _body(_ref("DecisionBody"), _EXAMPLE),
        "responses": {"200": _answer("The decision", "DecisionShape")},
    }


def _respond() -> Document:
    one = _ref("ResponseBody")
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": 500}
    return {
        "tags": ["deciding"],
        "operationId": "respond",
        "summary": "What became of an offer",
        "description": "Answered after the bus has acknowledged and the contact ledger has it.",
        "requestBody": _body({"oneOf": [one, many]}, None),
        "responses": {"202": _answer("Taken", "ResponsesTaken")},
    }


def _events() -> Document:
    one = {"type": "object", "description": "A CloudEvent; see /asyncapi.json"}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": 500}
    return {
        "requestBody": _body({"oneOf": [one, many]}, None),
        "responses": {"202": _answer("Published", "EventsTaken")},
    }


def _body(schema: Document, example: object) -> Document:
    media = {"schema": schema} | ({} if example is None else {"example": example})
    return {"required": True, "content": {"application/json": media}}


def _answer(text: str, model: str) -> Document:
    return {"description": text, "content": {"application/json": {"schema": _ref(model)}}}


def _ref(model: str) -> Document:
    return {"$ref": _REF.format(model=model)}


def _complete(method: str, path: str, operation: Document) -> None:
    """Security and problem documents, which every operation has."""
    operation["responses"].pop("422", None)
    scope = needed_scope(method, path)
    if scope is None:
        operation["security"] = []
        return
    operation["security"] = [{"apiKey": []}, {"bearer": []}]
    operation["x-kairos-scope"] = scope.value
    for kind in KINDS:
        if _applies(kind, path, "requestBody" in operation):
            operation["responses"][str(kind.status)] = {
                "description": kind.title,
                "content": {"application/problem+json": {"schema": _ref("ProblemShape")}},
            }


def _applies(kind: ProblemKind, path: str, has_body: bool) -> bool:  # noqa: FBT001 - a predicate of two facts
    if kind.status in (401, 403, 429, 503):
        return True
    if kind.status == 404:  # a customer whom the client may not see is unknown to it, in whatever it asks
        return "{" in path or path in _NAMING_THINGS
    if kind.status == 422:
        return has_body or "{" in path or path in _WITH_QUERY
    if kind is REFUSED:
        return has_body and path.startswith(_GOVERNED)
    if kind.status == 409:
        return path == "/v1/decisions"
    return has_body and kind.status in (400, 408, 413, 415)
