"""Matching: memory x updates -> memory, and what fires. Pure: the same memory, steps and moments give the same bytes.

However the events are split over calls, and whether the memory went through its bytes in between, the same fires, as
long as `now_ms` never goes back.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from decision_engine.customer import CustomerSnapshot
from decision_engine.identifiers import CustomerId, key64
from decision_engine.triggers.compiled import (
    CANCELS,
    CUSTOMER_ERASED,
    CompiledTrigger,
    CompiledTriggers,
    answered_decision,
    shared_key,
    withdrawn_purpose,
)
from decision_engine.triggers.contacts import Contacts
from decision_engine.triggers.firing import Advanced, Contacted, PendingFiring
from decision_engine.triggers.memory import Memory
from decision_engine.triggers.memory_codec import MemoryUnreadable, decode_memory, encode_memory, with_writes
from decision_engine.triggers.moments import Moments
from decision_engine.triggers.progress import Progress, Step

__all__ = ["Step", "conclude", "match", "note_intent", "pending", "planned_ms", "wake"]


def match(
    triggers: CompiledTriggers, customer_id: CustomerId, memory: bytes | None, steps: Sequence[Step], now_ms: int
) -> Advanced:
    """Takes the events in the order given, but those the memory is past. What fires is pending in the value until it is
    concluded. Timers are not looked at: whether the event that would stop them stands in the log already, only `wake`
    can know."""
    advancing = _Advancing(triggers, customer_id, memory, now_ms)
    for step in steps:
        advancing.take(step)
    return advancing.result()


def wake(
    triggers: CompiledTriggers,
    customer_id: CustomerId,
    memory: bytes | None,
    now_ms: int,
    snapshot: Callable[[], CustomerSnapshot],
) -> Advanced:
    """Fires the absences, moments and planned waves that are due. To be called when all events known so far are
    matched."""
    advancing = _Advancing(triggers, customer_id, memory, now_ms)
    advancing.progress.fire_absences(snapshot)
    advancing.moments.fire(snapshot)
    advancing.contacts.fire_waves()
    return advancing.result()


def pending(triggers: CompiledTriggers, memory: bytes | None) -> tuple[PendingFiring, ...]:
    """The firings that have not been concluded, in the order they fired."""
    contacts = _Advancing(triggers, None, memory, 0).contacts
    return tuple(PendingFiring(firing=firing, intent=contact.intent) for contact, firing in contacts.pending())


def note_intent(triggers: CompiledTriggers, memory: bytes, firing_ids: Collection[str], intent: bytes) -> Advanced:
    """Notes with pending firings what must be known to publish them once; ids that are not pending are passed over."""
    advancing = _Advancing(triggers, None, memory, 0)
    for contact, firing in advancing.contacts.pending():
        if firing.id in firing_ids:
            contact.intent = intent
    return advancing.result(sweeping=False)


def conclude(triggers: CompiledTriggers, memory: bytes, concluded: Mapping[str, Contacted], now_ms: int) -> Advanced:
    """Takes firings off the pending ones, plans the waves after them, and remembers what went out, so that an event of
    `cancelled_by` or a response overtakes it. Ids that are not pending are passed over."""
    advancing = _Advancing(triggers, None, memory, now_ms)
    advancing.contacts.conclude(concluded)
    return advancing.result()


def planned_ms(triggers: CompiledTriggers, customer_id: CustomerId, memory: bytes | None) -> int | None:
    """The earliest moment something is due besides what is pending already; None when nothing is."""
    return _Advancing(triggers, customer_id, memory, 0).planned_ms()


class _Advancing:
    """A memory being changed."""

    __slots__ = ("_dropped", "_given", "_memory", "_reached", "_triggers", "contacts", "moments", "progress")

    def __init__(
        self, triggers: CompiledTriggers, customer_id: CustomerId | None, memory: bytes | None, now_ms: int
    ) -> None:
        self._triggers, self._given = triggers, memory
        self._dropped = 0
        self._memory = self._decoded()
        self._reached = dict(self._memory.positions)
        if customer_id is not None:
            self._memory.customer = key64(customer_id)
        self.contacts = Contacts(triggers, self._memory, now_ms)
        self.progress = Progress(triggers, self._memory, self.contacts, now_ms)
        self.moments = Moments(triggers, self._memory, self.contacts, now_ms)

    def take(self, step: Step) -> None:
        """One event: what it ends comes before what it begins."""
        if step.place is not None:
            topic, offset = step.place
            if offset <= self._reached.get(topic, -1):
                return
            self._reached[topic] = offset
        update = step.update
        if update.source == CUSTOMER_ERASED:
            self.contacts.erase(update)
        purpose = withdrawn_purpose(update)
        if purpose is not None:
            self.contacts.withdraw(purpose, update)
        decision_id = answered_decision(update)
        if decision_id is not None:
            self.contacts.answer(decision_id, update.time_ms)
        steps_of: dict[int, tuple[CompiledTrigger, list[int]]] = {}
        for compiled, role in self._triggers.roles(update):
            if role == CANCELS:
                self.contacts.cancel(compiled, update, shared_key(compiled.trigger, update))
            else:
                steps_of.setdefault(compiled.key, (compiled, []))[1].append(role)
        for compiled, numbers in sorted(steps_of.values(), key=lambda part: part[0].number):
            self.progress.take(compiled, step, numbers)
        for compiled in self._triggers.told(update):
            self.moments.take(compiled, step)

    def planned_ms(self) -> int | None:
        """The earliest moment something is due besides what is pending."""
        return min((due_ms for due_ms in self._due_ms() if due_ms > 0), default=None)

    def result(self, *, sweeping: bool = True) -> Advanced:
        """The value, and what came of it."""
        memory, contacts, progress, moments = self._memory, self.contacts, self.progress, self.moments
        if sweeping:
            contacts.sweep()
            progress.sweep()
            moments.sweep()
        value, changed = self._given, False
        if encode_memory(memory) != self._given:
            memory.positions = self._reached  # where nothing else changes, they are not worth a write
            encoded = encode_memory(memory)
            value, changed = None if encoded is None else with_writes(encoded, memory.writes + 1), True
        due_ms = min(self._due_ms(), default=None)
        until_ms = max([*contacts.until_ms(), *progress.until_ms(), *moments.until_ms()], default=None)
        return Advanced(
            value=value,
            changed=changed,
            fired=contacts.settled(),
            overtaken=tuple(contacts.overtaken),
            due_ms=due_ms,
            until_ms=until_ms if due_ms is None else None,
            dropped=self._dropped + contacts.dropped + progress.dropped,
        )

    def _due_ms(self) -> list[int]:
        return [*self.contacts.due_ms(), *self.progress.due_ms(), *self.moments.due_ms()]

    def _decoded(self) -> Memory:
        if self._given is None:
            return Memory()
        try:
            return decode_memory(self._given)
        except MemoryUnreadable:
            self._dropped += 1
            return Memory()
