"""Writes the simulated bank's events by the ten thousand: constant text once, numbers by substitution.

The texts contain only words of our own vocabulary and numbers, so no escaping is needed; a test decodes them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from event_schemas.catalogue import VERSIONS
from event_schemas.envelope import schema_uri
from event_schemas.topics import topic_for
from services.ports import OutgoingEvent
from services.simulation.cloud_events import TimedEvent
from services.simulation.population import Ints

SOURCES = {"bank.transaction.posted": "core-banking", "bank.business.signal": "signal-desk"}
DEFAULT_SOURCE = "bank"
DAY_SECONDS = 86_400
_CLOCK = tuple(f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z" for s in range(DAY_SECONDS))
_NO_HEADERS: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has its id: second of the local day, type, customer id, JSON of its data."""

    second: int
    type: str
    subject: str
    data: str


class DayWriter:
    """Turns one local day's drafts into events. Ids are `<prefix>-<day>-<place>`, the same in every pass."""

    def __init__(self, day: date, zone: ZoneInfo, prefix: str) -> None:
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        self.start_ms = int(midnight.timestamp()) * 1000
        self._offset = midnight.hour * 3600 + midnight.minute * 60
        self._dates = (midnight.date().isoformat(), (midnight.date() + timedelta(days=1)).isoformat())
        self._prefix = f"{prefix}-{day:%Y%m%d}"

    def write(self, drafts: list[Draft], order: Ints) -> list[TimedEvent]:
        """The drafts in the given order, as events."""
        heads = {kind: _head(kind) for kind in {draft.type for draft in drafts}}
        topics = {kind: topic_for(kind) for kind in heads}
        dates, offset, start, prefix = self._dates, self._offset, self.start_ms, self._prefix
        events: list[TimedEvent] = []
        for place, index in enumerate(order.tolist()):
            draft = drafts[index]
            late, clock = divmod(offset + draft.second, DAY_SECONDS)
            value = (
                f'{heads[draft.type]}"id":"{prefix}-{place}","subject":"{draft.subject}",'
                f'"time":"{dates[late]}{_CLOCK[clock]}","data":{draft.data}}}'
            ).encode()
            outgoing = OutgoingEvent(topic=topics[draft.type], key=draft.subject, value=value, headers=_NO_HEADERS)
            events.append(TimedEvent(start + draft.second * 1000, outgoing))
        return events


def _head(event_type: str) -> str:
    uri = schema_uri(event_type, VERSIONS[event_type])
    source = SOURCES.get(event_type, DEFAULT_SOURCE)
    return (
        f'{{"specversion":"1.0","type":"{event_type}","datacontenttype":"application/json",'
        f'"dataschema":"{uri}","source":"{source}",'
    )
