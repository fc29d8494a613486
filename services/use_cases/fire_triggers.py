"""What fired is decided and published, each firing once.

The order is what makes it so. The decision is made under the firing's id, so that after a crash the same answer comes
again; its record is acknowledged; the intent to publish is noted in the trigger memory, with a position in the log that
the event cannot stand before; the event is acknowledged; the firing is concluded. Whoever finds a firing with an intent
looks behind that position whether the event is there already. Whatever is dropped on the way, for whatever reason, is
still pending in the memory, and due.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

from decision_engine.identifiers import CustomerId, DecisionId
from decision_engine.triggers.compiled import CompiledTriggers
from decision_engine.triggers.firing import Advanced, Contacted, Overtaken
from decision_engine.triggers.matching import conclude, note_intent, pending
from event_schemas.topics import DECISIONS
from services.ports import Clock, DecisionStore, EventPublisher, Metrics, OutgoingEvent, TriggerStore
from services.use_cases.decide_firing import DecideFiring
from services.use_cases.decision_outlet import DecisionOutlet
from services.use_cases.firing_cases import Case, Watched
from services.use_cases.firing_notes import Held, Sending, decode_note, encode_note
from services.use_cases.match_triggers import Read, memory_write
from services.use_cases.withdrawals import withdrawal

CONFLICT_ROUNDS = 8
"""Times a memory is read and changed again because a batch of events changed it meanwhile."""
Change = Callable[[bytes], Advanced]


class OutboundLog(Protocol):
    """The outbound topic as a log. Raises BusUnavailable."""

    async def end(self, partition: int) -> int:
        """An offset that nothing stands before which is published from now on."""
        ...

    async def find(self, partition: int, offset: int, ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """The data of those of these events that stand at or after the offset, by event id."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringPorts:
    """What firing needs. `read` tells a stored state as of a moment."""

    triggers: CompiledTriggers
    decide: DecideFiring
    outlet: DecisionOutlet
    store: TriggerStore
    decisions: DecisionStore
    log: OutboundLog
    publisher: EventPublisher
    read: Read
    clock: Clock
    wall_clock: Clock
    metrics: Metrics


@dataclass(slots=True)
class _Lot:
    """Firings that are worked on together, and their customers' memories as last read."""

    customers: Mapping[CustomerId, Watched]
    memories: dict[CustomerId, bytes | None]
    begun_ms: int
    """When the memories of this store were begun."""
    cases: list[Case] = field(default_factory=list)

    def by_customer(self, cases: Iterable[Case]) -> dict[CustomerId, list[Case]]:
        found: dict[CustomerId, list[Case]] = {}
        for case in cases:
            found.setdefault(case.customer_id, []).append(case)
        return found


