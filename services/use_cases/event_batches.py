"""Deliveries from the bus sorted into what each customer's state and ledger take, and what cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import update_from_event
from decision_engine.identifiers import CustomerId, TrackingId, key32
from decision_engine.outcomes import Outcome
from decision_engine.reservation import tracking_key
from event_schemas.codec import EVENT_TYPES, DecodeError, Event, decode
from event_schemas.envelope import epoch_ms
from event_schemas.profile import CustomerErased
from event_schemas.responses import ResponseRecorded
from event_schemas.topics import STATE_TOPICS, topic_for
from services.ports import ContactResponse, Delivery
from services.use_cases.response_scope import scoped_response_id

FUTURE_TOLERANCE_MS = 5 * 60_000
"""How far an event's time may lie ahead of the wall clock: clocks differ a little, and a wrong year must not stay in
a window for ever."""
_TOPIC_INDEX = {topic: index for index, topic in enumerate(STATE_TOPICS)}
_TOPIC_OF = {event_type: topic_for(event_type) for event_type in EVENT_TYPES}
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that cannot be applied: a code for metrics, and a sentence without the event's values."""

    delivery: Delivery
    reason: str
    message: str


@dataclass(slots=True)
class EventBatch:
    """What a batch of deliveries brings, each customer's part in the order of the log."""

    updates: dict[CustomerId, list[PositionedUpdate]] = field(default_factory=dict)
    responses: dict[CustomerId, list[ContactResponse]] = field(default_factory=dict)
    erased: dict[CustomerId, int] = field(default_factory=dict)
    """Customers erased, and when (epoch milliseconds)."""
    unreadable: list[Unreadable] = field(default_factory=list)
    newest_ms: dict[str, int] = field(default_factory=dict)
    """Newest event time of each topic."""
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    """For each topic and partition the next offset after this batch."""
    deliveries: dict[CustomerId, list[Delivery]] = field(default_factory=dict)
    """Where each customer's updates came from, for those that turn out impossible to fold."""


def read_batch(deliveries: Sequence[Delivery], latest_ms: int | None) -> EventBatch:
    """Decodes and groups. Events later than `latest_ms` are refused (None: any time may come, as in a replay)."""
    batch = EventBatch()
    for delivery in deliveries:
        try:
            _add(batch, delivery, latest_ms)
        except DecodeError as error:
            batch.unreadable.append(Unreadable(delivery, error.reason, str(error)[:_SHOWN]))
        except _Refused as error:
            batch.unreadable.append(Unreadable(delivery, error.reason, error.message))
        batch.positions[delivery.topic, delivery.partition] = delivery.offset + 1
    return batch


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message


def _add(batch: EventBatch, delivery: Delivery, latest_ms: int | None) -> None:
    if delivery.value is None:
        raise _Refused("no_value", "the record has no value; state topics carry no tombstones")
    event = decode(delivery.value, delivery.headers)
    if _TOPIC_OF[event.type] != delivery.topic:
        raise _Refused("wrong_topic", f"type: {event.type} does not travel on this topic")
    customer_id = _customer(event, delivery)
    update = update_from_event(event)
    if latest_ms is not None and update.time_ms > latest_ms:
        raise _Refused("future", f"time: lies more than {FUTURE_TOLERANCE_MS // 60_000} minutes ahead of our clock")
    index = _TOPIC_INDEX[delivery.topic]
    batch.updates.setdefault(customer_id, []).append(PositionedUpdate(index, delivery.offset, update))
    batch.deliveries.setdefault(customer_id, []).append(delivery)
    if update.time_ms > batch.newest_ms.get(delivery.topic, 0):
        batch.newest_ms[delivery.topic] = update.time_ms
    if isinstance(event, ResponseRecorded):
        batch.responses.setdefault(customer_id, []).append(_response(event))
    elif isinstance(event, CustomerErased):
        batch.erased[customer_id] = max(update.time_ms, batch.erased.get(customer_id, 0))


def _customer(event: Event, delivery: Delivery) -> CustomerId:
    """The subject, which must be the key: only then does one partition hold the customer's events in order."""
    if delivery.key is None or delivery.key != event.subject.encode():
        raise _Refused("key_mismatch", "the record's key is not the event's subject")
    return CustomerId(event.subject)


def _response(event: ResponseRecorded) -> ContactResponse:
    data = event.data
    return ContactResponse(
        response_id=scoped_response_id(event.source, data.response_id),
        tracking=tracking_key(TrackingId(data.tracking_id)),
        outcome=Outcome(data.outcome),
        at_ms=epoch_ms(data.time),
        offer=key32(data.offer),
        group=key32(data.group),
        issue=key32(data.issue),
        channel=key32(data.channel),
    )
