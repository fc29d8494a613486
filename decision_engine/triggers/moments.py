"""Moments that the profile names in advance: which one is waited for, and what fires when it has come.

The customer's state decides which value counts: it keeps the newest by event time, so a late event that tells of an
older one arms nothing. What is remembered is the value that was taken last, as long as it may still fire, so that
telling it again neither arms nor fires it again. The same value is the same cause, whichever event told it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from decision_engine.conditions.moments import FIRST_MOMENT_MS, LAST_MOMENT_MS
from decision_engine.customer import CustomerSnapshot
from decision_engine.identifiers import key64
from decision_engine.triggers.compiled import CompiledTrigger, CompiledTriggers
from decision_engine.triggers.contacts import Cause, Contacts
from decision_engine.triggers.guards import Snapshot
from decision_engine.triggers.memory import Memory, Told
from decision_engine.triggers.progress import Step


@dataclass(slots=True)
class Moments:
    """The moments in one customer's memory. What has come fires into the contacts."""

    triggers: CompiledTriggers
    memory: Memory
    contacts: Contacts
    now_ms: int

    def take(self, compiled: CompiledTrigger, step: Step) -> None:
        """An event that tells the trigger's moment."""
        known = self.memory.moments.get(compiled.pattern)
        if known is None or step.update.attributes.get(str(compiled.trigger.pattern.attribute)) != known.value_ms:
            self._wait_for(compiled, _value_ms(compiled, step.after()))

    def fire(self, snapshot: Snapshot) -> None:
        """Fires what is due, the earliest first; a value that is not the customer's any more gives way to that one."""
        due = [(compiled, told) for compiled, told in self._waiting() if _due_ms(compiled, told) <= self.now_ms]
        for compiled, told in sorted(due, key=lambda each: (_due_ms(*each), each[0].number)):
            current_ms = _value_ms(compiled, snapshot())
            if current_ms != told.value_ms:
                self._wait_for(compiled, current_ms)
                continue
            cause = Cause(key=key64(str(told.value_ms)), by_timer=True, at_ms=_due_ms(compiled, told))
            holds = compiled.when is None or compiled.when(snapshot, cause.fields, cause.at_ms)
            if holds and not self.contacts.cooling(compiled, cause.at_ms):
                self.contacts.fire(compiled, cause)
            self.memory.moments[compiled.pattern] = replace(told, waiting=False)

    def sweep(self) -> None:
        """Forgets what can neither come nor be told again with any consequence."""
        self.memory.moments = {
            compiled.pattern: told
            for compiled, told in self._known()
            if told.waiting or self._is_fresh(compiled, told.value_ms)
        }

    def due_ms(self) -> Iterator[int]:
        """When the moments that are waited for are due."""
        return (_due_ms(compiled, told) for compiled, told in self._waiting())

    def until_ms(self) -> Iterator[int]:
        """The moments until which those that came matter."""
        for compiled, told in self._known():
            yield _due_ms(compiled, told) + compiled.trigger.freshness_ms

    def _wait_for(self, compiled: CompiledTrigger, value_ms: int | None) -> None:
        known = self.memory.moments.get(compiled.pattern)
        if known is not None and known.value_ms == value_ms:
            return
        self.memory.moments.pop(compiled.pattern, None)
        if value_ms is not None and self._is_fresh(compiled, value_ms):
            self.memory.moments[compiled.pattern] = Told(value_ms=value_ms, waiting=True)

    def _is_fresh(self, compiled: CompiledTrigger, value_ms: int) -> bool:
        return value_ms + compiled.trigger.pattern.shift_ms + compiled.trigger.freshness_ms >= self.now_ms

    def _waiting(self) -> Iterator[tuple[CompiledTrigger, Told]]:
        return ((compiled, told) for compiled, told in self._known() if told.waiting)

    def _known(self) -> Iterator[tuple[CompiledTrigger, Told]]:
        for pattern, told in self.memory.moments.items():
            compiled = self.triggers.by_pattern.get(pattern)
            if compiled is not None:
                yield compiled, told


def _due_ms(compiled: CompiledTrigger, told: Told) -> int:
    return told.value_ms + compiled.trigger.pattern.shift_ms


def _value_ms(compiled: CompiledTrigger, customer: CustomerSnapshot) -> int | None:
    """The moment the customer's profile names now; None for none, and for one no calendar has."""
    value = customer.attributes.get(str(compiled.trigger.pattern.attribute))
    if not isinstance(value, int) or not FIRST_MOMENT_MS <= value <= LAST_MOMENT_MS:
        return None
    return value
