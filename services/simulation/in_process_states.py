"""Customer states held in this process: the same fold as the state builder's, applied when a state is asked for."""

from collections.abc import Iterable, Mapping, Sequence

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.fold import fold
from decision_engine.features.linked import Link, LinkKind, LinkRef
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate
from decision_engine.features.updates import topic_index, update_from_event
from decision_engine.identifiers import CustomerId
from decision_engine.strategy import Strategy
from event_schemas.codec import decode
from event_schemas.topics import PROFILE_UPDATES
from services.simulation.cloud_events import TimedEvent
from services.use_cases.linked_customers import combine_links, linked_refs, memberships


class InProcessStates:
    """States by customer. Events wait undecoded until their customer is read, so whoever is never read costs little."""

    def __init__(self, features: CompiledFeatures, strategy: Strategy | None = None) -> None:
        self._features = features
        self._strategy = strategy
        """Whose links are followed; None follows none."""
        self._states: dict[str, bytes] = {}
        self._waiting: dict[str, list[TimedEvent]] = {}
        self._members: dict[tuple[str, str], dict[str, int]] = {}
        """By link and value who said to belong there, and when last."""
        self.folded = 0
        """Events applied so far."""

    def add(self, events: Iterable[TimedEvent]) -> None:
        """Takes events in; they count for readings at or after their time."""
        for timed in events:
            self._waiting.setdefault(timed.event.key, []).append(timed)
            if self._strategy is not None and self._strategy.links and timed.event.topic == PROFILE_UPDATES:
                self._note_members(self._strategy.links, timed)

    def read(self, customer_id: str, now_ms: int) -> CustomerSnapshot:
        """The customer as of now, from all events up to now, with what household and company give."""
        snapshot = self._read_alone(customer_id, now_ms)
        if self._strategy is None or not (refs := linked_refs(self._strategy, snapshot)):
            return snapshot
        others = [[self._read_alone(other, now_ms) for other in self._others(ref, customer_id)] for ref in refs]
        return combine_links(self._strategy, snapshot, refs, others)

    def copied(self) -> "InProcessStates":
        """The same states, which go their own way from now on."""
        other = InProcessStates(self._features, self._strategy)
        other.take_over(self._states, self._waiting, self._members)
        other.folded = self.folded
        return other

    def take_over(
        self,
        states: Mapping[str, bytes],
        waiting: Mapping[str, Sequence[TimedEvent]],
        members: Mapping[tuple[str, str], Mapping[str, int]],
    ) -> None:
        """Begins with these instead of nothing."""
        self._states = dict(states)
        self._waiting = {customer: list(events) for customer, events in waiting.items()}
        self._members = {link: dict(said) for link, said in members.items()}

    def _note_members(self, links: Sequence[Link], timed: TimedEvent) -> None:
        update = update_from_event(decode(timed.event.value))
        positioned = PositionedUpdate(topic_index(timed.event.topic), 0, update)
        for said in memberships(links, {CustomerId(timed.event.key): [positioned]}):
            self._members.setdefault((said.link, said.value), {})[said.customer_id] = said.at_ms

    def _others(self, ref: LinkRef, customer_id: str) -> list[str]:
        if ref.link.kind is LinkKind.TO:
            return [ref.value]
        said = self._members.get((ref.link.name, ref.value), {})
        return sorted((other for other in said if other != customer_id), key=lambda other: (-said[other], other))

    def _read_alone(self, customer_id: str, now_ms: int) -> CustomerSnapshot:
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
