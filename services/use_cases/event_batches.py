"""Deliveries from the bus sorted into what each customer's state and ledger take, and what cannot be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import update_from_plain
from decision_engine.identifiers import CustomerId, TrackingId, key32
from decision_engine.outcomes import Outcome
from decision_engine.reservation import tracking_key
from event_schemas.codec import EVENT_TYPES, DecodeError
from event_schemas.envelope import epoch_ms
from event_schemas.plain import PlainEvent, decode_plain
from event_schemas.topics import STATE_TOPICS, topic_for
from services.ports import ContactResponse, Delivery
from services.use_cases.firing_cases import Watched
from services.use_cases.response_scope import scoped_response_id

FUTURE_TOLERANCE_MS = 5 * 60_000
"""How far an event's time may lie ahead of its arrival: clocks differ a little, and a wrong year must not stay in a
window for ever."""
FROM_THE_FUTURE = f"time: lies more than {FUTURE_TOLERANCE_MS // 60_000} minutes ahead of its arrival on the bus"
_TOPIC_INDEX = {topic: index for index, topic in enumerate(STATE_TOPICS)}
_TOPIC_OF = {event_type: topic_for(event_type) for event_type in EVENT_TYPES}
CUSTOMER_ERASED, RESPONSE_RECORDED = "bank.customer.erased", "nbo.response.recorded"
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that cannot be applied: a code for metrics, and a sentence without the event's values."""

    delivery: Delivery
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Of a topic partition: the triggers have seen the log up to `since`; up to `until` states may hold events that no
    trigger has seen, because whoever folded them contacts nobody. Both are exclusive."""

    since: int
    until: int


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
    deliveries: Sequence[Delivery] = ()
    """All that came, for those that turn out impossible to fold."""
    watched: Mapping[CustomerId, Watched] = field(default_factory=dict)
    """Customers whose triggers the batch concerns."""
    memories: dict[CustomerId, bytes | None] = field(default_factory=dict)
    """Their trigger memories as last read."""
    unmatched: Mapping[tuple[str, int], Unmatched] = field(default_factory=dict)
    """Topic partitions where states and triggers have not come equally far."""

    def deliveries_of(self, customer_id: CustomerId) -> list[Delivery]:
        """Where the customer's updates came from."""
        unreadable, key = {id(one.delivery) for one in self.unreadable}, customer_id.encode()
        return [one for one in self.deliveries if one.key == key and id(one) not in unreadable]


def latest_ms(delivery: Delivery, now_ms: int) -> int:
    """Up to when what a record tells may have happened. Its own arrival counts, not the moment it is read: what was
    refused would be taken when the log is read again, after the store has lost its states. A record without a time of
    its own, or with one that is still to come, is held against our clock."""
    arrived_ms = delivery.timestamp_ms
    return (arrived_ms if 0 < arrived_ms < now_ms else now_ms) + FUTURE_TOLERANCE_MS


def read_batch(deliveries: Sequence[Delivery], now_ms: int | None) -> EventBatch:
    """Decodes and groups. By the clock's `now_ms` events from the future are refused (`latest_ms`); None: any time may
    come, as in a replay."""
    batch = EventBatch(deliveries=deliveries)
    for delivery in deliveries:
        try:
            _add(batch, delivery, now_ms)
        except DecodeError as error:
            batch.unreadable.append(Unreadable(delivery, error.reason, str(error)[:_SHOWN]))
        except _Refused as error:
            batch.unreadable.append(Unreadable(delivery, error.reason, error.message))
    batch.positions = {(delivery.topic, delivery.partition): delivery.offset + 1 for delivery in deliveries}
    return batch


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message


def _add(batch: EventBatch, delivery: Delivery, now_ms: int | None) -> None:
    topic, value = delivery.topic, delivery.value
    if value is None:
        raise _Refused("no_value", "the record has no value; state topics carry no tombstones")
    event = decode_plain(value, delivery.headers)
    event_type, _, _, subject, time_ms, _ = event
    if _TOPIC_OF.get(event_type) != topic:
        raise _Refused("wrong_topic", f"type: {event_type} does not travel on this topic")
    # Only where the subject is the key does one partition hold the customer's events in order.
    if delivery.key != subject.encode():
        raise _Refused("key_mismatch", "the record's key is not the event's subject")
    if now_ms is not None and time_ms > latest_ms(delivery, now_ms):
        raise _Refused("future", FROM_THE_FUTURE)
    customer_id = CustomerId(subject)
    positioned = PositionedUpdate(_TOPIC_INDEX[topic], delivery.offset, update_from_plain(event))
    if (updates := batch.updates.get(customer_id)) is None:
        batch.updates[customer_id] = [positioned]
    else:
        updates.append(positioned)
    if time_ms > batch.newest_ms.get(topic, 0):
        batch.newest_ms[topic] = time_ms
    if event_type == RESPONSE_RECORDED:
        batch.responses.setdefault(customer_id, []).append(_response(event))
    elif event_type == CUSTOMER_ERASED:
        batch.erased[customer_id] = max(time_ms, batch.erased.get(customer_id, 0))


def _response(event: PlainEvent) -> ContactResponse:
    data = cast("Mapping[str, str]", event.data)
    return ContactResponse(
        response_id=scoped_response_id(event.source, data["response_id"]),
        tracking=tracking_key(TrackingId(data["tracking_id"])),
        outcome=Outcome(data["outcome"]),
        at_ms=epoch_ms(cast("Mapping[str, datetime]", event.data)["time"]),
        offer=key32(data["offer"]),
        group=key32(data["group"]),
        issue=key32(data["issue"]),
        channel=key32(data["channel"]),
    )
