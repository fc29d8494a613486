"""What the endpoints of governance take."""

from datetime import date
from typing import Annotated, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from services.api.authentication import Client, OpenAccess
from services.api.bodies import parse_json, read_body
from services.api.errors import INVALID, ApiError, FieldError
from services.api.runtime import ApiRuntime
from services.api.schemas import WireMoment

MAX_GOVERNANCE_BYTES = 1_000_000
"""A submission brings every file of a strategy."""
Body = TypeVar("Body", bound="ActBody")
Text = Annotated[str, Field(max_length=4_000)]
FileText = Annotated[str, Field(max_length=500_000)]


class ActBody(BaseModel):
    """What every act may say. `actor` is for deployments without authentication; elsewhere it is the caller."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    actor: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    comment: Text | None = None


class SubmitBody(ActBody):
    """The whole files of a strategy, by name."""

    files: Annotated[dict[str, FileText], Field(min_length=1, max_length=200)]
    title: Annotated[str, Field(max_length=256)] | None = None
    base_version: Annotated[str, Field(max_length=128)] | None = None


class ActivateBody(ActBody):
    """For everybody, or a share of the customers; at once, or later."""

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    effective_at: WireMoment | None = None


class KillSwitchBody(ActBody):
    """What is stopped, or released again."""

    kind: Literal["offer", "group", "model", "strategy", "channel"]
    name: Annotated[str, Field(min_length=1, max_length=128)]
    engaged: bool = True


class SimulationBody(ActBody):
    """A version, a draft, or files that are neither yet; beside the active version unless another is named."""

    version: Annotated[str, Field(max_length=128)] | None = None
    draft: Annotated[str, Field(max_length=128)] | None = None
    files: Annotated[dict[str, FileText], Field(min_length=1, max_length=200)] | None = None
    against: Annotated[str, Field(max_length=128)] | None = None
    day: Annotated[date, Field(strict=False)] | None = None
    days: Annotated[int, Field(ge=1, le=31)] = 1


async def read(request: Request, body: type[Body]) -> Body:
    """The body of a request. Raises ApiError, ValidationError."""
    raw = await read_body(request.scope, request.receive, MAX_GOVERNANCE_BYTES)
    return body.model_validate(parse_json(raw or b"{}"))


def actor_of(runtime: ApiRuntime, client: Client, body: ActBody) -> str:
    """Who acts: the client, or where nobody signs in whoever the body names. Raises ApiError."""
    if not isinstance(runtime.authenticator, OpenAccess):
        if body.actor is not None:
            why = FieldError("actor", "not_allowed", "Who acts is the client that calls")
            raise ApiError(INVALID, "See errors.", [why])
        return client.name
    if body.actor is None:
        raise ApiError(INVALID, "See errors.", [FieldError("actor", "missing", "Say who acts")])
    return body.actor


GOVERNANCE_BODIES: tuple[type[ActBody], ...] = (ActBody, SubmitBody, ActivateBody, KillSwitchBody, SimulationBody)


def body_of(model: type[ActBody]) -> dict[str, object]:
    """What OpenAPI says of a body that is read by `read`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
