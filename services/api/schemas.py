"""The HTTP shapes: what clients send, strictly checked, and what they get back."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from event_schemas.envelope import AttributeName, AttributeValue, CustomerKey, Moment, Slug

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
MAX_RESPONSES = 500
MAX_EVENTS = 500
MAX_TIMEOUT_MS = 1000


def _parsed_moment(value: object) -> object:
    """Text of RFC 3339 with an offset; numbers, which pydantic would take for epochs, are refused."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        return datetime.fromisoformat(value.upper().replace("Z", "+00:00"))
    raise ValueError("Time must be RFC 3339 with an offset")


WireMoment = Annotated[Moment, BeforeValidator(_parsed_moment, json_schema_input_type=Moment)]
ClientId = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]
"""An id the client chose: visible ASCII."""
TrackingText = Annotated[str, Field(pattern=r"^[0-9A-Za-z.]{1,64}$")]
LocaleText = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$")]
DetailValue = bool | Annotated[int, Field(ge=-(2**53), le=2**53)] | float | Annotated[str, Field(max_length=256)]


class RequestBody(BaseModel):
    """A body from outside: unknown fields are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class PlacementBody(RequestBody):
    """A slot and how many options it wants."""

    id: Slug
    count: Annotated[int, Field(ge=1, le=50)] = 1


class DecisionBody(RequestBody):
    """The question `what should this customer be offered here and now?`"""

    request_id: ClientId | None = Field(
        default=None, description="Makes the request idempotent: the same id gives the same answer for a while"
    )
    customer_id: CustomerKey
    channel: Slug
    placements: Annotated[tuple[PlacementBody, ...], Field(min_length=1, max_length=16, strict=False)]
    # A factory: pydantic copies a mutable default deeply, at twice the price of checking a whole body.
    context: Annotated[dict[AttributeName, AttributeValue], Field(max_length=64)] = Field(
        default_factory=dict, json_schema_extra={"default": {}}
    )
    locale: LocaleText | None = Field(default=None, description="Default: the strategy's first locale")
    allow_duplicates: bool = Field(default=False, description="One offer may fill several placements")
    timeout_ms: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS)] | None = Field(
        default=None, description="Time budget; what is late is answered degraded"
    )
    dry_run: bool = Field(default=False, description="Reserves and publishes nothing and adds `trace`")


class ResponseBody(RequestBody):
    """What the customer did with an option."""

    response_id: ClientId
    tracking_id: TrackingText
    outcome: Literal["impression", "click", "accept", "reject", "dismiss", "convert"]
    time: WireMoment | None = Field(default=None, description="When it happened; default: now")
    channel: Slug | None = Field(default=None, description="Must be the channel the option was offered in")
    detail: Annotated[dict[AttributeName, DetailValue], Field(max_length=50)] = {}


class FallbackShape(BaseModel):
    """What a placement shows when there is nothing to offer."""

    treatment: str
    content: dict[str, str]


class ReasonShape(BaseModel):
    """Why an option fits."""

    code: str
    text: str


class OptionShape(BaseModel):
    """One offered treatment. `score` is its priority: the expected value in minor units after weights and levers."""

    rank: int
    offer: str
    treatment: str
    tracking_id: str
    score: float
    propensity: float | None
    mandatory: bool
    expires_at: datetime
    content: dict[str, str]
    attributes: dict[str, str]
    script: str | None
    reasons: list[ReasonShape]
    disclosure: str | None = Field(description="What the law has said with the offer; null: nothing")


class PlacementShape(BaseModel):
    """Either `options`, never empty, or `fallback` with its cause."""

    id: str
    options: list[OptionShape] | None = None
    fallback: FallbackShape | None = None
    fallback_cause: str | None = None


class CandidateShape(BaseModel):
    """One candidate and its fate."""

    placement: str
    offer: str
    treatment: str
    outcome: Literal["offered", "ranked_lower", "rejected"]
    stage: str | None = None
    rule: str | None = None
    reason: str | None = None
    propensity: float | None = None
    context_weight: float | None = None
    value: int | None = None
    lever: float | None = None
    resource_cost: float | None = None
    priority: float | None = None
    selection_probability: float | None = None


class DecisionShape(BaseModel):
    """The answer to a decision request."""

    decision_id: str
    request_id: str | None
    customer_id: str
    time: datetime
    placements: list[PlacementShape]
    strategy_version: str
    models: dict[str, str]
    arm: str
    personalised: bool
    degraded: bool
    degraded_causes: list[str]
    feature_age_ms: int | None
    took_ms: float
    trace: list[CandidateShape] | None = Field(default=None, description="Every candidate; with dry_run only")


class RejectedShape(BaseModel):
    """One item that was not taken, by its position in the list sent."""

    index: int
    error: str


class UnsuitableShape(BaseModel):
    """An acceptance that was taken although its offer no longer suits the customer: it must not be carried out."""

    index: int
    code: str


class ResponsesTaken(BaseModel):
    """How many responses were new, how many had been taken before, and which were not taken."""

    accepted: int
    duplicates: int
    rejected: list[RejectedShape]
    unsuitable: list[UnsuitableShape] | None = Field(
        default=None, description="Only where there are any: acceptances of what no longer suits the customer"
    )


class EventsTaken(BaseModel):
    """How many events the bus has acknowledged, and which were not valid."""

    accepted: int
    rejected: list[RejectedShape]


class FieldErrorShape(BaseModel):
    """A field at fault."""

    path: str
    code: str
    message: str


class ProblemShape(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorShape] | None = None
