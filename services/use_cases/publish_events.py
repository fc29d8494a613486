"""Events of the bank from callers without Kafka: checked like those on the bus, published, acknowledged."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from event_schemas.codec import DecodeError, decode, encode
from event_schemas.envelope import epoch_ms
from event_schemas.topics import topic_for
from services.ports import Clock, EventPublisher, OutgoingEvent
from services.use_cases.event_batches import FUTURE_TOLERANCE_MS

BANK_PREFIX = "bank."
Sees = Callable[[str], Awaitable[bool]]
"""Whether the sender may speak of a customer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsTaken:
    """How many the bus has acknowledged, and which were refused (index, why)."""

    accepted: int
    rejected: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEvents:
    """Publishes the valid ones of a list of CloudEvents. Those of a time too far ahead of `clock` are refused, for the
    state builder would set them aside (None: any time may come, as in a replay)."""

    publisher: EventPublisher
    clock: Clock | None

    async def __call__(self, documents: Sequence[object], sees: Sees | None = None) -> EventsTaken:
        """Returns when the bus has acknowledged all that are valid and of customers that the sender `sees` (None: all
        of them). Raises BusUnavailable."""
        latest_ms = None if self.clock is None else self.clock.now_ms() + FUTURE_TOLERANCE_MS
        events, rejected = [], []
        for index, document in enumerate(documents):
            try:
                event = _outgoing(document, latest_ms)
            except DecodeError as error:
                rejected.append((index, str(error)))
                continue
            if sees is None or await sees(event.key):
                events.append(event)
            else:
                rejected.append((index, "subject: no customer of the sender"))
        if events:
            await self.publisher.publish(events)
        return EventsTaken(accepted=len(events), rejected=tuple(rejected))


def _outgoing(document: object, latest_ms: int | None) -> OutgoingEvent:
    """The event in its newest version. Raises DecodeError; this system's own events are nobody's to send."""
    try:
        event = decode(orjson.dumps(document))
    except TypeError as error:
        raise DecodeError("the event holds numbers too large to carry") from error
    if not event.type.startswith(BANK_PREFIX):
        raise DecodeError(f"type: only {BANK_PREFIX}* events can be sent here")
    if latest_ms is not None and epoch_ms(event.time) > latest_ms:
        raise DecodeError(f"time: lies more than {FUTURE_TOLERANCE_MS // 60_000} minutes ahead of our clock")
    return OutgoingEvent(topic=topic_for(event.type), key=event.subject, value=encode(event))
