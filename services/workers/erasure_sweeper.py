"""Goes through the store for what is left of erased people until nothing is found, one node at a time, and gives proof.

It follows the state builders, who have removed states, ledgers and triggers by then. What was under way at the moment
of the erasure (a decision being kept) is found by a look some seconds later.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from decision_engine.identifiers import CustomerId
from services.ports import BusUnavailable, Clock, StoreUnavailable
from services.use_cases.erasure.proofs import STORE, Performed, Proofs

LOOK_SECONDS = 1.0
SETTLE_SECONDS = 5.0
"""What was under way when a person was erased has been kept, or given up, by then."""
LEASE_SECONDS = 120
_LOOKS = 5
_log = logging.getLogger(__name__)


class Swept(Protocol):
    """What one walk has removed."""

    @property
    def removed(self) -> Mapping[CustomerId, Counter[str]]: ...

    @property
    def keys(self) -> int: ...


class ErasureQueue(Protocol):
    """Who is waiting. Raises StoreUnavailable."""

    async def queued(self) -> Mapping[str, tuple[CustomerId, int]]: ...

    async def dequeue(self, person: str, customer_id: CustomerId, erased_ms: int) -> None: ...

    async def lease(self, node: str, seconds: int) -> bool: ...

    async def performed(self, person: str, account: Performed) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureSweeper:
    """`sweep` walks the whole store once. `settle_s` is how long after the first walk the last one begins."""

    queue: ErasureQueue
    sweep: Callable[[Mapping[CustomerId, int]], Awaitable[Swept]]
    proofs: Proofs
    clock: Clock
    node: str
    settle_s: float = SETTLE_SECONDS
    look_s: float = LOOK_SECONDS

    async def run(self, stop: asyncio.Event) -> None:
        """Looks again and again until told to stop; what cannot be reached now is tried the next time."""
        while not stop.is_set():
            try:
                await self.look()
            except (StoreUnavailable, BusUnavailable) as error:
                _log.warning("erased people are still in the store: %s", error, extra={"action": "try again"})
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.look_s)

    async def look(self) -> int:
        """Erases everybody who waits; how many. Raises StoreUnavailable, BusUnavailable."""
        waiting = await self.queue.queued()
        if not waiting or not await self.queue.lease(self.node, LEASE_SECONDS):
            return 0
        persons = dict(waiting.values())
        removed, left = await self._until_nothing_is_left(persons)
        at_ms = self.clock.now_ms()
        accounts = [
            (
                person,
                Performed(
                    place=STORE,
                    erased_ms=erased_ms,
                    at_ms=at_ms,
                    removed=dict(sorted(removed.get(customer_id, Counter()).items())),
                    left=left.get(customer_id, 0),
                ),
            )
            for person, (customer_id, erased_ms) in waiting.items()
        ]
        await self.proofs.performed(accounts)
        for person, account in accounts:
            await self.queue.performed(person, account)
            if not account.left:
                await self.queue.dequeue(person, *waiting[person])
        _log.info("%d people were erased from the store", len(accounts), extra={"action": "erased"})
        return len(accounts)

    async def _until_nothing_is_left(
        self, persons: Mapping[CustomerId, int]
    ) -> tuple[dict[CustomerId, Counter[str]], dict[CustomerId, int]]:
        """What was removed of each, and how much the last walk still found."""
        removed: dict[CustomerId, Counter[str]] = {}
        _add(removed, await self.sweep(persons))
        await asyncio.sleep(self.settle_s)
        found: Mapping[CustomerId, Counter[str]] = {}
        for _ in range(_LOOKS):
            swept = await self.sweep(persons)
            _add(removed, swept)
            found = swept.removed
            if not found:
                break
            await self.queue.lease(self.node, LEASE_SECONDS)
        return removed, {person: counts.total() for person, counts in found.items()}


def _add(removed: dict[CustomerId, Counter[str]], swept: Swept) -> None:
    for person, counts in swept.removed.items():
        removed.setdefault(person, Counter()).update(counts)
