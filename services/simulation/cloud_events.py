"""CloudEvents as the simulated banks write them: structured JSON with times in UTC, ready for the bus."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from event_schemas.codec import encode_trusted
from event_schemas.topics import topic_for
from services.ports import OutgoingEvent

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event and its own time, epoch milliseconds, by which streams are ordered and replays paced."""

    at_ms: int
    event: OutgoingEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHead:
    """Everything of a CloudEvent but its data. The id is deterministic, so publishing again changes nothing."""

    id: str
    type: str
    source: str
    subject: str
    at_ms: int


def cloud_event(head: EventHead, data: Mapping[str, Json]) -> TimedEvent:
    """The event as bytes under its topic, keyed by customer."""
    header: dict[str, str | datetime] = {
        "id": head.id,
        "source": head.source,
        "subject": head.subject,
        "time": rfc3339(head.at_ms),
    }
    value = encode_trusted(head.type, header, data)
    return TimedEvent(head.at_ms, OutgoingEvent(topic=topic_for(head.type), key=head.subject, value=value))


def rfc3339(at_ms: int) -> str:
    """UTC text with milliseconds where there are any: `1993-07-05T10:12:00Z`."""
    seconds, millis = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis:03d}Z" if millis else f"{text}Z"


def epoch_ms(moment: datetime) -> int:
    """Epoch milliseconds of an aware moment."""
    return round(moment.timestamp() * 1000)
