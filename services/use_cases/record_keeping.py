"""Keeping records: in time if the store is quick, behind the answer if it is not, and counted if it fails.

A save that has not come back when the answer must leave is tried again in the background, so that a store that was slow
or away for a moment loses no record and no tracking id. A record that the bus had no room for is handed to it again
until it has.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial

from decision_engine.identifiers import DecisionId
from services.ports import BusUnavailable, Metrics, StoreSlow, StoreUnavailable
from services.use_cases.deadlines import within

Save = Callable[[], Awaitable[object]]
"""Saves one record; to do it twice is to do it once. Raises StoreUnavailable."""

Publish = Callable[[], None]
"""Hands one record to the bus. Raises BusUnavailable while there is no room."""

LATE_SECONDS = 10.0
"""How long a late save is tried before it is given up."""
RETRY_SECONDS = 0.1
"""The pause after a first failure; it doubles from there, times a factor between 0.5 and 1."""
MOST_RETRY_SECONDS = 1.0
"""So a store that comes back meets at most `MAX_LATE` saves in its first second, and not all at once."""
DRAIN_SECONDS = 3.0
"""How long a stop waits for late saves: with the answers under way it stays below what a process is given to end."""
MAX_LATE = 1_000
"""Late saves at once; beyond them a save ends with its decision's time."""
MAX_UNPUBLISHED = 1_000
"""Records that wait for room on the way to the bus, up to 20 KB each; beyond them they are in the store alone."""
_log = logging.getLogger(__name__)


class Kept(Enum):
    """What became of a record while its answer waited; in the latter two cases it goes on being tried."""

    YES = "yes"
    SLOW = "slow"
    FAILED = "failed"


class RecordKeeper:
    """Saves within the time an answer has, and behind it. `on_withdrawn` is told of decisions whose records are not to
    be published any more, though a save of them may still come to pass."""

    def __init__(
        self,
        metrics: Metrics,
        late_seconds: float = LATE_SECONDS,
        on_withdrawn: Callable[[DecisionId], None] = lambda _: None,
    ) -> None:
        self._metrics = metrics
        self._late_seconds = late_seconds
        self._on_withdrawn = on_withdrawn
        self._late: set[asyncio.Task[None]] = set()
        self._unpublished: deque[tuple[Publish, str]] = deque()
        self._publishing: asyncio.Task[None] | None = None

    @property
    def unpublished(self) -> int:
        """How many records wait for room on the way to the bus."""
        return len(self._unpublished)

    @property
    def late(self) -> int:
        """How many saves are still under way behind their answers."""
        return len(self._late)

    async def keep(self, save: Save, decision_id: str, seconds: float) -> Kept:
        """Waits this long for the save. Never raises for what the store does."""
        try:
            with within(seconds):
                await save()
        except (StoreSlow, TimeoutError):
            self.keep_late(save, decision_id)
            return Kept.SLOW
        except StoreUnavailable:
            self.keep_late(save, decision_id)
            return Kept.FAILED
        return Kept.YES

    def keep_late(self, save: Save, decision_id: str) -> None:
        """Saves in the background, from the start: what an earlier attempt has written is written again, the same."""
        if len(self._late) >= MAX_LATE:
            self._lost(decision_id)
            return
        task = asyncio.create_task(self._save_late(save, decision_id), name=f"keep {decision_id}")
        self._late.add(task)
        task.add_done_callback(partial(self._ended, decision_id))

    def publish_late(self, publish: Publish, decision_id: str) -> None:
        """Publishes in the background, in the order given, as soon as there is room."""
        if len(self._unpublished) >= MAX_UNPUBLISHED:
            self._unsent(decision_id)
            return
        self._unpublished.append((publish, decision_id))
        if self._publishing is None:
            self._publishing = asyncio.create_task(self._publish_all(), name="publish late")

    def withdraw(self, decision_id: DecisionId) -> None:
        """The decision's offers were not handed out: nobody is to publish a record that says so."""
        self._on_withdrawn(decision_id)

    async def drain(self, seconds: float | None = None) -> None:
        """Returns when no save is under way any more; those that are after `seconds` are given up, and counted. So is
        what the bus has no room for then."""
        try:
            async with asyncio.timeout(seconds):
                while self._late:
                    await asyncio.wait(set(self._late))
        except TimeoutError:
            given_up = set(self._late)
            for task in given_up:
                task.cancel()
            await asyncio.wait(given_up)
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.wait({self._publishing})
            self._publish_some()
            while self._unpublished:
                self._unsent(self._unpublished.popleft()[1])

    def _ended(self, decision_id: str, task: "asyncio.Task[None]") -> None:
        self._late.discard(task)
        if task.cancelled():
            self._lost(decision_id)

    async def _save_late(self, save: Save, decision_id: str) -> None:
        try:
            async with asyncio.timeout(self._late_seconds):
                await _insist(save)
        except TimeoutError:
            self._lost(decision_id)

    async def _publish_all(self) -> None:
        try:
            while self._unpublished:
                await asyncio.sleep(RETRY_SECONDS)
                self._publish_some()
        finally:
            self._publishing = None

    def _publish_some(self) -> None:
        while self._unpublished:
            try:
                self._unpublished[0][0]()
            except BusUnavailable:
                return
            self._unpublished.popleft()

    def _unsent(self, decision_id: str) -> None:
        self._metrics.count("records_unkept_total", where="bus")
        _log.error("the record of decision %s was not published", decision_id, extra={"action": "publish"})

    def _lost(self, decision_id: str) -> None:
        self._metrics.count("records_unkept_total", where="store")
        _log.error("the record of decision %s was not kept", decision_id, extra={"action": "keep_record"})


async def _insist(save: Save) -> None:
    pause_s = RETRY_SECONDS
    while True:
        try:
            await save()
        except StoreUnavailable:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # nosec B311 - no secret
            pause_s = min(MOST_RETRY_SECONDS, 2 * pause_s)
        else:
            return
