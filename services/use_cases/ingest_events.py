"""Flow (a): a batch of events becomes customer state and ledger, each event counted exactly once.

The state carries the positions already applied and is written only over the version it was folded from, so that this
may be interrupted anywhere and run again, by whoever owns the partitions then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.errors import DecisionEngineError
from decision_engine.features.fold import Folded
from decision_engine.features.linked import Link
from decision_engine.features.update import PositionedUpdate
from decision_engine.identifiers import CustomerId
from services.ports import (
    Clock,
    ContactResponse,
    LinkMembers,
    Metrics,
    StateStore,
    StateWrite,
    StoreUnavailable,
)
from services.use_cases.erasure.erased_people import ErasedPeople
from services.use_cases.event_batches import EventBatch, Unreadable
from services.use_cases.linked_customers import departures, memberships
from services.use_cases.match_triggers import Matched, MatchTriggers, Read

CONFLICT_ROUNDS = 8
"""Times a customer's state is read and folded again because someone else wrote it; a stale owner loses at once, so
more than one or two mean that two builders own one partition."""
PORTION = 512
"""Customers read, folded and written together."""
_log = logging.getLogger(__name__)

Fold = Callable[[bytes | None, Sequence[PositionedUpdate]], Folded]


class ErasableLedger(Protocol):
    """A contact ledger that can forget a person, and that tells what was read in the log from what was taken. Raises
    StoreUnavailable."""

    async def respond(
        self, customer_id: CustomerId, responses: Sequence[ContactResponse], *, from_log: bool = False
    ) -> list[bool]: ...

    async def forget(self, customer_id: CustomerId, until_ms: int) -> None: ...


class AdvancingClock(Protocol):
    """The shared clock of a replay, moved by the events applied. Raises StoreUnavailable."""

    async def advance(self, to_ms: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestEvents:
    """Applies batches. Lag is measured against `clock`; `event_clock` is moved to the newest event time when one is
    given."""

    store: StateStore
    ledger: ErasableLedger
    fold: Fold
    metrics: Metrics
    clock: Clock
    event_clock: AdvancingClock | None = None
    links: tuple[Link, ...] = ()
    members: LinkMembers | None = None
    """Where memberships of the links are kept; None where the strategy has none."""
    read: Read | None = None
    """Tells from a state where somebody belonged who is erased."""
    triggers: MatchTriggers | None = None
    """What events set off; None where states are built that nobody is contacted from, as in a rebuild."""
    erased: ErasedPeople | None = None
    """Who must not come back; None where an erased person keeps a state that says so."""

    async def apply(self, batch: EventBatch) -> list[Unreadable]:
        """Folds and saves everybody's updates, then brings the ledger up to date. Answers what could not be folded,
        to be set aside. Raises StoreUnavailable, BusUnavailable; running it again then is harmless."""
        began = perf_counter()
        if self.erased is not None and batch.erased:
            await self.erased.begin(batch.erased)
        if self.members is not None:
            # Before the states: a member too many is told by their own state, one too few could never be.
            await self._leave(self.members, batch)
            said = memberships(self.links, batch.updates, batch.erased)
            await self.members.join(said if self.erased is None else await self.erased.still_said(said))
        impossible = await self._apply_to_states(batch)
        await self._apply_to_ledger(batch)
        if self.erased is not None and batch.erased:
            await self.erased.end(batch.erased)
        if self.event_clock is not None and batch.newest_ms:
            await self.event_clock.advance(max(batch.newest_ms.values()))
        self._measure(batch, perf_counter() - began)
        return impossible

    async def _leave(self, members: LinkMembers, batch: EventBatch) -> None:
        """Before the states, which afterwards no longer say where the erased belonged."""
        if not batch.erased or self.read is None:
            return
        before: dict[CustomerId, CustomerSnapshot] = {}
        states = await self.store.load_many(list(batch.erased))
        for (customer_id, at_ms), state in zip(batch.erased.items(), states, strict=True):
            try:
                before[customer_id] = self.read(state, at_ms)
            except DecisionEngineError:  # the fold will set the customer aside
                before[customer_id] = UNKNOWN_CUSTOMER
        await members.leave(departures(self.links, batch.updates, batch.erased, before))

    async def _apply_to_states(self, batch: EventBatch) -> list[Unreadable]:
        impossible: list[Unreadable] = []
        if self.triggers is not None:
            self.triggers.watch(batch)
        pending: Sequence[CustomerId] = list(batch.updates)
        for _ in range(CONFLICT_ROUNDS):
            if not pending:
                return impossible
            pending = await self._round(batch, pending, impossible)
        if pending:
            raise StoreUnavailable(
                f"{len(pending)} customer states changed under our hands {CONFLICT_ROUNDS} times; "
                "another state builder seems to own the same partitions"
            )
        return impossible

    async def _round(
        self, batch: EventBatch, pending: Sequence[CustomerId], impossible: list[Unreadable]
    ) -> list[CustomerId]:
        """Reads, folds and writes everybody's state once, in portions: the store reads and writes some while others
        are folded. Answers those whom somebody else wrote meanwhile."""
        portions = [pending[i : i + PORTION] for i in range(0, len(pending), PORTION)]
        loads = [asyncio.ensure_future(self._load(batch, portion)) for portion in portions]
        saves: list[asyncio.Future[Sequence[CustomerId]]] = []
        try:
            for portion, load in zip(portions, loads, strict=True):
                attempts = self._folded(batch, zip(portion, await load, strict=True), impossible)
                saves.append(asyncio.ensure_future(self._save(batch, attempts)))
                await asyncio.sleep(0)  # lets the write out, and the next states in
            return [customer_id for conflicts in await asyncio.gather(*saves) for customer_id in conflicts]
        finally:
            await _ended([*loads, *saves])

    def _folded(
        self, batch: EventBatch, states: Iterable[tuple[CustomerId, bytes | None]], impossible: list[Unreadable]
    ) -> "list[_Attempt]":
        attempts = []
        for customer_id, state in states:
            try:
                if self.triggers is not None and customer_id in batch.watched:
                    matched = self.triggers.match(self.fold, batch, customer_id, state)
                    attempts.append(_Attempt(customer_id, state, matched.folded, matched))
                else:
                    attempts.append(_Attempt(customer_id, state, self.fold(state, batch.updates[customer_id])))
            except (DecisionEngineError, ArithmeticError, ValueError) as error:
                impossible += _set_aside(batch, customer_id, error)
        return attempts

    async def _load(self, batch: EventBatch, customer_ids: Sequence[CustomerId]) -> Sequence[bytes | None]:
        """The states, and in the same round trip the trigger memories of those whose triggers the batch concerns."""
        asked = [customer_id for customer_id in customer_ids if customer_id in batch.watched] if batch.watched else ()
        states: Sequence[bytes | None]
        if self.triggers is None or not asked:
            states = await self.store.load_many(customer_ids)
        else:
            states, memories = await self.triggers.store.load_watched(customer_ids, asked)
            batch.memories.update(zip(asked, memories, strict=True))
        return states if self.erased is None else await self.erased.standing(customer_ids, states)

    async def _save(self, batch: EventBatch, attempts: "Sequence[_Attempt]") -> Sequence[CustomerId]:
        """Writes what changed; answers those whom somebody else wrote meanwhile."""
        changed = [attempt for attempt in attempts if attempt.is_news]
        matches = [attempt.matched for attempt in changed if attempt.matched is not None]
        if self.triggers is not None and matches:
            await self.triggers.withdraw(matches)
        writes = [attempt.write() for attempt in changed]
        conflicts = await self.store.save_many(writes if self.erased is None else self.erased.writes(writes))
        if conflicts:
            self.metrics.count("state_conflicts_total", len(conflicts))
            lost = set(conflicts)
            changed = [attempt for attempt in changed if attempt.customer_id not in lost]
            matches = [matched for matched in matches if matched.customer.customer_id not in lost]
        if self.triggers is not None and matches:
            self.triggers.hand_over(matches)
        for (metric, event_type), number in self._fates_of(batch, changed).items():
            self.metrics.count(metric, number, type=event_type)
        return conflicts

    def _fates_of(self, batch: EventBatch, saved: "Sequence[_Attempt]") -> Mapping[tuple[str, str], int]:
        """What became of the events, by metric and event type."""
        tally: Counter[tuple[str, str]] = Counter()
        applied: list[str] = []
        for attempt in saved:
            updates = batch.updates[attempt.customer_id]
            if attempt.folded.applied == len(updates):
                applied += [update.update.source for update in updates]
            else:
                tally.update(self._by_type(attempt, updates))
        for event_type, number in Counter(applied).items():
            tally["events_applied_total", event_type] += number
        return tally

    def _by_type(self, attempt: "_Attempt", updates: Sequence[PositionedUpdate]) -> Counter[tuple[str, str]]:
        """What became of one customer's events. Where types and fates are mixed the fold is taken again step by step;
        that is rare."""
        folded, state = attempt.folded, attempt.before
        if len({update.update.source for update in updates}) == 1:
            return _fates(folded, updates[0].update.source)
        tally: Counter[tuple[str, str]] = Counter()
        for update in updates:
            step = self.fold(state, [update])
            state = step.value
            tally += _fates(step, update.update.source)
        return tally

    async def _apply_to_ledger(self, batch: EventBatch) -> None:
        await asyncio.gather(*(self.ledger.forget(customer, at_ms) for customer, at_ms in batch.erased.items()))
        erased = batch.erased
        if self.erased is not None and batch.responses:
            erased = await self.erased.since(batch.responses) | erased
        await asyncio.gather(*(self._respond(batch, customer, erased.get(customer, 0)) for customer in batch.responses))

    async def _respond(self, batch: EventBatch, customer_id: CustomerId, erased_ms: int) -> None:
        """The customer's responses, without those of before an erasure; most were applied when they were taken."""
        kept = [response for response in batch.responses[customer_id] if response.at_ms > erased_ms]
        await self.ledger.respond(customer_id, kept, from_log=True)

    def _measure(self, batch: EventBatch, seconds: float) -> None:
        self.metrics.observe("ingest_batch_seconds", seconds)
        now_ms = self.clock.now_ms()
        for topic, newest_ms in batch.newest_ms.items():
            self.metrics.gauge("event_lag_seconds", max(0, now_ms - newest_ms) / 1000, topic=topic)


