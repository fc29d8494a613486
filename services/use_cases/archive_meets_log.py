"""Whether states folded from an archive can go on from the log: the one must end in the other, and be of it."""

from collections.abc import Callable, Mapping
from typing import Protocol

from services.ports import BusUnavailable, Delivery, ShellError

Partition = tuple[str, int]
"""Topic and partition."""
_POLL_RECORDS = 1_000
_POLL_SECONDS = 0.5
_SILENT_POLLS = 20


class ArchiveUnfit(ShellError):
    """The archive cannot be followed by this log without a gap, or is of another log."""


class ArchivedUpTo(Protocol):
    """Up to where a partition is archived, and what its last record is recognised by."""

    @property
    def next_offset(self) -> int: ...

    @property
    def last_mark(self) -> str: ...


class Log(Protocol):
    """A reader of all partitions of the topics. Raises BusUnavailable."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    async def beginning_offsets(self) -> Mapping[Partition, int]: ...

    async def end_offsets(self) -> Mapping[Partition, int]: ...


async def check_archive_meets_log(
    log: Log, positions: Mapping[Partition, ArchivedUpTo], mark_of: Callable[[Delivery], str], *, end_slack: int = 0
) -> None:
    """Returns when the log holds everything from the archive's end on, and the archive's last records are the log's,
    where the log still has them. `end_slack` is by how much the broker may understate its end. Raises ArchiveUnfit,
    BusUnavailable."""
    beginnings, ends = await log.beginning_offsets(), await log.end_offsets()
    for (topic, number), position in positions.items():
        beginning, end = beginnings.get((topic, number)), ends.get((topic, number), 0)
        if beginning is None or position.next_offset > end + end_slack:
            raise ArchiveUnfit(
                f"the archive holds {topic}/{number} up to offset {position.next_offset}, and the log ends at {end}: "
                "it is the archive of another log"
            )
        if beginning > position.next_offset:
            raise ArchiveUnfit(
                f"the archive holds {topic}/{number} up to offset {position.next_offset}, and the log begins only at "
                f"{beginning}: what lay between is in neither"
            )
    kept = {p: at.next_offset - 1 for p, at in positions.items() if beginnings[p] < at.next_offset}
    log.seek({partition: max(0, end - 1) for partition, end in ends.items()} | kept)
    await _recognise(log, {p: positions[p].last_mark for p in kept}, kept, mark_of)


async def _recognise(
    log: Log, marks: dict[Partition, str], offsets: Mapping[Partition, int], mark_of: Callable[[Delivery], str]
) -> None:
    silent = 0
    while marks:
        deliveries = await log.poll(_POLL_RECORDS, _POLL_SECONDS)
        silent = 0 if deliveries else silent + 1
        if silent >= _SILENT_POLLS:
            raise BusUnavailable(f"nothing came of {sorted(marks)} although their logs go on")
        for delivery in deliveries:
            partition = (delivery.topic, delivery.partition)
            mark = marks.pop(partition, None)
            if mark is None:
                continue
            if delivery.offset == offsets[partition] and mark_of(delivery) != mark:
                raise ArchiveUnfit(
                    f"{delivery.topic}/{delivery.partition}: the record at offset {delivery.offset} is not the one "
                    "that was archived; it is the archive of another log"
                )