class FireTriggers:
    """Works on the pending firings of a few customers at a time; beside each other only for other customers."""

    def __init__(self, ports: FiringPorts) -> None:
        self._ports = ports
        self._publishing: set[str] = set()
        """Firings whose event may be on its way."""
        self._void: dict[str, tuple[CustomerId, Overtaken]] = {}
        """Those of them that were overtaken meanwhile."""

    async def __call__(self, customers: Sequence[Watched]) -> None:
        """Decides, publishes and concludes what is pending and not held back. Raises StoreUnavailable, BusUnavailable,
        having left pending what it had not concluded."""
        lot = await self._opened(customers)
        await self._find_published(lot)
        await asyncio.gather(*(self._ports.decide(case) for case in lot.cases if case.contacted is None))
        published = {case.firing.id for case in lot.cases if case.event is not None}
        self._publishing |= published
        try:
            await asyncio.gather(self._publish_records(lot), self._note(lot))
            await self._publish(lot)
            await self._conclude(lot)
        finally:
            self._publishing -= published
        for case in lot.cases:
            self._ports.metrics.count("trigger_firings_total", trigger=case.trigger.name, outcome=case.outcome)

    async def withdraw(self, customer_id: CustomerId, overtaken: Sequence[Overtaken]) -> None:
        """Tells the channels what not to deliver any more; repeatable. Raises BusUnavailable."""
        if not overtaken:
            return
        for one in overtaken:
            if one.firing_id in self._publishing:  # it would stand behind its own withdrawal
                self._void[one.firing_id] = customer_id, one
        await self._ports.publisher.publish([self._cancelled(customer_id, one) for one in overtaken])
        for one in overtaken:
            self._ports.metrics.count("trigger_firings_total", trigger=one.trigger, outcome="overtaken")

    # What is pending

    async def _opened(self, customers: Sequence[Watched]) -> _Lot:
        ids = [customer.customer_id for customer in customers]
        now_ms = self._ports.clock.now_ms()
        (states, memories), begun_ms = await asyncio.gather(
            self._ports.store.load_watched(ids, ids), self._ports.store.begun(now_ms)
        )
        lot = _Lot({c.customer_id: c for c in customers}, dict(zip(ids, memories, strict=True)), begun_ms)
        for customer, state, memory in zip(customers, states, memories, strict=True):
            for one in pending(self._ports.triggers, memory):
                note, trigger = decode_note(one.intent), self._ports.triggers.trigger(one.firing.trigger)
                if trigger is None or (isinstance(note, Held) and note.until_ms > now_ms):
                    continue
                snapshot = self._ports.read(state, now_ms)
                lot.cases.append(Case(customer, trigger, one.firing, note, snapshot))
        return lot

    async def _find_published(self, lot: _Lot) -> None:
        """Firings whose event stands on the topic already only need to be concluded: those with an intent, and those
        from before the store lost its memories."""
        doubtful: dict[int, list[tuple[Case, int]]] = {}
        for case in lot.cases:
            if isinstance(case.note, Sending):
                doubtful.setdefault(case.customer.partition, []).append((case, case.note.offset))
            elif case.note is None and case.firing.at_ms <= lot.begun_ms:
                doubtful.setdefault(case.customer.partition, []).append((case, 0))
        for partition, cases in doubtful.items():
            ids = [case.firing.id for case, _ in cases]
            found = await self._ports.log.find(partition, min(offset for _, offset in cases), ids)
            for case, _ in cases:
                if (data := found.get(case.firing.id)) is not None:
                    case.end("found", _contacted(data))

    # Publishing

    async def _publish_records(self, lot: _Lot) -> None:
        """The records of all decisions made, acknowledged before any of their contacts. Of a decision made before a
        crash, the record is handed on from the store: whether it was acknowledged then nobody knows."""
        decided = {case.decision_id: case for case in lot.cases if case.decision_id is not None}
        records = self._ports.outlet.take(decided)
        try:
            for decision_id, case in decided.items():
                if decision_id not in records:
                    value = await self._ports.decisions.record(DecisionId(decision_id))
                    if value is not None:
                        event = OutgoingEvent(topic=DECISIONS, key=case.customer_id, value=value)
                        records[decision_id] = event
            if records:
                await self._ports.publisher.publish(list(records.values()))
        except BaseException:
            self._ports.outlet.put_back(records)
            raise

    async def _note(self, lot: _Lot) -> None:
        """Notes with each firing that its event is about to be published, or until when it is held back."""
        changes: dict[CustomerId, Change] = {}
        for customer_id, cases in lot.by_customer(lot.cases).items():
            notes: dict[str, bytes] = {}
            for case in cases:
                if case.event is not None:
                    notes[case.firing.id] = encode_note(Sending(await self._ports.log.end(case.customer.partition)))
                elif case.held is not None:
                    notes[case.firing.id] = encode_note(case.held)
            if notes:
                changes[customer_id] = partial(self._noted, notes)
        await self._remember(lot, changes)
        for customer_id, cases in lot.by_customer(lot.cases).items():
            still = {p.firing.id for p in pending(self._ports.triggers, lot.memories[customer_id])}
            for case in cases:
                if case.firing.id not in still:  # overtaken meanwhile, or another owner's by now
                    case.outcome, case.event, case.contacted = "left", None, None

    def _noted(self, notes: Mapping[str, bytes], memory: bytes) -> Advanced:
        """The memory with a note for each firing that is still pending."""
        advanced = Advanced(value=memory, changed=False)
        for firing_id, note in notes.items():
            step = note_intent(self._ports.triggers, advanced.value or b"", [firing_id], note)
            advanced = Advanced(value=step.value, changed=advanced.changed or step.changed, due_ms=step.due_ms)
        return advanced

    async def _publish(self, lot: _Lot) -> None:
        outgoing = [(case, case.event) for case in lot.cases if case.event is not None]
        if not outgoing:
            return
        await self._ports.publisher.publish([event for _, event in outgoing])
        now_ms, wall_ms = self._ports.clock.now_ms(), self._ports.wall_clock.now_ms()
        for case, _ in outgoing:
            self._ports.metrics.count("outbound_published_total", channel=case.contact.channel)
            arrived_ms = case.customer.arrived_ms
            delay_ms = now_ms - case.firing.at_ms if arrived_ms is None else wall_ms - arrived_ms
            self._ports.metrics.observe("trigger_delay_seconds", max(0, delay_ms) / 1000)
        void = [self._void.pop(case.firing.id) for case, _ in outgoing if case.firing.id in self._void]
        if void:
            await self._ports.publisher.publish([self._cancelled(*one) for one in void])

    async def _conclude(self, lot: _Lot) -> None:
        now_ms = self._ports.clock.now_ms()
        changes: dict[CustomerId, Change] = {}
        for customer_id, cases in lot.by_customer(lot.cases).items():
            over = {case.firing.id: case.contacted for case in cases if case.contacted is not None}
            if over:
                changes[customer_id] = partial(self._concluded, over, now_ms)
        await self._remember(lot, changes)

    def _concluded(self, over: Mapping[str, Contacted], now_ms: int, memory: bytes) -> Advanced:
        return conclude(self._ports.triggers, memory, over, now_ms)

    async def _remember(self, lot: _Lot, changes: Mapping[CustomerId, Change]) -> None:
        """Changes memories, each over what it was when it was read; those that somebody else changed are read and
        changed again. Whoever's memory is gone has nothing pending any more."""
        waiting = list(changes)
        for _ in range(CONFLICT_ROUNDS):
            writes = []
            for customer_id in waiting:
                memory = lot.memories[customer_id]
                if memory is None:
                    continue
                advanced = changes[customer_id](memory)
                if advanced.changed:
                    customer, now_ms = lot.customers[customer_id], self._ports.clock.now_ms()
                    writes.append(memory_write(customer, memory, advanced, now_ms))
            conflicts = set(await self._ports.store.remember(writes))
            for write in writes:
                if write.customer_id not in conflicts:
                    lot.memories[write.customer_id] = write.value
            waiting = [customer_id for customer_id in waiting if customer_id in conflicts]
            if not waiting:
                return
            _, memories = await self._ports.store.load_watched((), waiting)
            lot.memories.update(zip(waiting, memories, strict=True))

    def _cancelled(self, customer_id: CustomerId, overtaken: Overtaken) -> OutgoingEvent:
        return withdrawal(self._ports.triggers, customer_id, overtaken, self._ports.clock.now_ms())


def _contacted(data: Mapping[str, object]) -> Contacted:
    """What the event that was published says."""
    options = cast("Sequence[Mapping[str, object]]", data.get("options", ()))
    offers = tuple(str(option["offer"]) for option in options)
    return Contacted(decision_id=str(data["decision_id"]), offers=offers)
