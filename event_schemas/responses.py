"""What a person did with an option: `nbo.response.recorded`."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import (
    AttributeName,
    AttributeValue,
    CustomerEnvelope,
    CustomerKey,
    DottedName,
    Identifier,
    Moment,
    OwnData,
    Slug,
)

ResponseOutcome = Literal["impression", "click", "accept", "reject", "dismiss", "convert"]


class Response(OwnData):
    """One outcome of one option. The event's id is the response id, so that a repeat is seen as one."""

    response_id: Identifier
    tracking_id: Identifier
    decision_id: Identifier
    customer_id: CustomerKey
    offer: Slug
    group: Slug
    issue: Slug
    treatment: DottedName
    channel: Slug
    """Where the response happened, which may differ from where the option was shown."""
    placement: Slug
    outcome: ResponseOutcome
    time: Moment
    decided_at: Moment
    detail: Annotated[dict[AttributeName, AttributeValue], Field(max_length=50)] = Field(default_factory=dict)


class ResponseRecorded(CustomerEnvelope):
    """A response was taken."""

    type: Literal["nbo.response.recorded"] = "nbo.response.recorded"
    data: Response
