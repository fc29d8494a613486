"""Customer states made from everything their customers ever did, bundle by bundle, while others serve.

A bundle holds all events of its customers, so each state is folded once, from nothing, and written once. Doing
a bundle again changes nothing: a state that is there already carries its positions, and what they cover is passed over.
Ledgers, triggers and dead letters are left alone: those who read the log first have seen to them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from time import perf_counter
from typing import Protocol

from decision_engine.errors import DecisionEngineError
from decision_engine.features.fold import Folded
from decision_engine.features.linked import Link
from decision_engine.features.update import PositionedUpdate
from decision_engine.identifiers import CustomerId
from services.ports import Delivery, LinkMembers, StateWrite, StoreUnavailable
from services.use_cases.erasure.erased_people import ErasedPeople
from services.use_cases.event_batches import EventBatch, read_batch
from services.use_cases.linked_customers import memberships

Partition = tuple[str, int]
"""Topic and partition."""
Fold = Callable[[bytes | None, Sequence[PositionedUpdate]], Folded]

BUNDLE_MARK = "rebuilt-bundle"
"""Bundles that are done stand among the positions the store keeps, as `<mark>/<number>`: lost when states are."""
WRITES_AT_ONCE = 256
LONGEST_REST_S = 0.25
"""On a machine that is short of processor time a write seems to take long, and the store has all the rest it needs."""
_ROUNDS = 8


class RebuildStore(Protocol):
    """States of the layout being built, and what is done of it. Raises StoreUnavailable."""

    async def begin_batch(self, partitions: Iterable[Partition]) -> Mapping[Partition, int | None]: ...

    async def load_many(self, customer_ids: Sequence[CustomerId]) -> list[bytes | None]: ...

    async def save_many(self, writes: Sequence[StateWrite]) -> list[CustomerId]: ...

    async def record_progress(self, positions: Mapping[Partition, int]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFolded:
    """What a bundle brought: its events and customers, events that cannot be read, and customers whose events could not
    be folded."""

    events: int = 0
    customers: int = 0
    unreadable: int = 0
    impossible: int = 0

    def __add__(self, other: "BundleFolded") -> "BundleFolded":
        return BundleFolded(
            events=self.events + other.events,
            customers=self.customers + other.customers,
            unreadable=self.unreadable + other.unreadable,
            impossible=self.impossible + other.impossible,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldBundles:
    """Folds bundles into the store. After every write it rests `rest` times as long as that took, so that the store
    has time for those who serve. Events from the future are refused by the clock's `now_ms` (None: any may come)."""

    store: RebuildStore
    fold: Fold
    now_ms: int | None
    rest: float = 1.0
    links: tuple[Link, ...] = ()
    members: LinkMembers | None = None
    """Where memberships of the links are kept; None where the strategy has none."""
    erased: ErasedPeople | None = None
    """Who must not come back; None where an erased person keeps a state that says so."""

    async def done(self, bundles: int) -> set[int]:
        """The bundles that need not be done again. Raises StoreUnavailable."""
        marks = await self.store.begin_batch((BUNDLE_MARK, number) for number in range(bundles))
        return {number for (_, number), mark in marks.items() if mark}

    async def __call__(self, number: int, portions: Iterable[list[Delivery]]) -> BundleFolded:
        """Folds one bundle, given in portions of whole customers. Raises StoreUnavailable; doing it again is then safe,
        and needed."""
        await self.store.begin_batch(())
        folded = BundleFolded()
        for portion in portions:
            folded += await self._fold_portion(portion)
        await self.store.record_progress({(BUNDLE_MARK, number): 1})
        return folded

    async def _fold_portion(self, deliveries: Sequence[Delivery]) -> BundleFolded:
        batch = read_batch(deliveries, self.now_ms)
        if self.members is not None:
            said = memberships(self.links, batch.updates, batch.erased)
            await self.members.join(said if self.erased is None else await self.erased.still_said(said))
        if self.erased is not None:
            return await self._fold_without_erased(batch, self.erased)
        nobody: dict[CustomerId, bytes | None] = {}
        return await self._fold_customers(batch, nobody)

    async def _fold_without_erased(self, batch: EventBatch, erased: ErasedPeople) -> BundleFolded:
        customers = list(batch.updates)
        bases = await erased.standing(customers, [None] * len(customers))
        return await self._fold_customers(batch, dict(zip(customers, bases, strict=True)))

    async def _fold_customers(self, batch: EventBatch, bases: Mapping[CustomerId, bytes | None]) -> BundleFolded:
        """Everybody's state, from nothing or from what an erased person's would be."""
        impossible = 0
        writes: list[StateWrite] = []
        for customer_id, updates in batch.updates.items():
            ordered = _by_time(updates)
            batch.updates[customer_id] = ordered
            try:
                base = bases.get(customer_id)
                writes.append(StateWrite(customer_id, base, self.fold(base, ordered).value))
            except (DecisionEngineError, ArithmeticError, ValueError):
                impossible += 1
            if len(writes) >= WRITES_AT_ONCE:
                await self._save(writes, batch.updates)
                writes = []
        await self._save(writes, batch.updates)
        return BundleFolded(
            events=len(batch.deliveries),
            customers=len(batch.updates) - impossible,
            unreadable=len(batch.unreadable),
            impossible=impossible,
        )

    async def _save(
        self, writes: Sequence[StateWrite], updates: Mapping[CustomerId, Sequence[PositionedUpdate]]
    ) -> None:
        """Writes states where there are none; on those that stand already their events are folded anew."""
        for _ in range(_ROUNDS):
            if not writes:
                return
            began = perf_counter()
            standing = await self.store.save_many(writes if self.erased is None else self.erased.writes(writes))
            await asyncio.sleep(min(LONGEST_REST_S, (perf_counter() - began) * self.rest))
            states = await self.store.load_many(standing) if standing else []
            folded = [(c, s, self.fold(s, updates[c])) for c, s in zip(standing, states, strict=True)]
            writes = [StateWrite(customer, state, new.value) for customer, state, new in folded if new.changed]
        raise StoreUnavailable(f"{len(writes)} states changed under our hands {_ROUNDS} times: who else writes them?")


def _by_time(updates: Sequence[PositionedUpdate]) -> list[PositionedUpdate]:
    """One customer's updates as they happened, each topic's in the order of the log, by which positions go."""
    topics = [list(of_topic) for _, of_topic in groupby(updates, key=lambda update: update.topic)]
    return list(topics[0]) if len(topics) == 1 else list(merge(*topics, key=lambda update: update.update.time_ms))
