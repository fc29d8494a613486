"""Notices that the store has lost what had been folded, and finds where to read the log again.

Committed offsets say what was read; only the store knows what it still holds. It keeps, beside the states, how far it
holds each partition. A builder about to apply records from beyond that point must read the gap again first, or the
events in it would never be counted. Where the log no longer reaches back so far, it must not go on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol, TypeVar

from services.ports import BusUnavailable, Metrics, ShellError
from services.use_cases.event_batches import Unmatched
from services.workers.trigger_progress import TriggerProgress

Partition = tuple[str, int]
"""Topic and partition."""
Answer = TypeVar("Answer")
_BUS_SECONDS = 5.0
_log = logging.getLogger(__name__)


class StateLost(ShellError):
    """The store lost states that the log no longer holds the events of."""


class LogReplaced(ShellError):
    """The store holds positions that the log has not reached: it is another log than the states were built from."""


class ProgressStore(Protocol):
    """What the states hold of each partition. Raises StoreUnavailable."""

    async def begin_batch(self, partitions: Iterable[Partition]) -> dict[Partition, int | None]: ...

    async def record_progress(self, positions: Mapping[Partition, int]) -> None: ...

    async def mark_whole(self, partitions: Iterable[Partition], of: int) -> None: ...

    async def mark_incomplete(self, known: Mapping[Partition, int]) -> None:
        """`known` is up to where the store has held the partitions that it has lost something of."""
        ...

    async def begin_namespace(self) -> None: ...


class SeekableStream(Protocol):
    """A log that can be read again. Raises BusUnavailable."""

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    def assigned(self) -> set[Partition]: ...

    async def beginning_offsets(self) -> dict[Partition, int]: ...

    async def end_offsets(self) -> dict[Partition, int]: ...

    async def committed(self) -> dict[Partition, int | None]: ...

    async def caught_up(self) -> set[Partition]: ...


class LedgerMark(Protocol):
    """Whether the contact ledgers hold what was reserved. Raises StoreUnavailable."""

    async def is_whole(self) -> bool: ...

    async def lost(self) -> None: ...


class StoreProgress:
    """Follows one builder's partitions. Every batch begins with `admit` and `begin`, and ends with `record`.

    `end_slack` is by how many records the broker may understate the end of its log; Apache Kafka never does.
    `triggers` follows what triggers have seen; None where nothing is matched, now or by others. With a `ledger` the
    states count as whole only while the ledgers are.
    """

    def __init__(
        self,
        store: ProgressStore,
        stream: SeekableStream,
        metrics: Metrics,
        *,
        end_slack: int = 0,
        triggers: TriggerProgress | None = None,
        ledger: LedgerMark | None = None,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._triggers = triggers
        self._stream = stream
        self._metrics = metrics
        self._end_slack = end_slack
        self._standing: dict[Partition, int] = {}
        """Where reading stands in every partition owned."""
        self._recorded: dict[Partition, int] = {}
        self._resumed: dict[Partition, int] = {}
        """Where reading went back to; a log may have gaps, so the first record can lie beyond."""
        self._targets: dict[Partition, int] = {}
        """How far reading must come, in every partition owned, before the states hold all of it."""
        self._partitions = 0
        """How many there are in all topics."""

    async def admit(self, firsts: Mapping[Partition, int]) -> bool:
        """Whether the store still holds everything before the records at hand, which begin at `firsts`, and before
        where reading stands in the other partitions owned. If not, the stream has been moved back and the batch must
        be left. Raises StateLost, LogReplaced, StoreUnavailable, BusUnavailable."""
        taken_over = await self._taken_over()
        standing = {**self._standing, **taken_over, **firsts}
        held = await self._store.begin_batch(standing)
        if taken_over:
            await self._check_log({p: at for p in taken_over if (at := held[p]) is not None})
            ahead = {p: at for p in taken_over if (at := held[p]) is not None and at > standing[p]}
            reached = {p: held[p] or 0 for p in taken_over}
            again = {} if self._triggers is None else await self._triggers.take_over(reached)
            self._standing.update(taken_over)
            if ahead or again:
                self._go_on({**ahead, **again}, firsts)
                return False
        behind = {p: held[p] for p, position in standing.items() if self._is_behind(p, position, held[p])}
        resume = await self._where_to_resume(behind, standing) if behind else {}
        if not resume:
            await self._mark_whole()
            return True
        await self._go_back(resume, firsts)
        return False

    async def begin(self, positions: Mapping[Partition, int]) -> Mapping[Partition, Unmatched]:
        """An admitted batch up to these offsets is about to be applied; answers where states and triggers have not come
        equally far. Raises StoreUnavailable."""
        if self._triggers is None:
            return {}
        await self._triggers.begin(positions)
        return self._triggers.spans

    async def is_matched(self) -> bool:
        """Whether every partition of the topics is owned, and triggers have seen what was read of each. Raises
        StoreUnavailable."""
        is_all = 0 < self._partitions == len(self.assigned())
        return is_all and self._triggers is not None and await self._triggers.are_at(self._standing)

    async def record(self, positions: Mapping[Partition, int]) -> None:
        """Notes what the store holds now."""
        if self._triggers is None:
            await self._store.record_progress(positions)
        else:
            await self._triggers.record(positions)
        self._recorded.update(positions)
        self._standing.update(positions)
        for partition in positions:
            self._resumed.pop(partition, None)

    def assigned(self) -> set[Partition]:
        """The partitions owned of which is known where reading must go on."""
        return self._stream.assigned() & self._standing.keys()

    async def caught_up(self) -> set[Partition]:
        """The partitions owned that were read to their end. Raises BusUnavailable."""
        return await self._stream.caught_up()

    async def _taken_over(self) -> dict[Partition, int]:
        """Forgets partitions given up; answers where reading begins in those taken over."""
        owned = self._stream.assigned()
        if self._triggers is not None:
            self._triggers.forget(self._standing.keys() - owned)
        for known in (self._standing, self._recorded, self._resumed, self._targets):
            for partition in known.keys() - owned:
                del known[partition]
        new = owned - self._standing.keys()
        committed: Mapping[Partition, int | None] = await _in_time(self._stream.committed()) if new else {}
        if new:
            await self._aim(new)
        return {partition: committed.get(partition) or 0 for partition in new}

    async def _aim(self, partitions: Iterable[Partition]) -> None:
        """The log's end now is what the states must hold; a partition without records is held as it is."""
        ends = await _in_time(self._stream.end_offsets())
        beginnings = await _in_time(self._stream.beginning_offsets())
        self._partitions = len(beginnings)
        for partition in partitions:
            end = ends.get(partition, 0)
            self._targets[partition] = 0 if end <= beginnings.get(partition, 0) else end

    async def _mark_whole(self) -> None:
        """Once a batch or idle look, not once for all: what the store forgets, and another builder's share, must come
        back."""
        if self._ledger is not None and not await self._ledger.is_whole():
            return
        whole = [p for p, target in self._targets.items() if self._standing.get(p, 0) >= target]
        await self._store.mark_whole(whole, self._partitions)

    async def _check_log(self, held: Mapping[Partition, int]) -> None:
        """A log that ends before what the store holds was made anew; its events would be taken for ones applied."""
        ends = await _in_time(self._stream.end_offsets()) if held else {}
        for (topic, number), offset in held.items():
            end = ends.get((topic, number), 0)
            if offset > end + self._end_slack:
                raise LogReplaced(
                    f"the store holds {topic}/{number} up to offset {offset}, and the log ends at {end}: the topic was "
                    "made anew; start on an empty namespace (KAIROS_NAMESPACE) to build the states from this log"
                )

    def _is_behind(self, partition: Partition, position: int, held: int | None) -> bool:
        if held is None:
            return position > 0 and self._resumed.get(partition) != 0
        return held < position and held not in (self._recorded.get(partition), self._resumed.get(partition))

    async def _where_to_resume(
        self, behind: Mapping[Partition, int | None], standing: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """Raises StateLost where the log begins too late."""
        beginnings = await _in_time(self._stream.beginning_offsets())
        committed = await _in_time(self._stream.committed())
        resume = {}
        for partition, held in behind.items():
            beginning, known = beginnings.get(partition, 0), committed.get(partition)
            if held is None and standing[partition] <= beginning and (known is None or known <= beginning):
                continue  # a log that was trimmed before anyone here read it
            if beginning > (held or 0):
                raise StateLost(
                    f"the store holds {partition[0]}/{partition[1]} up to offset {held or 0}, next is "
                    f"{standing[partition]}, and the log begins only at {beginning}: restore the store from a backup, "
                    "or start on an empty namespace (KAIROS_NAMESPACE) and accept that older events are missing"
                )
            resume[partition] = held or 0
        return resume

    def _go_on(self, ahead: Mapping[Partition, int], firsts: Mapping[Partition, int]) -> None:
        """Reads on where the states end: what lies before came from the archive, or was not committed in a crash; or
        where the triggers end, if that is earlier."""
        self._standing.update(ahead)
        self._recorded.update(ahead)
        owned = self._stream.assigned()
        self._stream.seek({p: offset for p, offset in {**firsts, **ahead}.items() if p in owned})

    async def _go_back(self, resume: Mapping[Partition, int], firsts: Mapping[Partition, int]) -> None:
        for (topic, number), offset in resume.items():
            _log.error(
                "the store has lost what it held of %s/%d: reading again from offset %d",
                *(topic, number, offset),
                extra={"action": "none while the log reaches back; look into why the store lost writes"},
            )
            self._metrics.count("state_rewinds_total", topic=topic)
        standing = {**self._standing, **firsts}
        await self._store.mark_incomplete({p: min(standing[p], self._recorded.get(p, standing[p])) for p in resume})
        if self._ledger is not None:
            await self._ledger.lost()
        await self._store.begin_namespace()
        if self._triggers is not None:
            self._triggers.lost(resume)
        for partition in resume:
            self._targets[partition] = max(self._targets.get(partition, 0), self._standing.get(partition, 0))
        self._resumed.update(resume)
        self._standing.update(resume)
        owned = self._stream.assigned()
        self._stream.seek({p: offset for p, offset in {**firsts, **resume}.items() if p in owned})


async def _in_time(answer: Awaitable[Answer]) -> Answer:
    """The bus's answer; during a rebalance a coordinator may leave a question unanswered. Raises BusUnavailable."""
    try:
        async with asyncio.timeout(_BUS_SECONDS):
            return await answer
    except TimeoutError:
        raise BusUnavailable(f"the bus did not answer within {_BUS_SECONDS:g} s") from None