class _Attempt(NamedTuple):
    """A customer's state as read, and folded."""

    customer_id: CustomerId
    before: bytes | None
    folded: Folded
    matched: Matched | None = None

    @property
    def is_news(self) -> bool:
        """Whether there is anything to write: the triggers may see what the state held already."""
        return self.folded.changed or (self.matched is not None and self.matched.write is not None)

    def write(self) -> StateWrite:
        """The new state, with what the triggers remember where that has changed."""
        memory = None if self.matched is None else self.matched.write
        return StateWrite(self.customer_id, self.before, self.folded.value, memory)


async def _ended(tasks: Sequence["asyncio.Future[Any]"]) -> None:
    """After a failure nothing of the round may go on beside the next one."""
    if unfinished := [task for task in tasks if not task.done()]:
        for task in unfinished:
            task.cancel()
        await asyncio.wait(unfinished)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # one failure is raised; the others have been looked at


def _fates(folded: Folded, event_type: str) -> Counter[tuple[str, str]]:
    """Numbers by metric; events at or before a position already applied are no news and count nowhere."""
    return +Counter(
        {
            ("events_applied_total", event_type): folded.applied,
            ("events_duplicate_total", event_type): folded.duplicates,
            ("events_late_total", event_type): folded.late,
            ("events_refused_total", event_type): folded.refused,
        }
    )


def _set_aside(batch: EventBatch, customer_id: CustomerId, error: Exception) -> list[Unreadable]:
    """A state that cannot be folded must not stop everybody else's; its events are kept for repair."""
    deliveries = batch.deliveries_of(customer_id)
    _log.error(
        "state could not be folded: %s; %d events are set aside until the customer's state is rebuilt",
        type(error).__name__,
        len(deliveries),
        extra={"action": "rebuild the customer's state", "customer_id": customer_id},
    )
    return [Unreadable(d, "fold_failed", f"the state could not be folded: {type(error).__name__}") for d in deliveries]
