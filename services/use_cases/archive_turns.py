"""Turns at the archive: a few at once, some that wait, and a refusal for more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.use_cases.explain_decision import ArchiveBusy


class ArchiveTurns:
    """`at_once` have their turn, `waiting` more wait for one; `what` names them where one is refused."""

    def __init__(self, at_once: int, waiting: int, what: str) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._what = what
        self._asked = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """One turn. Raises ArchiveBusy when too many wait already."""
        if self._asked >= self._most:
            raise ArchiveBusy(f"{self._asked} {self._what} are under way or wait")
        self._asked += 1
        try:
            async with self._slots:
                yield
        finally:
            self._asked -= 1
