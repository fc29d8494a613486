"""The events of `nbo.outbound.v1`: a triggered decision for a channel to deliver, and its withdrawal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decision_engine.identifiers import CustomerId
from decision_engine.offers import LocalText
from decision_engine.triggers.definitions import Contact, Trigger
from decision_engine.triggers.firing import Firing, Overtaken
from event_schemas.codec import encode_trusted
from event_schemas.topics import OUTBOUND
from services.ports import OutgoingEvent
from services.use_cases.wire_time import rfc3339

OFFERED, CANCELLED = "nbo.outbound.offered", "nbo.outbound.cancelled"
SOURCE = "kairos"
RESPONSE = "response"
_OPTION_FIELDS = ("rank", "offer", "group", "treatment", "tracking_id", "score", "propensity", "content", "reasons")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What is to be delivered, besides the answer of the decision."""

    customer_id: CustomerId
    trigger: Trigger
    firing: Firing
    contact: Contact
    locale: str
    recipient: str | None
    grade: str | None = None
    """How much it is worth, as the trigger's `grade` says."""
    not_before_ms: int | None
    now_ms: int
    strategy_version: str | None = None
    """What decided it."""


def offered_event(delivery: Delivery, decision_id: str, options: Sequence[Mapping[str, object]]) -> OutgoingEvent:
    """The event of a firing: its id is the firing's, so that whoever sees it twice sees that it is one."""
    firing, contact = delivery.firing, delivery.contact
    data: dict[str, object] = {
        "decision_id": decision_id,
        "customer_id": delivery.customer_id,
        "trigger": firing.trigger,
        "title": _in_locale(delivery.trigger.title, delivery.locale),
        "caused_by": firing.cause,
        "channel": contact.channel,
        "placement": contact.placement,
        "locale": delivery.locale,
        "urgent": delivery.trigger.urgent,
        "wave": firing.wave,
        "expires_at": rfc3339(firing.expires_at_ms),
        "options": [_option(option) for option in options],
    }
    if delivery.strategy_version is not None:
        data["strategy_version"] = delivery.strategy_version
    if delivery.recipient is not None:
        data["recipient"] = delivery.recipient
    if delivery.grade is not None:
        data["grade"] = delivery.grade
    if told := {name: firing.fields[name] for name in delivery.trigger.tells if name in firing.fields}:
        data["event"] = told
    if delivery.not_before_ms is not None:
        data["not_before"] = rfc3339(delivery.not_before_ms)
    return _event(OFFERED, firing.id, delivery.customer_id, delivery.now_ms, data)


def cancelled_event(customer_id: CustomerId, overtaken: Overtaken, channel: str | None, now_ms: int) -> OutgoingEvent:
    """The withdrawal of a contact that was published. Its id follows from the contact's, so that it too is one."""
    data: dict[str, object] = {
        "outbound_id": overtaken.firing_id,
        "customer_id": customer_id,
        "trigger": overtaken.trigger,
        "reason": RESPONSE if overtaken.by == RESPONSE else "event",
        "time": rfc3339(overtaken.at_ms),
    }
    if overtaken.by != RESPONSE:
        data["caused_by"] = overtaken.by
    if channel is not None:
        data["channel"] = channel
    return _event(CANCELLED, f"{overtaken.firing_id}.cancelled", customer_id, now_ms, data)


def _option(option: Mapping[str, object]) -> dict[str, object]:
    chosen = {name: option[name] for name in _OPTION_FIELDS if option.get(name) is not None}
    chosen |= {name: option[name] for name in ("script", "disclosure") if option.get(name) is not None}
    return chosen


def _event(
    event_type: str, event_id: str, customer_id: CustomerId, now_ms: int, data: Mapping[str, object]
) -> OutgoingEvent:
    header = {"id": event_id, "source": SOURCE, "subject": customer_id, "time": rfc3339(now_ms)}
    return OutgoingEvent(topic=OUTBOUND, key=customer_id, value=encode_trusted(event_type, header, data))


def _in_locale(texts: LocalText, locale: str) -> str:
    return texts[locale] if locale in texts else next(iter(texts.values()), "")
