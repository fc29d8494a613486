"""What a contact led to: `nbo.conversion.attributed`, with the share of credit of each touch before it."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import (
    CustomerEnvelope,
    CustomerKey,
    DottedName,
    Identifier,
    Moment,
    OwnData,
    ShortText,
    Slug,
    Whole,
)

Share = Annotated[float, Field(ge=0, le=1)]
TouchKind = Literal["offered", "seen", "engaged"]


class ConversionCause(OwnData):
    """What shows the conversion: a response, or an event of the bank's own."""

    type: Identifier
    """The event's type; `nbo.response.recorded` for a response."""
    id: Annotated[str, Field(min_length=1, max_length=512)]
    """The response id, or `<source>/<id>` of the event."""
    outcome: Slug | None = None
    """Of a response: accept or convert."""
    tracking_id: Identifier | None = None
    """The option a response answers."""


class CreditRecord(OwnData):
    """One touch and its share of the conversion, under each model. The shares of a model sum to one."""

    tracking_id: Identifier
    decision_id: Identifier
    offer: Slug
    group: Slug | None = None
    issue: Slug | None = None
    treatment: DottedName
    channel: Slug
    placement: Slug
    arm: Slug | None = None
    """The arm of the standing experiment the decision was made in; absent where the decision is not known."""
    experiments: dict[Slug, Slug] = Field(default_factory=dict)
    touch: TouchKind
    """Whether it counts as offered (a lead), seen, or engaged with (clicked or accepted)."""
    touched_at: Moment
    last_touch: Share
    shared: Share
    value: Whole
    """Worth of the whole conversion as this touch's offer has it, minor units; times the share it is the credit."""


class Conversion(OwnData):
    """A conversion and who gets the credit. The highest `revision` of a `conversion_id` is the one that counts."""

    conversion_id: Identifier
    revision: Whole
    customer_id: CustomerKey
    time: Moment
    """When the customer converted, not when this was found out."""
    cause: ConversionCause
    counted: bool
    """False when an earlier conversion of the same is known now: this one is no further one."""
    superseded_by: Identifier | None = None
    """Id of that earlier conversion."""
    shared_model: Literal["linear", "time_decay", "position"]
    currency: ShortText
    strategy_version: Identifier
    credits: tuple[CreditRecord, ...] = ()


class ConversionAttributed(CustomerEnvelope):
    """A conversion was attributed, or attributed anew after something came to light. The id is conversion and
    revision."""

    type: Literal["nbo.conversion.attributed"] = "nbo.conversion.attributed"
    data: Conversion
