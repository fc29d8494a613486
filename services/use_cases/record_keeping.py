"""Keeping records: in time if the store is quick, behind the answer if it is not, and counted if it fails.

A save that has not come back when the answer must leave is tried again in the background, so that a store that was slow
or away for a moment loses no record and no tracking id.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial

from services.ports import Metrics, StoreSlow, StoreUnavailable

Save = Callable[[], Awaitable[None]]
"""Saves one record; to do it twice is to do it once. Raises StoreUnavailable."""

LATE_SECONDS = 10.0
"""How long a late save is tried before it is given up."""
RETRY_SECONDS = 0.1
DRAIN_SECONDS = 3.0
"""How long a stop waits for late saves: with the answers under way it stays below what a process is given to end."""
MAX_LATE = 1_000
"""Late saves at once; beyond them a save ends with its decision's time."""
_log = logging.getLogger(__name__)


class Kept(Enum):
    """What became of a record while its answer waited; in the latter two cases it goes on being tried."""

    YES = "yes"
    SLOW = "slow"
    FAILED = "failed"


class RecordKeeper:
    """Saves within the time an answer has, and behind it."""

    def __init__(self, metrics: Metrics, late_seconds: float = LATE_SECONDS) -> None:
        self._metrics = metrics
        self._late_seconds = late_seconds
        self._late: set[asyncio.Task[None]] = set()

    @property
    def late(self) -> int:
        """How many saves are still under way behind their answers."""
        return len(self._late)

    async def keep(self, save: Save, decision_id: str, seconds: float) -> Kept:
        """Waits this long for the save. Never raises for what the store does."""
        try:
            async with asyncio.timeout(seconds):
                await save()
        except (StoreSlow, TimeoutError):
            self._go_on(save, decision_id)
            return Kept.SLOW
        except StoreUnavailable:
            self._go_on(save, decision_id)
            return Kept.FAILED
        return Kept.YES

    async def drain(self, seconds: float | None = None) -> None:
        """Returns when no save is under way any more; those that are after `seconds` are given up, and counted."""
        try:
            async with asyncio.timeout(seconds):
                while self._late:
                    await asyncio.wait(set(self._late))
        except TimeoutError:
            given_up = set(self._late)
            for task in given_up:
                task.cancel()
            await asyncio.wait(given_up)

    def _go_on(self, save: Save, decision_id: str) -> None:
        """Saves again from the start: what the first attempt has written it writes once more, the same."""
        if len(self._late) >= MAX_LATE:
            self._lost(decision_id)
            return
        task = asyncio.create_task(self._save_late(save, decision_id), name=f"keep {decision_id}")
        self._late.add(task)
        task.add_done_callback(partial(self._ended, decision_id))

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

    def _lost(self, decision_id: str) -> None:
        self._metrics.count("records_unkept_total", where="store")
        _log.error("the record of decision %s was not kept", decision_id, extra={"action": "keep_record"})


async def _insist(save: Save) -> None:
    while True:
        try:
            await save()
        except StoreUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return
