"""What stands on the outbound topic, as those who deliver it look at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.ports import Delivery, ShellError
from services.use_cases.wire_time import epoch_ms

OFFERED = "nbo.outbound.offered"
CANCELLED = "nbo.outbound.cancelled"


class OutboundUnreadable(ShellError):
    """A record of the outbound topic that says neither what to deliver nor what to leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundMessage:
    """An offer to deliver (`is_cancelled_notice` false), or the notice that one is overtaken.

    `id` is the event's own, `outbound_id` the offer's: the same for an offer itself. `value` is the event as published,
    structured. `expires_ms` None never expires; a notice may come without a channel.
    """

    id: str
    outbound_id: str
    is_cancelled_notice: bool
    customer_id: str
    channel: str | None
    recipient: str | None
    urgent: bool
    expires_ms: int | None
    at_ms: int
    value: bytes
    data: bytes
    offers: tuple[tuple[str, str | None], ...] = ()
    """What it offers: offer and its group (None: the event does not say)."""
    strategy_version: str | None = None
    """What decided it; None: the event does not say."""

    def is_expired(self, now_ms: int) -> bool:
        """Whether it is too late to deliver."""
        return self.expires_ms is not None and self.expires_ms <= now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came of one try to deliver. `outcome` is a word for metrics: ok, status_500, timeout, … Only an answer of
    success is `taken`; `is_final` when the receiver never wants it, `retry_after_s` the pause it asked for."""

    taken: bool
    outcome: str
    retry_after_s: float | None = None
    is_final: bool = False


def read_outbound(delivery: Delivery) -> OutboundMessage | None:
    """The message; None for an event of another type, of which newer releases may have some. Raises
    OutboundUnreadable, naming no values."""
    value = delivery.value
    if value is None:
        raise OutboundUnreadable("the record has no value")
    try:
        event = orjson.loads(value)
        if event["type"] not in (OFFERED, CANCELLED):
            return None
        return _message(event, value)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise OutboundUnreadable(f"no outbound event: {type(error).__name__}") from error


def _message(event: Mapping[str, Any], value: bytes) -> OutboundMessage:
    data, identity = event["data"], _text(event, "id")
    notice = event["type"] == CANCELLED
    expires, recipient = data.get("expires_at"), data.get("recipient")
    outbound_id = _text(data, "outbound_id") if notice else identity
    return OutboundMessage(
        id=identity,
        outbound_id=outbound_id,
        is_cancelled_notice=notice,
        customer_id=_text(event, "subject"),
        channel=None if notice and data.get("channel") is None else _text(data, "channel"),
        recipient=None if recipient is None else str(recipient),
        urgent=data.get("urgent") is True,
        expires_ms=None if expires is None else epoch_ms(expires),
        at_ms=epoch_ms(event["time"]),
        value=value,
        data=orjson.dumps({"outbound_id": outbound_id, "time": event["time"], **data}),
        offers=() if notice else tuple((_text(option, "offer"), option.get("group")) for option in data["options"]),
        strategy_version=data.get("strategy_version"),
    )


def _text(mapping: Mapping[str, Any], name: str) -> str:
    text = mapping[name]
    if not isinstance(text, str) or not text:
        raise TypeError(name)
    return text
