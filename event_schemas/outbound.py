"""Triggered decisions for the channels to deliver, and their withdrawal: `nbo.outbound.*`."""

from typing import Annotated, Literal

from pydantic import Field

from event_schemas.envelope import (
    AttributeName,
    AttributeValue,
    CustomerEnvelope,
    CustomerKey,
    DottedName,
    Finite,
    Identifier,
    LongText,
    Moment,
    OwnData,
    ShortText,
    Slug,
    Whole,
)


class OutboundReason(OwnData):
    """A reason code with its words in the message's locale."""

    code: Identifier
    text: LongText


class OutboundOption(OwnData):
    """One option to deliver."""

    rank: Whole
    offer: Slug
    group: Slug | None = None
    """The offer's group, by which it can be stopped; absent in events of earlier releases."""
    treatment: DottedName
    tracking_id: Identifier
    score: Finite | None = None
    propensity: Finite | None = None
    content: dict[Slug, LongText]
    script: LongText | None = None
    disclosure: LongText | None = None
    """What the law has whoever makes the offer say with it."""
    reasons: tuple[OutboundReason, ...] = ()
    expires_at: Moment | None = None


class Outbound(OwnData):
    """A decision nobody asked for: a trigger did, and a channel is to deliver it."""

    decision_id: Identifier
    strategy_version: Identifier | None = None
    """What decided; absent in events of earlier releases."""
    customer_id: CustomerKey
    trigger: Slug
    title: ShortText | None = None
    """What the trigger is called, in the message's locale."""
    caused_by: Identifier | None = None
    """What set it off: the key of an event, or `timer:` and the key of the event that armed it."""
    channel: Slug
    placement: Slug
    locale: ShortText
    recipient: ShortText | None = None
    """Who of the bank is to get it, such as the owner manager; absent: whoever serves the channel."""
    urgent: bool = False
    """To be delivered before everything else."""
    grade: ShortText | None = None
    """How much it is worth to follow up, as the trigger grades it: A before B before C before D."""
    event: Annotated[dict[AttributeName, AttributeValue], Field(max_length=8)] = Field(default_factory=dict)
    """Why now: those fields of the event behind the trigger that it tells."""
    wave: Whole = 0
    """0 for the first contact, then the number of the further try."""
    not_before: Moment | None = None
    expires_at: Moment | None = None
    options: tuple[OutboundOption, ...]


class OutboundCancellation(OwnData):
    """A contact that was published and is overtaken: a channel that has not delivered it leaves it."""

    outbound_id: Identifier
    """The event id of the `nbo.outbound.offered` concerned."""
    decision_id: Identifier | None = None
    customer_id: CustomerKey
    trigger: Slug
    channel: Slug | None = None
    reason: Literal["event", "response"]
    """Whether an event of the trigger's `cancelled_by`, or the customer's own response, overtook it."""
    caused_by: Identifier | None = None
    """The type of that event."""
    time: Moment
    """When it was overtaken."""


class OutboundOffered(CustomerEnvelope):
    """A triggered decision is ready for delivery."""

    type: Literal["nbo.outbound.offered"] = "nbo.outbound.offered"
    data: Outbound


class OutboundCancelled(CustomerEnvelope):
    """A triggered decision is overtaken and not to be delivered any more."""

    type: Literal["nbo.outbound.cancelled"] = "nbo.outbound.cancelled"
    data: OutboundCancellation
