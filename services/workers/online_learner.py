"""The online learner: owns partitions of the log and keeps the evidence about treatments that beliefs are made from.

Each record counts once. What was counted of a partition, the options still under way, and how far decisions and
responses of it were taken are written in one step, over what was read: the stored positions, not those that the group
has committed, say where reading goes on. Whoever finds another header there (another owner wrote, the store has lost
something) drops what it holds, reads what is stored, and goes on from its positions, from the log's beginning if
nothing is. A write whose answer got lost is recognised by its header.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol
from uuid import uuid4

import orjson

from decision_engine.online import OnlineLearning
from models.online.book import Book, Tally, pending_by_state
from models.online.stored import read_book, written_changes
from services.ports import (
    BusUnavailable,
    Clock,
    Delivery,
    EvidenceStore,
    EvidenceWrite,
    Metrics,
    StoreUnavailable,
)
from services.use_cases.event_batches import FROM_THE_FUTURE, latest_ms
from services.workers.online_facts import TOPICS, OnlineFact, OnlineFactUnreadable, read_fact
from services.workers.store_progress import LogReplaced

Partition = tuple[str, int]
"""Topic and partition."""
_QUIET_LOOKS = 10
"""So many looks in a row that found nothing to read: a log that gives nothing has nothing, though a broker may never
say where an empty fetch ends."""
_SHOW_SECONDS = 10.0
"""How often what waits is counted for the metrics: that goes over all of it."""
_log = logging.getLogger(__name__)


class OwnedLog(Protocol):
    """The log as far as it is owned here. Raises BusUnavailable."""

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    def assigned(self) -> set[Partition]: ...

    async def caught_up(self) -> set[Partition]: ...

    async def beginning_offsets(self) -> dict[Partition, int]: ...

    async def end_offsets(self) -> dict[Partition, int]: ...


@dataclass(frozen=True, slots=True)
class PlacedFact:
    """A fact (None: nothing that matters) and where it stood in the log."""

    topic: str
    number: int
    offset: int
    fact: OnlineFact | None


@dataclass(slots=True)
class _Owned:
    """What is held of one partition: its book, the header it was written under, and how far each topic was taken."""

    book: Book
    header: bytes | None
    positions: dict[str, int]
    newest_ms: dict[str, int]
    attempted: list[bytes] = field(default_factory=list)
    """Headers of writes whose answer has not come."""


@dataclass(slots=True, kw_only=True)
class OnlineLearner:
    """The work of one batch (`workers.consumer.Work`). `end_slack` is by how many records the broker may understate the
    end of its log. With a `wall_clock` facts from the future are refused: they would make all that is pending old."""

    terms: OnlineLearning
    store: EvidenceStore
    stream: OwnedLog
    clock: Clock
    metrics: Metrics
    wall_clock: Clock | None = None
    end_slack: int = 0
    most_options: int = 2_000_000
    """Options under way at once, over all partitions owned: of those that come on top nothing is learnt."""
    fail_point: Callable[[str], None] = lambda _step: None
    """Called between steps; tests end the process there."""
    _owned: dict[int, _Owned] = field(default_factory=dict)
    _loading: dict[int, asyncio.Task[_Owned]] = field(default_factory=dict)
    _sought: set[int] = field(default_factory=set)
    """Partitions whose reading was moved since the batch in hand was polled."""
    _writer: str = field(default_factory=lambda: uuid4().hex[:12])
    _quiet: int = 0
    _show_at_s: float = 0.0
    _writes: count = field(default_factory=count)  # type: ignore[type-arg]

    async def prepare(self, deliveries: Sequence[Delivery]) -> list[PlacedFact]:
        """Reads the facts; what cannot be read is counted and passed over."""
        self._sought.clear()
        return [
            PlacedFact(delivery.topic, delivery.partition, delivery.offset, self._read(delivery))
            for delivery in deliveries
        ]

    async def apply(self, batch: Sequence[PlacedFact]) -> Mapping[Partition, int]:
        """Takes the facts into the books and writes what they change. Raises StoreUnavailable, BusUnavailable,
        LogReplaced."""
        self._quiet = 0
        await self._look_after_ownership()
        for placed in batch:
            self._take(placed)
        self.fail_point("facts taken")
        saved = await self._advance_and_save()
        self.fail_point("evidence saved")
        touched = {placed.number for placed in batch} & saved
        return {
            (topic, number): position for number in touched for topic, position in self._owned[number].positions.items()
        }

    async def idle(self) -> None:
        """Counts what has come of age while nothing comes in. Raises LogReplaced."""
        self._quiet += 1
        with suppress(StoreUnavailable, BusUnavailable):
            await self._look_after_ownership()
            await self._advance_and_save()

    def _read(self, delivery: Delivery) -> OnlineFact | None:
        try:
            fact = read_fact(delivery)
            clock = self.wall_clock
            if fact is not None and clock is not None and fact.at_ms > latest_ms(delivery, clock.now_ms()):
                raise OnlineFactUnreadable(FROM_THE_FUTURE)
        except OnlineFactUnreadable as error:
            self.metrics.count("online_unreadable_total", topic=delivery.topic)
            place = (delivery.topic, delivery.partition, delivery.offset)
            _log.warning("%s/%d/%d: %s", *place, error, extra={"action": "passed over"})
            return None
        return fact

    def _take(self, placed: PlacedFact) -> None:
        owned = self._owned.get(placed.number)
        if owned is None or placed.offset < owned.positions[placed.topic]:
            return  # not ours, or counted before
        if placed.number in self._sought and placed.offset > owned.positions[placed.topic]:
            return  # what lies between is still to be read, and this after it once more
        owned.positions[placed.topic] = placed.offset + 1
        if placed.fact is not None:
            owned.book.full = sum(len(one.book.options) for one in self._owned.values()) >= self.most_options
            placed.fact.enter(owned.book)
            owned.newest_ms[placed.topic] = max(owned.newest_ms[placed.topic], placed.fact.at_ms)

    async def _look_after_ownership(self) -> None:
        """Forgets partitions given up and takes over new ones, whose reading begins where their evidence ends."""
        owned = self.stream.assigned()
        numbers = {number for _, number in owned if all((topic, number) in owned for topic in TOPICS)}
        for number in self._owned.keys() - numbers:
            del self._owned[number]
        for number in self._loading.keys() - numbers:
            self._loading.pop(number).cancel()
        new = numbers - self._owned.keys()
        if not new:
            return
        self._quiet = 0
        beginnings, ends = await self.stream.beginning_offsets(), await self.stream.end_offsets()
        for number in sorted(new):
            taken = await self._stored(number)
            for topic in TOPICS:
                self._check(topic, number, taken, (beginnings.get((topic, number), 0), ends.get((topic, number), 0)))
            self._owned[number] = taken
            places = {(topic, number): taken.positions[topic] for topic in TOPICS}
            self._sought.add(number)
            self.stream.seek({place: at for place, at in places.items() if place in self.stream.assigned()})

    async def _stored(self, number: int) -> _Owned:
        """What is stored of a partition. Loading goes on when whoever waits for it may wait no longer, as while idle:
        large evidence would else be loaded again and again and never be taken over."""
        task = self._loading.get(number)
        if task is None:
            task = self._loading[number] = asyncio.create_task(self._load(number), name=f"evidence-{number}")
            task.add_done_callback(_heard)
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._loading.pop(number, None)

    async def _load(self, number: int) -> _Owned:
        stored = await self.store.load(number)
        if stored is None:
            return _Owned(Book(self.terms), None, dict.fromkeys(TOPICS, 0), dict.fromkeys(TOPICS, 0))
        head = orjson.loads(stored.header)
        book = read_book(self.terms, stored.cells, stored.options)
        return _Owned(book, stored.header, dict(head["positions"]), dict(head["newest_ms"]))

    def _check(self, topic: str, number: int, taken: _Owned, log: tuple[int, int]) -> None:
        """A log that begins later leaves a gap, which evidence can bear; one that ends earlier is another log."""
        (begin, end), at = log, taken.positions[topic]
        if at > end + self.end_slack:
            raise LogReplaced(
                f"the evidence holds {topic}/{number} up to offset {at}, and the log ends at {end}: the topic was made "
                "anew; start on an empty namespace (KAIROS_NAMESPACE) to learn from this log"
            )
        if at < begin:
            if taken.header is not None:
                _log.warning("%s/%d: the log no longer has offsets %d to %d", topic, number, at, begin,
                             extra={"action": "none: they are missing from the evidence"})  # fmt: skip
            taken.positions[topic] = begin

    async def _advance_and_save(self) -> set[int]:
        """Writes every partition that has changed; those left unwritten are dropped, and read again."""
        read = await self.stream.caught_up()
        if self._quiet >= _QUIET_LOOKS:
            read |= {(topic, number) for topic in TOPICS for number in self._owned}
        saved = set()
        for number, owned in list(self._owned.items()):
            owned.book.advance(self._moment(number, owned, read))
            if await self._save(number, owned):
                saved.add(number)
            else:
                _log.warning("the evidence of partition %d was written by another", number,
                             extra={"action": "read it again"})  # fmt: skip
                self.metrics.count("online_rewinds_total")
                del self._owned[number]
        self._show()
        return saved

    def _moment(self, number: int, owned: _Owned, read: set[Partition]) -> int:
        """Up to when everything is known of a partition: now, or where the topic stands that is behind."""
        behind = [owned.newest_ms[topic] for topic in TOPICS if (topic, number) not in read]
        return min([self.clock.now_ms(), *behind])

    async def _save(self, number: int, owned: _Owned) -> bool:
        book = owned.book
        head = None if owned.header is None else orjson.loads(owned.header)
        moved = head is None or head["positions"] != owned.positions
        if not (moved or book.touched_cells or book.touched_options):
            return True
        while True:
            cells, options = written_changes(book)
            header = self._header(owned)
            owned.attempted.append(header)
            write = EvidenceWrite(expected=owned.header, header=header, cells=cells, options=options)
            if await self.store.save(number, write):
                owned.header = header
                owned.attempted.clear()
                book.saved()
                self._count(book)
                return True
            stored = await self.store.header(number)
            if stored is None or stored not in owned.attempted:
                return False
            owned.header = stored  # an earlier attempt had come through; what changed since is written over it

    def _header(self, owned: _Owned) -> bytes:
        fields = {
            "positions": owned.positions,
            "newest_ms": owned.newest_ms,
            "write": f"{self._writer}-{next(self._writes)}",
        }
        return orjson.dumps(fields)

    def _count(self, book: Book) -> None:
        done, book.tally = book.tally, Tally()
        for kind, amount in (("impression", done.impressions), ("acceptance", done.acceptances), ("end", done.closed)):
            if amount > 0:
                self.metrics.count("online_updates_total", amount, kind=kind)
        if done.shed:
            self.metrics.count("online_shed_total", done.shed)

    def _show(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._show_at_s:
            return
        self._show_at_s = now_s + _SHOW_SECONDS
        if any(owned.book.full for owned in self._owned.values()):
            _log.error("%d options are under way, the most that are kept", self.most_options,
                       extra={"action": "nothing is learnt from more; add learners or raise "
                                        "KAIROS_ONLINE_OPTIONS_MOST"})  # fmt: skip
        pending = [pending_by_state(owned.book) for owned in self._owned.values()]
        for state in ("seen", "unseen"):
            self.metrics.gauge("online_pending", sum(one[state] for one in pending), state=state)


def _heard(task: asyncio.Task[_Owned]) -> None:
    """A loading that nobody waits for any more may fail."""
    if not task.cancelled():
        task.exception()
