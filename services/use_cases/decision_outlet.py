"""Where the records of triggered decisions go: kept aside as they are made, until whoever asked publishes them."""

from collections.abc import Iterable, Mapping, Sequence

import orjson

from services.ports import BusPosition, EventPublisher, OutgoingEvent

_MOST = 10_000


class DecisionOutlet:
    """Implements `ports.EventPublisher` for `MakeDecision`: nothing is lost in an outbox when the process ends, for a
    contact is published only after its record was acknowledged."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher
        self._records: dict[str, OutgoingEvent] = {}

    async def publish(self, events: Sequence[OutgoingEvent]) -> Sequence[BusPosition]:
        """Passes on. Raises BusUnavailable."""
        return await self._publisher.publish(events)

    def enqueue(self, event: OutgoingEvent) -> None:
        """Keeps the record of a decision."""
        self._records[orjson.loads(event.value)["id"]] = event

    def take(self, decision_ids: Iterable[str]) -> dict[str, OutgoingEvent]:
        """Hands out the records of these decisions that were made here."""
        return {id_: self._records.pop(id_) for id_ in decision_ids if id_ in self._records}

    def drop(self, decision_id: str) -> None:
        """Forgets a record: the decision of that id is another attempt's."""
        self._records.pop(decision_id, None)

    def put_back(self, records: Mapping[str, OutgoingEvent]) -> None:
        """Keeps again what could not be published; of too many the oldest go, for the store has them, too."""
        self._records = {**records, **self._records}
        for id_ in list(self._records)[: max(0, len(self._records) - _MOST)]:
            del self._records[id_]
