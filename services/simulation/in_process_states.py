"""Customer states held in this process: the same fold as the state builder's, applied when a state is asked for."""

from collections.abc import Iterable

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import fold
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import topic_index, update_from_event
from event_schemas.codec import decode
from services.simulation.cloud_events import TimedEvent


class InProcessStates:
    """States by customer. Events wait undecoded until their customer is read, so whoever is never read costs little."""

    def __init__(self, features: CompiledFeatures) -> None:
        self._features = features
        self._states: dict[str, bytes] = {}
        self._waiting: dict[str, list[TimedEvent]] = {}
        self.folded = 0
        """Events applied so far."""

    def add(self, events: Iterable[TimedEvent]) -> None:
        """Takes events in; they count for readings at or after their time."""
        for timed in events:
            self._waiting.setdefault(timed.event.key, []).append(timed)

    def read(self, customer_id: str, now_ms: int) -> CustomerSnapshot:
        """The customer as of now, from all events up to now."""
        waiting = sorted(self._waiting.pop(customer_id, []), key=lambda timed: timed.at_ms)
        due = [timed for timed in waiting if timed.at_ms <= now_ms]
        if len(due) < len(waiting):
            self._waiting[customer_id] = waiting[len(due) :]
        if due:
            self._fold(customer_id, due)
        return read_snapshot(self._features, self._states.get(customer_id), now_ms)

    def _fold(self, customer_id: str, due: list[TimedEvent]) -> None:
        """Positions are given in the order of folding, as a log would."""
        updates = []
        for timed in due:
            self.folded += 1
            update = update_from_event(decode(timed.event.value))
            updates.append(PositionedUpdate(topic_index(timed.event.topic), self.folded, update))
        self._states[customer_id] = fold(self._features, self._states.get(customer_id), updates).value
