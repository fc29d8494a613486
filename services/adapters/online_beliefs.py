"""The beliefs of online learning on a node that decides: read from the store every so often, put in place by one
reference. A decision only looks things up; while the store is away the beliefs before go on serving."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from decision_engine.online import OnlineTable, unknown_table
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from models.online.evidence import Cell, CellKey
from models.online.stored import cell_key, read_cells
from models.online.tables import online_table, taught_by_version
from services.ports import Clock, EvidenceReader, Metrics, StoreUnavailable
from services.use_cases.running_beside import running_beside
from services.use_cases.short_turns import short_turns

REFRESH_SECONDS = 1.0
FADE_SECONDS = 300.0
"""After so long without new evidence beliefs are made anew all the same: they fade."""
_SWAP_SECONDS = 0.05
"""How soon after a swap of models beliefs are made for those that decide now."""
_NOBODY: Scorers = MappingProxyType({})
_log = logging.getLogger(__name__)


class OnlineBeliefs:
    """Follows the evidence for the strategy that decides. `reader` gives the evidence counted on a strategy's terms,
    `scorers` the models that decide: what they were not fitted with is believed less firmly."""

    def __init__(
        self,
        reader: Callable[[PreparedStrategy], EvidenceReader],
        deciding: Callable[[], PreparedStrategy],
        clock: Clock,
        metrics: Metrics,
        scorers: Callable[[], Scorers] = lambda: _NOBODY,
    ) -> None:
        self._reader = reader
        self._deciding = deciding
        self._clock = clock
        self._metrics = metrics
        self._scorers = scorers
        self._headers: dict[int, bytes] = {}
        self._parts: dict[int, dict[CellKey, Cell]] = {}
        self._made_for: PreparedStrategy | None = None
        self._made_with: Scorers | None = None
        self._looked: tuple[PreparedStrategy, Scorers] | None = None
        """What decided at the last look, whatever came of it."""
        self._made_ms = 0
        self.table: OnlineTable | None = None
        """What is believed now; None before the first reading, and for a strategy that does not learn online."""

    @asynccontextmanager
    async def following(self, every_s: float = REFRESH_SECONDS) -> AsyncIterator["OnlineBeliefs"]:
        """Reads once, then in the background while the context lasts."""
        await self.refresh()
        async with running_beside(self._follow(every_s), "online-beliefs"):
            yield self

    async def refresh(self) -> None:
        """Reads what has changed; if anything has, or time has passed, the table is made anew."""
        prepared, scorers, now_ms = self._deciding(), self._scorers(), self._clock.now_ms()
        self._looked = prepared, scorers
        if prepared.online is None:
            self.table, self._made_for = None, prepared
            return
        try:
            changed = await self._read(self._reader(prepared), anew=prepared is not self._made_for)
        except StoreUnavailable as error:
            self._metrics.count("online_refreshes_total", outcome="failed")
            _log.warning("beliefs could not be read: %s", error, extra={"action": "those before go on serving"})
            return
        same = prepared is self._made_for and scorers is self._made_with
        if changed or not same or now_ms - self._made_ms >= FADE_SECONDS * 1000:
            taught = taught_by_version(scorers.values())
            with short_turns():
                table = await asyncio.to_thread(_table, prepared, list(self._parts.values()), now_ms, taught)
            self.table, self._made_for, self._made_with, self._made_ms = table, prepared, scorers, now_ms
            self._metrics.count("online_refreshes_total", outcome="made")
        if self.table is not None and self.table.as_of_ms:
            self._metrics.gauge("online_posterior_age_seconds", max(0, now_ms - self.table.as_of_ms) / 1000)

    async def _read(self, reader: EvidenceReader, *, anew: bool) -> bool:
        if anew:
            self._headers, self._parts = {}, {}
        headers = await reader.headers()
        changed = [number for number, header in headers.items() if self._headers.get(number) != header]
        gone = self._headers.keys() - headers.keys()
        for number in changed:
            await self._catch_up(reader, number, headers[number])
        for number in gone:
            del self._parts[number], self._headers[number]
        return bool(changed or gone)

    async def _catch_up(self, reader: EvidenceReader, number: int, header: bytes) -> None:
        """Reads the cells written since the last look; all of them where that cannot be told."""
        known = self._headers.get(number)
        change = None if known is None else await reader.changes(number, known, header)
        if change is None:
            self._parts[number] = read_cells(await reader.cells(number))
            self._headers[number] = header
            self._metrics.count("online_cells_read_total", len(self._parts[number]), reading="whole")
            return
        # Not changed in place: a table may be made of the cells before in another thread.
        cells = self._parts[number] | read_cells({name: v for name, v in change.cells.items() if v is not None})
        for name in (name for name, value in change.cells.items() if value is None):
            cells.pop(cell_key(name), None)
        self._parts[number], self._headers[number] = cells, change.header
        self._metrics.count("online_cells_read_total", len(change.cells), reading="changes")

    async def _follow(self, every_s: float) -> None:
        while True:
            await self._wait(every_s)
            try:
                await self.refresh()
            except Exception:  # noqa: BLE001 - whatever evidence holds, the node goes on following
                self._metrics.count("online_refreshes_total", outcome="failed")
                _log.exception("beliefs could not be made", extra={"action": "those before go on serving"})

    async def _wait(self, every_s: float) -> None:
        """Until it is time to look again, or the strategy or a model has been swapped."""
        until_s = asyncio.get_running_loop().time() + every_s
        while (left_s := until_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left_s, _SWAP_SECONDS))
            prepared, scorers = self._looked or (None, None)
            if self._deciding() is not prepared or self._scorers() is not scorers:
                return


def _table(
    prepared: PreparedStrategy,
    parts: list[dict[CellKey, Cell]],
    now_ms: int,
    taught: Mapping[str, frozenset[str]],
) -> OnlineTable | None:
    if prepared.online is None:
        return None
    if not parts:
        return unknown_table(prepared.online)
    return online_table(prepared.online, prepared.offers, parts, now_ms, taught)
