"""What could not be read goes to a topic of its own, with reason and origin, before its position is passed."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

import orjson

from event_schemas.topics import DEAD_LETTERS
from services.ports import BusUnavailable, Delivery, EventPublisher, Metrics, OutgoingEvent, ShellError
from services.use_cases.event_batches import Unreadable

EVENT_TYPE = "nbo.dead_letter.recorded"
MAX_PAYLOAD_BYTES = 256 * 1024
"""So much of the record is kept, for repair; the hash covers all of it."""


class DeadLettersRefused(ShellError):
    """Unreadable records could not be set aside, so their positions must not be passed."""


class DeadLetters:
    """Sets unreadable records aside on the bus."""

    def __init__(self, publisher: EventPublisher, metrics: Metrics) -> None:
        self._publisher = publisher
        self._metrics = metrics

    async def publish(self, unreadable: Sequence[Unreadable]) -> None:
        """Returns when the bus has acknowledged them all. Raises DeadLettersRefused."""
        if not unreadable:
            return
        try:
            await self._publisher.publish([dead_letter(u) for u in unreadable])
        except BusUnavailable as error:
            first = unreadable[0].delivery
            raise DeadLettersRefused(
                f"{len(unreadable)} unreadable records could not be written to {DEAD_LETTERS}, the first at "
                f"{first.topic}/{first.partition} offset {first.offset}; reading stops before them: {error}"
            ) from error
        for one in unreadable:
            self._metrics.count("events_dead_lettered_total", reason=one.reason)


def dead_letter(unreadable: Unreadable, source: str = "kairos/state-builder", whose: str = "") -> OutgoingEvent:
    """The dead letter of a record. Its id is the record's origin, so that a repeat is seen as one; with `whose` that of
    one reader among several, which names it."""
    delivery = unreadable.delivery
    origin = f"{delivery.topic}/{delivery.partition}/{delivery.offset}"
    event = {
        "specversion": "1.0",
        "id": f"{origin}/{whose}" if whose else origin,
        "type": EVENT_TYPE,
        "source": source,
        "subject": origin,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "topic": delivery.topic,
            "partition": delivery.partition,
            "offset": delivery.offset,
            "reason": unreadable.reason,
            "message": unreadable.message,
            **_payload(delivery),
        },
    }
    key = (delivery.key or b"").decode(errors="replace") or origin
    return OutgoingEvent(topic=DEAD_LETTERS, key=key, value=orjson.dumps(event))


def _payload(delivery: Delivery) -> dict[str, object]:
    """The record as it came, as far as it is kept."""
    value = delivery.value or b""
    return {
        "key_base64": None if delivery.key is None else b64encode(delivery.key[:1024]).decode(),
        "headers": [[name[:256], b64encode(text[:1024]).decode()] for name, text in delivery.headers[:50]],
        "payload_base64": None if delivery.value is None else b64encode(value[:MAX_PAYLOAD_BYTES]).decode(),
        "payload_bytes": len(value),
        "payload_truncated": len(value) > MAX_PAYLOAD_BYTES,
        "sha256": sha256(value).hexdigest(),
    }
