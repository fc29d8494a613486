"""Events of the bank from callers without Kafka: checked like those on the bus, published, acknowledged."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from event_schemas.codec import DecodeError, decode, encode
from event_schemas.topics import topic_for
from services.ports import EventPublisher, OutgoingEvent

BANK_PREFIX = "bank."


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsTaken:
    """How many the bus has acknowledged, and which were refused (index, why)."""

    accepted: int
    rejected: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishEvents:
    """Publishes the valid ones of a list of CloudEvents."""

    publisher: EventPublisher

    async def __call__(self, documents: Sequence[object]) -> EventsTaken:
        """Returns when the bus has acknowledged all that are valid. Raises BusUnavailable."""
        events, rejected = [], []
        for index, document in enumerate(documents):
            try:
                events.append(_outgoing(document))
            except DecodeError as error:
                rejected.append((index, str(error)))
        if events:
            await self.publisher.publish(events)
        return EventsTaken(accepted=len(events), rejected=tuple(rejected))


def _outgoing(document: object) -> OutgoingEvent:
    """The event in its newest version. Raises DecodeError; this system's own events are nobody's to send."""
    try:
        event = decode(orjson.dumps(document))
    except TypeError as error:
        raise DecodeError("the event holds numbers too large to carry") from error
    if not event.type.startswith(BANK_PREFIX):
        raise DecodeError(f"type: only {BANK_PREFIX}* events can be sent here")
    return OutgoingEvent(topic=topic_for(event.type), key=event.subject, value=encode(event))
