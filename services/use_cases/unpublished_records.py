"""Records of decisions that a node has kept in the store and not brought onto the bus: its own, and those of the dead.

A node answers before the bus has a decision's record. So the store notes with each record who has still to publish it,
and what the bus has acknowledged is taken off that note, many at once. What a node that was killed has left there is
published by the living. A record may reach the bus twice that way, as the same event: who reads the bus passes over it.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import orjson

from decision_engine.identifiers import DecisionId
from event_schemas.topics import DECISIONS
from services.ports import BusUnavailable, EventPublisher, Metrics, OutgoingEvent, StoreUnavailable
from services.use_cases.record_keeping import LATE_SECONDS
from services.use_cases.running_beside import running_beside

TAKE_OFF_SECONDS = 0.5
SAY_SECONDS = 1.5
"""How often a node says that it lives."""
AGAIN_SECONDS = LATE_SECONDS + 5.0
"""A save may come after the acknowledgement, for as long as late saves are tried: so long after it the decision is
taken off once more."""
MOST_KEPT = 200_000
"""Acknowledged decisions that wait for a store that is away, some 20 MB; of more the oldest would be published twice if
the node was killed."""
MOST_TAKEN_OFF = 10_000
"""At once: more than a node decides in the time between, and a few milliseconds of the store's."""
LEAVE_SECONDS = 1.0
LOOK_SECONDS = 3.0
"""How often a node looks for dead ones, times a factor between 0.5 and 1.5."""
CLAIM_SECONDS = 15
AT_ONCE = 50
"""Records read and published together: up to 1 MB, below a second even where the bus is busy."""
_log = logging.getLogger(__name__)


class UnpublishedRecords(Protocol):
    """Which records are in the store and may not be on the bus yet, by node. Raises StoreUnavailable."""

    async def live(self, node: str) -> None:
        """Says that the node lives, and may have something to publish."""
        ...

    async def take_off(self, node: str, decision_ids: Sequence[DecisionId]) -> None:
        """Their records are on the bus, or not to be published. Repeatable."""
        ...

    async def leave(self, node: str) -> None:
        """The node lives no longer. What it has left is for others to publish; with nothing left it is forgotten."""
        ...

    async def dead(self) -> list[str]:
        """Nodes that have not said lately that they live, and were not forgotten."""
        ...

    async def claim(self, node: str, by: str, seconds: int) -> bool:
        """Whether what the dead node left is for this one to publish, for so long."""
        ...

    async def unpublished(self, node: str, most: int, seconds: int) -> list[tuple[DecisionId, bytes | None]]:
        """Some of what the dead node left: ids with their records, None where there is none any more. Nothing, if the
        node lives after all. The claim on it lasts `seconds` from now."""
        ...

    async def forget(self, node: str) -> None:
        """Ends the claim, and forgets the node unless it has left something meanwhile."""
        ...


class OwnRecords:
    """Takes off the note of one node (`node`, one life of a process) what the bus has."""

    def __init__(self, store: UnpublishedRecords, node: str) -> None:
        self.node = node
        self._store = store
        self._fresh: deque[DecisionId] = deque(maxlen=MOST_KEPT)
        self._taken_off: deque[tuple[float, list[DecisionId]]] = deque()
        """What was taken off, by when; to be done once more."""

    def acknowledged(self, events: Sequence[OutgoingEvent]) -> None:
        """The bus has these."""
        self._fresh.extend([event.record_of for event in events if event.record_of is not None])

    def withdrawn(self, decision_id: DecisionId) -> None:
        """The decision's record is not to be published, whether it was kept or will be."""
        self._fresh.append(decision_id)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator["OwnRecords"]:
        """Says that the node lives, and takes off, while the context lasts. To be left when nothing is saved or
        published any more: then the node is forgotten, or what it has left is for others."""
        await self._say()
        try:
            async with running_beside(self._keep(), "own-records"):
                yield self
        finally:
            await self._leave()

    async def take_off(self) -> None:
        """Takes off what is new, and once more what was taken off long enough ago."""
        now_s = asyncio.get_running_loop().time()
        await self._take_off_until(now_s - AGAIN_SECONDS, now_s)

    async def _take_off_until(self, until_s: float, now_s: float) -> None:
        fresh = [self._fresh.popleft() for _ in range(min(len(self._fresh), MOST_TAKEN_OFF))]
        again = [self._taken_off.popleft()] if self._taken_off and self._taken_off[0][0] <= until_s else []
        ids = [*fresh, *(id_ for _, ids in again for id_ in ids)]
        if not ids:
            return
        try:
            await self._store.take_off(self.node, ids)
        except BaseException:
            self._fresh = deque([*fresh, *self._fresh], maxlen=MOST_KEPT)
            self._taken_off.extendleft(again)
            raise
        if fresh:
            self._taken_off.append((now_s, fresh))

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        said_s = loop.time()
        while True:
            await asyncio.sleep(TAKE_OFF_SECONDS)
            if loop.time() - said_s >= SAY_SECONDS:
                said_s = loop.time()
                await self._say()
            try:
                await self.take_off()
            except StoreUnavailable as error:
                _log.debug("published records were not taken off: %s", error, extra={"action": "they are later"})

    async def _say(self) -> None:
        try:
            await self._store.live(self.node)
        except StoreUnavailable as error:
            _log.debug("the node could not say that it lives: %s", error, extra={"action": "it does again soon"})

    async def _leave(self) -> None:
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                now_s = asyncio.get_running_loop().time()
                while self._fresh or self._taken_off:
                    await self._take_off_until(now_s, now_s)
                await self._store.leave(self.node)


class RecoverRecords:
    """Publishes what dead nodes left. Running it twice at once publishes some twice, and loses nothing."""

    def __init__(self, store: UnpublishedRecords, publisher: EventPublisher, metrics: Metrics, node: str) -> None:
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._node = node

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks for dead nodes again and again while the context lasts."""
        async with running_beside(self._look_on(), "recover-records"):
            yield

    async def __call__(self) -> int:
        """Looks once; how many records were published. Raises StoreUnavailable and BusUnavailable: what is left then is
        for a later look, this node's or another's."""
        recovered = 0
        for node in await self._store.dead():
            if node != self._node and await self._store.claim(node, self._node, CLAIM_SECONDS):
                recovered += await self._recover(node)
        return recovered

    async def _recover(self, node: str) -> int:
        recovered = 0
        while found := await self._store.unpublished(node, AT_ONCE, CLAIM_SECONDS):
            events = [event for id_, record in found if record is not None and (event := _event(id_, record))]
            if events:
                await self._publisher.publish(events)
                self._metrics.count("records_recovered_total", len(events))
                recovered += len(events)
            await self._store.take_off(node, [id_ for id_, _ in found])
        await self._store.forget(node)
        if recovered:
            _log.warning(
                "%d records of node %s, which died, were published", recovered, node, extra={"action": "publish"}
            )
        return recovered

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # nosec B311 - no secret
            try:
                await self()
            except (StoreUnavailable, BusUnavailable) as error:
                _log.warning("records of dead nodes wait: %s", error, extra={"action": "tried again"})


def _event(decision_id: DecisionId, record: bytes) -> OutgoingEvent | None:
    """The record as its node would have published it; None for what is none."""
    try:
        customer_id = orjson.loads(record)["subject"]
    except (ValueError, TypeError, KeyError):
        customer_id = None
    if not isinstance(customer_id, str):
        _log.error("the record of decision %s could not be read", decision_id, extra={"action": "it is dropped"})
        return None
    return OutgoingEvent(topic=DECISIONS, key=customer_id, value=record, record_of=decision_id)
