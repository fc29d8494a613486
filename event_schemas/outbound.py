"""Triggered decisions for the channels to deliver: `nbo.outbound.offered`."""

from typing import Literal

from event_schemas.envelope import (
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
    treatment: DottedName
    tracking_id: Identifier
    score: Finite | None = None
    propensity: Finite | None = None
    content: dict[Slug, LongText]
    script: LongText | None = None
    reasons: tuple[OutboundReason, ...] = ()
    expires_at: Moment | None = None


class Outbound(OwnData):
    """A decision nobody asked for: a trigger did, and a channel is to deliver it."""

    decision_id: Identifier
    customer_id: CustomerKey
    trigger: Slug
    caused_by: Identifier | None = None
    """Id of the event that set it off."""
    channel: Slug
    placement: Slug
    locale: ShortText
    not_before: Moment | None = None
    expires_at: Moment | None = None
    options: tuple[OutboundOption, ...]


class OutboundOffered(CustomerEnvelope):
    """A triggered decision is ready for delivery."""

    type: Literal["nbo.outbound.offered"] = "nbo.outbound.offered"
    data: Outbound
