"""Where a reader stands in a log of several partitions, and whether that is the end it had when it was placed."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

Partition = tuple[str, int]
"""Topic and partition."""


class PlacedStream(Protocol):
    """A log that can be read from anywhere. Raises BusUnavailable."""

    def seek(self, positions: Mapping[Partition, int]) -> None: ...

    def assigned(self) -> set[Partition]: ...

    async def beginning_offsets(self) -> Mapping[Partition, int]: ...

    async def end_offsets(self) -> Mapping[Partition, int]: ...


class LogPlace:
    """The next offset wanted of each partition."""

    def __init__(self, stream: PlacedStream) -> None:
        self._stream = stream
        self._targets: dict[Partition, int] = {}
        self._placed_s = 0.0
        self.standing: dict[Partition, int] = {}

    async def put(self, positions: Mapping[Partition, int]) -> None:
        """Reads on from these offsets; the log's end now is the one to be reached. Raises BusUnavailable."""
        ends, beginnings = await self._stream.end_offsets(), await self._stream.beginning_offsets()
        self._targets = {partition: end for partition, end in ends.items() if end > beginnings.get(partition, 0)}
        self._stream.seek(positions)
        self.standing = dict(positions)
        self._placed_s = asyncio.get_running_loop().time()

    def move(self, partition: Partition, offset: int) -> None:
        """Records up to there, exclusive, were read."""
        self.standing[partition] = offset

    def skip(self, partition: Partition, offset: int) -> None:
        """Reads on from there: the records up to it need not be."""
        self._stream.seek({partition: offset})
        self.standing[partition] = offset

    def at_end(self) -> bool:
        """Whether everything is read that was there when the reader was placed."""
        return all(self.standing.get(partition, 0) >= end for partition, end in self._targets.items())

    def seconds(self) -> float:
        """How long ago the reader was placed."""
        return asyncio.get_running_loop().time() - self._placed_s
