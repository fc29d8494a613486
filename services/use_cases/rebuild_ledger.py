"""Rebuilding the contact ledgers from the bus, into the running namespace, while decisions go on.

Responses first, for they tell of every contact that was answered, then decisions, which add what is reserved still and
when the others were. Every account is merged into the ledger atomically, and merging is idempotent: a rebuild
that was interrupted is simply run again, and one that nobody needed changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from decision_engine.contact_ledger import ContactRecord
from decision_engine.identifiers import CustomerId
from services.ports import BusUnavailable, Clock, Delivery
from services.use_cases.contacts_in_log import ContactsInLog, LoggedContacts

Partition = tuple[str, int]
"""Topic and partition."""

_POLL_RECORDS = 4_000
_POLL_SECONDS = 0.5
_SILENT_POLLS = 60
"""Empty polls in a row, half a minute, after which a log that has not ended is taken for unreadable."""
_POLLS_BEYOND_END = 20
"""The embedded broker understates the end of its log by its last write; what comes later is applied by others."""
_AT_ONCE = 64
_MARKERS_AT_ONCE = 500


class LogReader(Protocol):
    """A reader of all partitions of a topic, from its beginning. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def beginning_offsets(self) -> Mapping[Partition, int]: ...

    async def end_offsets(self) -> Mapping[Partition, int]: ...


class RestorableLedger(Protocol):
    """A ledger that takes accounts of contacts from the log. Raises StoreUnavailable."""

    async def restore(
        self, customer_id: CustomerId, records: Sequence[ContactRecord], response_ids: Sequence[str], now_ms: int
    ) -> int: ...

    def forget(self, customer_id: CustomerId, until_ms: int) -> Coroutine[None, None, None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild did."""

    events: int = 0
    contacts: int = 0
    responses: int = 0
    unreadable: int = 0
    customers: int = 0


async def log_length(logs: Sequence[LogReader]) -> int:
    """How many events there are to read, as the bus says. Raises BusUnavailable."""
    length = 0
    for log in logs:
        beginnings, ends = await log.beginning_offsets(), await log.end_offsets()
        length += sum(max(0, end - beginnings.get(partition, 0)) for partition, end in ends.items())
    return length


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildLedger:
    """Reads three logs to the end they had when each was begun. `on_progress` is told how many events were read."""

    ledger: RestorableLedger
    contacts: ContactsInLog
    clock: Clock
    on_progress: Callable[[int], None] = lambda _done: None
    _erased: dict[CustomerId, int] = field(default_factory=dict)
    _customers: set[CustomerId] = field(default_factory=set)
    _read_to: dict[Partition, int] = field(default_factory=dict)

    async def __call__(self, profiles: LogReader, responses: LogReader, decisions: LogReader) -> Rebuilt:
        """Brings the ledgers up to what the logs say. Raises BusUnavailable and StoreUnavailable; running it again is
        then safe and complete."""
        rebuilt = Rebuilt()
        for log in (profiles, responses, decisions):
            rebuilt = await self._read(log, rebuilt)
        # Whoever was erased meanwhile must not come back: what was merged after the erasure goes once more.
        await self._note_late_erasures(profiles)
        await _in_turns([self.ledger.forget(customer, at_ms) for customer, at_ms in self._erased.items()])
        return replace(rebuilt, customers=len(self._customers))

    async def _read(self, log: LogReader, rebuilt: Rebuilt) -> Rebuilt:
        async for deliveries in _to_the_end(log):
            self._note_read(deliveries)
            found, unreadable = self.contacts.read(deliveries)
            self._note_erasures(found)
            kept = {customer: self._without_erased(customer, logged) for customer, logged in found.items()}
            told = {customer: logged for customer, logged in kept.items() if logged.records or logged.response_ids}
            self._customers.update(told)
            await _in_turns([self._restore(customer, logged) for customer, logged in told.items()])
            rebuilt = replace(
                rebuilt,
                events=rebuilt.events + len(deliveries),
                contacts=rebuilt.contacts + sum(len(logged.records) for logged in told.values()),
                responses=rebuilt.responses + sum(len(logged.response_ids) for logged in told.values()),
                unreadable=rebuilt.unreadable + unreadable,
            )
            self.on_progress(rebuilt.events)
        return rebuilt

    async def _note_late_erasures(self, profiles: LogReader) -> None:
        """What came while the other logs were read; not what comes from now on, which may never cease."""
        beginnings, ends = await profiles.beginning_offsets(), await profiles.end_offsets()
        beyond = 0
        while beyond < _POLLS_BEYOND_END:
            deliveries = await profiles.poll(_POLL_RECORDS, _POLL_SECONDS)
            if not deliveries:
                return
            self._note_erasures(self.contacts.read(deliveries)[0])
            self._note_read(deliveries)
            beyond += all(self._read_to.get(p, beginnings.get(p, 0)) >= end for p, end in ends.items())

    def _note_read(self, deliveries: Sequence[Delivery]) -> None:
        self._read_to.update({(delivery.topic, delivery.partition): delivery.offset + 1 for delivery in deliveries})

    async def _restore(self, customer: CustomerId, logged: LoggedContacts) -> None:
        now_ms, ids = self.clock.now_ms(), logged.response_ids
        await self.ledger.restore(customer, logged.records, ids[:_MARKERS_AT_ONCE], now_ms)
        for at in range(_MARKERS_AT_ONCE, len(ids), _MARKERS_AT_ONCE):
            await self.ledger.restore(customer, (), ids[at : at + _MARKERS_AT_ONCE], now_ms)

    def _note_erasures(self, found: Mapping[CustomerId, LoggedContacts]) -> None:
        for customer, logged in found.items():
            if logged.erased_ms:
                self._erased[customer] = max(logged.erased_ms, self._erased.get(customer, 0))

    def _without_erased(self, customer: CustomerId, logged: LoggedContacts) -> LoggedContacts:
        """Only what came after the person was erased, if ever."""
        erased_ms = self._erased.get(customer, 0)
        if not erased_ms:
            return logged
        records = [record for record in logged.records if max(record.contact_ms, record.outcome_ms) > erased_ms]
        return LoggedContacts(records, logged.response_ids if records else [])


async def _to_the_end(log: LogReader) -> AsyncIterator[list[Delivery]]:
    """Everything up to the end as it was when reading began."""
    beginnings, ends = await log.beginning_offsets(), await log.end_offsets()
    behind = {partition: end for partition, end in ends.items() if end > beginnings.get(partition, 0)}
    silent = beyond = 0
    while beyond < _POLLS_BEYOND_END:
        deliveries = await log.poll(_POLL_RECORDS, _POLL_SECONDS)
        if deliveries:
            silent = 0
            yield deliveries
        elif not behind:
            return
        for delivery in deliveries:
            partition = (delivery.topic, delivery.partition)
            if delivery.offset + 1 >= behind.get(partition, delivery.offset + 2):
                del behind[partition]
        silent += not deliveries
        if silent >= _SILENT_POLLS:
            raise BusUnavailable(f"nothing came of {sorted(behind)} although their logs go on")
        beyond += not behind


async def _in_turns(calls: Sequence[Coroutine[None, None, None]]) -> None:
    """Side by side, so many at a time."""
    for at in range(0, len(calls), _AT_ONCE):
        await asyncio.gather(*calls[at : at + _AT_ONCE])
