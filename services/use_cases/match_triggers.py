"""Between fold and save: events of interest are held against the customer's trigger memory.

Customers without such an event cost nothing: their memory is not even read. For the others the fold is taken step by
step, so that guards can see the customer just before and just after each event, and only what was really applied is a
step: an event that is delivered again, or that a producer sent twice, moves no trigger.

Where states were made by somebody who matches nothing, as in a rebuild, the triggers are behind them. Such events are
steps, too, though the state holds them already: guards then see the customer as of the event's time, on the state as
it is now. Where the triggers are ahead, because another layout's builder has matched, events are folded only.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from decision_engine.customer import CustomerSnapshot
from decision_engine.features.fold import Folded
from decision_engine.features.update import PositionedUpdate
from decision_engine.identifiers import CustomerId
from decision_engine.triggers.compiled import CUSTOMER_ERASED, CompiledTriggers
from decision_engine.triggers.firing import Advanced, Overtaken
from decision_engine.triggers.matching import Step, match, pending
from event_schemas.topics import STATE_TOPICS
from services.ports import Clock, MemoryWrite, Metrics, TriggerStore
from services.use_cases.event_batches import EventBatch
from services.use_cases.firing_cases import Watched
from services.use_cases.firing_notes import Held, decode_note

Fold = Callable[[bytes | None, Sequence[PositionedUpdate]], Folded]
Read = Callable[[bytes | None, int], CustomerSnapshot]
"""A state as of a moment."""


@dataclass(frozen=True, slots=True)
class Matched:
    """The folded state and where the customer's triggers stand now."""

    customer: Watched
    folded: Folded
    advanced: Advanced
    write: MemoryWrite | None
    """What is to be saved with the state; None where the triggers stand as they stood."""


class Firings(Protocol):
    """Where matches go."""

    def submit(self, customer: Watched) -> None:
        """Something has fired for the customer and is to be decided; what is dropped here is found again as due."""
        ...

    async def withdraw(self, customer_id: CustomerId, overtaken: Sequence[Overtaken]) -> None:
        """Tells the channels what not to deliver any more; repeatable. Raises BusUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchTriggers:
    """The triggers of the strategy that serves."""

    triggers: CompiledTriggers
    store: TriggerStore
    firings: Firings
    read: Read
    clock: Clock
    metrics: Metrics

    def watch(self, batch: EventBatch) -> None:
        """Notes in the batch the customers whose triggers any of its events may move."""
        interested = self.triggers.interested
        found = {
            customer_id
            for customer_id, updates in batch.updates.items()
            if any(interested(positioned.update) for positioned in updates)
        }
        batch.watched = _whereabouts(batch, found) if found else {}

    def match(self, fold: Fold, batch: EventBatch, customer_id: CustomerId, state: bytes | None) -> Matched:
        """Folds and matches what the batch brings for a customer. Raises what the fold raises."""
        watched, memory = batch.watched[customer_id], batch.memories.get(customer_id)
        steps: list[Step] = []
        parts: list[Folded] = []
        for run, is_step in self._runs(batch.updates[customer_id]):
            folded = fold(state, run)
            parts.append(folded)
            if is_step and self._is_news(batch, watched, run[0], folded):
                time_ms, place = run[0].update.time_ms, (run[0].topic, run[0].offset)
                before, after = partial(self.read, state, time_ms), partial(self.read, folded.value, time_ms)
                steps.append(Step(update=run[0].update, before=before, after=after, place=place))
            state = folded.value
        now_ms = self.clock.now_ms()
        advanced = match(self.triggers, watched.customer_id, memory, steps, now_ms)
        if advanced.overtaken:
            advanced = replace(advanced, overtaken=self._published(memory, advanced.overtaken))
        write = memory_write(watched, memory, advanced, now_ms) if advanced.changed else None
        return Matched(watched, _together(parts), advanced, write)

    async def withdraw(self, matches: Sequence[Matched]) -> None:
        """Tells the channels what is overtaken. Before the save: repeated after a crash it does no harm, left out it
        would. Raises BusUnavailable."""
        for matched in matches:
            if matched.advanced.overtaken:
                await self.firings.withdraw(matched.customer.customer_id, matched.advanced.overtaken)

    def hand_over(self, matches: Sequence[Matched]) -> None:
        """What fired is decided in the background, once it is saved."""
        for matched in matches:
            if matched.advanced.dropped:
                self.metrics.count("trigger_memory_dropped_total", matched.advanced.dropped)
            if matched.advanced.fired:
                fired = frozenset(firing.id for firing in matched.advanced.fired)
                self.firings.submit(replace(matched.customer, fired=fired))

    def _is_news(self, batch: EventBatch, watched: Watched, positioned: PositionedUpdate, folded: Folded) -> bool:
        """Whether the triggers are to see the event."""
        span = batch.unmatched.get((STATE_TOPICS[positioned.topic], watched.partition))
        if not folded.repeated:
            is_behind = span is not None and positioned.offset < span.since
            return not is_behind and folded.applied + folded.late > 0
        if span is None or not span.since <= positioned.offset < span.until:
            return False
        update = positioned.update
        return update.source == CUSTOMER_ERASED or self.read(folded.value, update.time_ms).known

    def _published(self, memory: bytes | None, overtaken: Sequence[Overtaken]) -> tuple[Overtaken, ...]:
        """Without those that were only held back: no channel has heard of them."""
        held = {one.firing.id for one in pending(self.triggers, memory) if isinstance(decode_note(one.intent), Held)}
        return tuple(one for one in overtaken if one.firing_id not in held)

    def _runs(self, updates: Sequence[PositionedUpdate]) -> list[tuple[list[PositionedUpdate], bool]]:
        """The updates in their order: each one of interest by itself (True), what lies between them together."""
        runs: list[tuple[list[PositionedUpdate], bool]] = []
        for positioned in updates:
            if self.triggers.interested(positioned.update):
                runs.append(([positioned], True))
            elif runs and not runs[-1][1]:
                runs[-1][0].append(positioned)
            else:
                runs.append(([positioned], False))
        return runs


def _whereabouts(batch: EventBatch, customers: Collection[CustomerId]) -> dict[CustomerId, Watched]:
    keys = {customer_id.encode(): customer_id for customer_id in customers}
    found: dict[CustomerId, Watched] = {}
    for delivery in batch.deliveries:
        customer_id = None if delivery.key is None else keys.get(delivery.key)
        if customer_id is not None and customer_id not in found:
            found[customer_id] = Watched(customer_id, delivery.partition, delivery.timestamp_ms)
    return found


def _together(parts: Sequence[Folded]) -> Folded:
    """What became of all the updates."""
    if len(parts) == 1:
        return parts[0]
    return Folded(
        value=parts[-1].value,
        applied=sum(part.applied for part in parts),
        repeated=sum(part.repeated for part in parts),
        duplicates=sum(part.duplicates for part in parts),
        late=sum(part.late for part in parts),
        refused=sum(part.refused for part in parts),
        changed=any(part.changed for part in parts),
    )


def memory_write(watched: Watched, expected: bytes | None, advanced: Advanced, now_ms: int) -> MemoryWrite:
    """The write of a memory that has advanced; it lapses by itself once it is worth nothing."""
    keep_ms = None if advanced.until_ms is None else max(1, advanced.until_ms - now_ms)
    return MemoryWrite(watched.customer_id, expected, advanced.value, watched.partition, advanced.due_ms, keep_ms)
