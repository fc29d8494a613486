"""Customers' archived events, lined up in the order in which they count.

An event counts from its own time on, and not before the events that precede it in its log.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from decision_engine.features.update import Update
from decision_engine.features.updates import update_from_plain
from event_schemas.codec import DecodeError
from event_schemas.plain import PlainEvent, decode_plain
from services.simulation.recorded_day.sorted_archive import ArchivedRow


class ArchivedEvent:
    """An event that stays text until somebody asks for it, and is read once for all who do."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes | PlainEvent | Update) -> None:
        self._content: bytes | PlainEvent | Update | None = content

    def update(self) -> Update | None:
        """What it changes; None where it cannot be read, as the state builder sets it aside."""
        found = self._content
        if found is None or isinstance(found, Update):
            return found
        try:
            found = update_from_plain(decode_plain(found) if isinstance(found, bytes) else found)
        except DecodeError:
            found = None
        self._content = found
        return found


@dataclass(slots=True)
class CustomerEvents:
    """One customer's events in the order in which they count."""

    times: list[int]
    topics: list[int]
    """Each event's topic, by its place in `STATE_TOPICS`."""
    events: list[ArchivedEvent]

    def only(self, topics: Container[int]) -> "CustomerEvents":
        """Those of some topics, and the first of all, which makes the customer known."""
        kept = [place for place, topic in enumerate(self.topics) if place == 0 or topic in topics]
        return CustomerEvents(
            [self.times[n] for n in kept], [self.topics[n] for n in kept], [self.events[n] for n in kept]
        )


def events_by_customer(
    rows: Sequence[ArchivedRow], decoded: Mapping[bytes, PlainEvent] | None = None
) -> dict[str, CustomerEvents]:
    """Lines the rows up; they come topic by topic, each log in its order. `decoded` are events that have been read
    already, by their text."""
    known = decoded or {}
    newest: dict[tuple[str, int], int] = {}
    entries: dict[str, list[tuple[int, int, bytes]]] = {}
    for row in rows:
        log = (row.subject, row.topic)
        counts_from = newest[log] = max(row.time_ms, newest.get(log, row.time_ms))
        entries.setdefault(row.subject, []).append((counts_from, row.topic, row.value))
    found = {}
    for customer, mine in entries.items():
        mine.sort(key=lambda entry: entry[:2])  # stable, so that each log keeps its order
        times, topics, values = zip(*mine, strict=True)
        events = [ArchivedEvent(known.get(value, value)) for value in values]
        found[customer] = CustomerEvents(list(times), list(topics), events)
    return found
