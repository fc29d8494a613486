"""Patterns over events in the making: what an event adds to them, and what it completes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.update import Update
from decision_engine.triggers.compiled import CompiledTrigger, CompiledTriggers, shared_key
from decision_engine.triggers.contacts import Cause, Contacts
from decision_engine.triggers.definitions import Shape
from decision_engine.triggers.guards import Guard, Snapshot
from decision_engine.triggers.memory import MOST_EVENTS, Memory, ProgressKey, Seen
from decision_engine.triggers.shapes import (
    OPENED,
    add,
    completed_count,
    completed_sequence,
    settle_absences,
    still_matters,
    trim,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An event that the fold applied, and the customer as of just before and just after it; read only when a guard
    asks. `place` is the number of its topic and its offset there: a memory that is past it is not moved again."""

    update: Update
    before: Callable[[], CustomerSnapshot]
    after: Callable[[], CustomerSnapshot]
    place: tuple[int, int] | None = None


@dataclass(slots=True)
class Progress:
    """The progress in one customer's memory. What is completed fires into the contacts."""

    triggers: CompiledTriggers
    memory: Memory
    contacts: Contacts
    now_ms: int
    dropped: int = 0

    def take(self, compiled: CompiledTrigger, step: Step, numbers: Sequence[int]) -> None:
        """An event that is one or more steps of a trigger's pattern."""
        pattern, update = compiled.trigger.pattern, step.update
        if pattern.shape is Shape.EVENT:
            self._single(compiled, step)
            return
        same = shared_key(compiled.trigger, update)
        if pattern.same is not None and same is None:
            return
        if pattern.shape is not Shape.ABSENCE and not still_matters(compiled.trigger, update.time_ms, self.now_ms):
            return
        key = compiled.pattern, same
        events = self._mattering(compiled, self.memory.progress.get(key, ()))
        self.memory.progress[key] = events
        match pattern.shape:
            case Shape.COUNT:
                completed = self._count(compiled, step, events)
            case Shape.SEQUENCE:
                completed = self._sequence(compiled, step, events, numbers)
            case _:
                self._absence(compiled, step, events, numbers)
                completed = None
        if completed is None:
            trim(events, pattern)
        else:
            del self.memory.progress[key]
            self.contacts.fire(compiled, completed)

    def fire_absences(self, snapshot: Snapshot) -> None:
        """Fires what nothing answered until its stretch was over, the earliest first."""
        due = [
            (compiled, _timer(compiled, seen, key[1]), seen)
            for key, compiled, events in self._known()
            for seen in events
            if seen.armed and _due_ms(compiled, seen) <= self.now_ms
        ]
        for compiled, cause, seen in sorted(due, key=lambda each: (each[1].at_ms, each[0].number, each[1].key)):
            if not self.contacts.cooling(compiled, cause.at_ms) and _holds(compiled.when, snapshot, cause):
                self.contacts.fire(compiled, cause)
            seen.armed, seen.fields = False, {}

    def sweep(self) -> None:
        """Forgets what has no consequence any more, and the oldest of what is too much; armed absences come last."""
        kept = {key: self._mattering(compiled, events) for key, compiled, events in self._known()}
        surplus = sum(map(len, kept.values())) - MOST_EVENTS
        if surplus > 0:
            everything = [(seen.armed, seen.time_ms, seen) for events in kept.values() for seen in events]
            gone = {id(seen) for _, _, seen in sorted(everything, key=lambda each: each[:2])[:surplus]}
            kept = {key: [seen for seen in events if id(seen) not in gone] for key, events in kept.items()}
            self.dropped += surplus
        self.memory.progress = {key: events for key, events in kept.items() if events}

    def due_ms(self) -> Iterator[int]:
        """When the absences that are waited for are due."""
        return (_due_ms(compiled, seen) for _, compiled, events in self._known() for seen in events if seen.armed)

    def until_ms(self) -> Iterator[int]:
        """The moments until which events matter."""
        for _, compiled, events in self._known():
            for seen in events:
                yield seen.time_ms + compiled.trigger.pattern.within_ms + compiled.trigger.freshness_ms

    def _known(self) -> Iterator[tuple[ProgressKey, CompiledTrigger, list[Seen]]]:
        for key, events in self.memory.progress.items():
            compiled = self.triggers.by_pattern.get(key[0])
            if compiled is not None:
                yield key, compiled, events

    def _mattering(self, compiled: CompiledTrigger, events: Sequence[Seen]) -> list[Seen]:
        trigger, now_ms = compiled.trigger, self.now_ms
        return [seen for seen in events if seen.armed or still_matters(trigger, seen.time_ms, now_ms)]

    def _single(self, compiled: CompiledTrigger, step: Step) -> None:
        trigger, update = compiled.trigger, step.update
        at_ms = update.time_ms
        stale = self.now_ms - at_ms > trigger.freshness_ms
        if self.contacts.cooling(compiled, at_ms) or (stale and not trigger.cooldown_ms):
            return  # before any guard is asked
        cause = Cause(key=update.event_key, by_timer=False, at_ms=at_ms, fields=compiled.named_fields(update))
        if _hold(compiled, step, cause):
            self.contacts.fire(compiled, cause)

    def _count(self, compiled: CompiledTrigger, step: Step, events: list[Seen]) -> Cause | None:
        update = step.update
        fields = compiled.named_fields(update)
        new = Seen(step=0, time_ms=update.time_ms, key=update.event_key, fields=fields)
        last = completed_count(events, new, compiled.trigger.pattern) if add(events, new) else None
        return self._completed(compiled, step, last)

    def _sequence(
        self, compiled: CompiledTrigger, step: Step, events: list[Seen], numbers: Sequence[int]
    ) -> Cause | None:
        update = step.update
        fields = {compiled.last_step: compiled.named_fields(update)}
        new = [Seen(step=n, time_ms=update.time_ms, key=update.event_key, fields=fields.get(n, {})) for n in numbers]
        added = [seen for seen in new if add(events, seen)]
        return self._completed(compiled, step, completed_sequence(events, added, compiled.trigger.pattern))

    def _completed(self, compiled: CompiledTrigger, step: Step, last: Seen | None) -> Cause | None:
        """The last event of what is complete, if the guards hold of it."""
        if last is None:
            return None
        same = shared_key(compiled.trigger, step.update)
        cause = Cause(key=last.key, by_timer=False, at_ms=last.time_ms, same=same, fields=last.fields)
        return cause if _hold(compiled, step, cause) else None

    def _absence(self, compiled: CompiledTrigger, step: Step, events: list[Seen], numbers: Sequence[int]) -> None:
        update = step.update
        for number in numbers:
            seen = Seen(step=number, time_ms=update.time_ms, key=update.event_key)
            if add(events, seen) and number == OPENED:
                fields = compiled.named_fields(update)
                seen.armed = still_matters(compiled.trigger, seen.time_ms, self.now_ms) and (
                    compiled.before is None or compiled.before(step.before, fields, seen.time_ms)
                )
                seen.fields = fields if seen.armed else {}
        settle_absences(events, compiled.trigger.pattern)


def _due_ms(compiled: CompiledTrigger, seen: Seen) -> int:
    return seen.time_ms + compiled.trigger.pattern.within_ms


def _timer(compiled: CompiledTrigger, seen: Seen, same: int | None) -> Cause:
    return Cause(key=seen.key, by_timer=True, at_ms=_due_ms(compiled, seen), same=same, fields=seen.fields)


def _hold(compiled: CompiledTrigger, step: Step, cause: Cause) -> bool:
    """Whether both guards hold."""
    return _holds(compiled.before, step.before, cause) and _holds(compiled.when, step.after, cause)


def _holds(guard: Guard | None, snapshot: Snapshot, cause: Cause) -> bool:
    return guard is None or guard(snapshot, cause.fields, cause.at_ms)
