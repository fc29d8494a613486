"""The open leads of the inbox's channel as this node knows them: from the outbound feed, with everybody's marks.

Nothing here is the truth: leads are on the outbound topic and marks in the store. A node that starts, or has not looked
for a while, has the same board after one look.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from services.api.stream_feed import OutboundFeed
from services.ports import StoreUnavailable
from services.use_cases.leads.lead import Lead, read_lead
from services.use_cases.leads.marks import LeadMarks, Mark, read_mark
from services.use_cases.leads.results import Credit, LeadResults
from services.use_cases.outbound_messages import OutboundMessage

LOOK_SECONDS = 0.4
"""How soon what one person does with a lead is seen by the others."""
_ANEW_LOOKS = 150
"""Every so many looks all marks are read anew: one that lapsed announces nothing."""
_MARKS_AT_ONCE = 1_000
_CAUGHT_UP_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """An open lead as it stands now."""

    lead: Lead
    mark: Mark | None
    credits: tuple[Credit, ...]


class LeadBoard:
    """Open leads by id. `look` brings it up to date; while somebody watches that is done all the time."""

    def __init__(self, feed: OutboundFeed, marks: LeadMarks, results: LeadResults) -> None:
        self._feed = feed
        self._marks = marks
        self._results = results
        self._leads: dict[str, Lead] = {}
        self._messages: dict[str, OutboundMessage] = {}
        self._held: dict[str, Mark] = {}
        self._unread: set[str] = set()
        """Leads whose marks have not been read yet."""
        self._place = 0
        self._changes = -1
        self._looks = 0
        self._watchers = 0
        self._one_look = asyncio.Lock()
        self._news = asyncio.Event()
        self._known: tuple[object, ...] = ()
        self._looking: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """The board is as it should be: a node that has just started has read what lies before. Raises
        StoreUnavailable."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._feed.caught_up.wait(), _CAUGHT_UP_SECONDS)
        await self.look()

    async def look(self) -> None:
        """Takes in what is new. Raises StoreUnavailable."""
        async with self._one_look:
            self._take_leads()
            await self._read_marks()
            stopped = sum(map(self._is_stopped, self._leads))
            known = (len(self._leads), self._place, self._changes, self._results.changes, stopped)
            if known != self._known:
                self._known = known
                self._announce()

    def open(self, recipient: str | None) -> list[Standing]:
        """What is to be followed up, first things first. `recipient` None: by anybody."""
        found = [
            self.standing(lead)
            for lead in self._leads.values()
            if (recipient is None or lead.is_for(recipient))
            and not self.is_closed(lead.id)
            and not self._is_stopped(lead.id)
        ]
        return sorted(found, key=lambda standing: (standing.lead.rank, standing.lead.id))

    def standing(self, lead: Lead) -> Standing:
        """The lead with its mark and what it has earned."""
        return Standing(lead, self._held.get(lead.id), self._results.of(lead.decision_id))

    def lead(self, lead_id: str) -> Lead | None:
        """A lead that is neither cancelled nor expired, closed or not."""
        return self._leads.get(lead_id)

    def admit(self, lead: Lead) -> None:
        """Takes in a lead that was read from the log for somebody, from before this node's buffer."""
        if lead.id not in self._leads:
            self._leads[lead.id] = lead
            self._unread.add(lead.id)

    def earned(self, decision_id: str) -> tuple[Credit, ...]:
        """What conversions owe the lead of the decision."""
        return self._results.of(decision_id)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Somebody watches; the first one sets the looking going, the last one ends it."""
        self._watchers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking(), name="lead-board")
        try:
            yield
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                looking, self._looking = self._looking, None
                looking.cancel()
                with suppress(asyncio.CancelledError):
                    await looking

    async def news(self) -> None:
        """Returns once anything on the board has changed."""
        await self._news.wait()

    def _announce(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                _log.warning("marks on leads cannot be read: %s", error, extra={"action": "trying again"})
            await asyncio.sleep(LOOK_SECONDS)

    def _take_leads(self) -> None:
        for entry in self._feed.after(self._place):
            self._place = entry.sequence
            try:
                lead = read_lead(entry.message)
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("a lead cannot be read: %s", type(error).__name__, extra={"action": "passed over"})
                continue
            if lead is not None:
                self._leads[lead.id] = lead
                self._messages[lead.id] = entry.message
                self._unread.add(lead.id)
        now_ms = self._feed.clock.now_ms()
        gone = [id_ for id_, lead in self._leads.items() if lead.is_expired(now_ms) or self._feed.is_cancelled(id_)]
        for lead_id in gone:
            del self._leads[lead_id]
            self._messages.pop(lead_id, None)
            self._held.pop(lead_id, None)
            self._unread.discard(lead_id)
        while len(self._leads) > self._feed.limits.messages:
            del self._leads[next(iter(self._leads))]

    def _is_stopped(self, lead_id: str) -> bool:
        """Whether a kill switch has stopped what it offers."""
        message = self._messages.get(lead_id)
        return message is not None and self._feed.is_stopped(message)

    async def _read_marks(self) -> None:
        changes = await self._marks.changes()
        self._looks += 1
        if changes != self._changes or self._looks % _ANEW_LOOKS == 0:
            wanted = list(self._leads)
        else:
            wanted = [lead_id for lead_id in self._unread if lead_id in self._leads]
        held: dict[str, Mark] = {}
        for start in range(0, len(wanted), _MARKS_AT_ONCE):
            ids = wanted[start : start + _MARKS_AT_ONCE]
            for lead_id, value in zip(ids, await self._marks.read(ids), strict=True):
                if value is not None:
                    held[lead_id] = read_mark(value)
        self._replace(wanted, held)
        self._changes = changes
        self._unread.clear()

    def _replace(self, wanted: list[str], held: Mapping[str, Mark]) -> None:
        if any(self._held.get(lead_id) != held.get(lead_id) for lead_id in wanted):
            self._known = ()  # a mark that lapsed raises no count of changes
        for lead_id in wanted:
            if lead_id in held:
                self._held[lead_id] = held[lead_id]
            else:
                self._held.pop(lead_id, None)

    def why_gone(self, lead_id: str) -> str:
        """What became of a lead that is not open any more: closed, cancelled or expired."""
        if self.is_closed(lead_id):
            return "closed"
        overtaken = self._feed.is_cancelled(lead_id) or self._is_stopped(lead_id)
        return "cancelled" if overtaken else "expired"

    def is_closed(self, lead_id: str) -> bool:
        """Whether somebody has closed it."""
        mark = self._held.get(lead_id)
        return mark is not None and mark.is_closed
