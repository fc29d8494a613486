"""Publishes a recorded stream in its order: paced or at full speed, resumable, with progress."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

from services.ports import BusUnavailable, OutgoingEvent, ShellError
from services.simulation.cloud_events import TimedEvent

BATCH = 1_000
"""Events acknowledged at once; also the most that a killed replay publishes again (their ids make that harmless)."""
PACE_TICK_SECONDS = 0.05
RETRY_SECONDS = 0.5

Position = tuple[str, int, int]
"""Topic, partition, offset."""


class PositionedPublisher(Protocol):
    """A publisher that says where each event ended up in the log."""

    async def publish(self, events: Sequence[OutgoingEvent]) -> Sequence[Position]:
        """Returns when all are acknowledged, in the order given. Raises BusUnavailable."""
        ...


class ProgressMismatch(ShellError):
    """The progress file belongs to another stream."""


@dataclass(slots=True)
class LatestPositions:
    """Per customer and topic the last offset published: what a state must have applied to be up to date."""

    offsets: dict[str, dict[str, int]] = field(default_factory=dict)

    def note(self, events: Sequence[OutgoingEvent], positions: Sequence[Position]) -> None:
        """Takes in one acknowledged batch."""
        for event, (topic, _, offset) in zip(events, positions, strict=True):
            of_customer = self.offsets.setdefault(event.key, {})
            of_customer[topic] = max(offset, of_customer.get(topic, -1))


@dataclass(slots=True)
class ReplayProgress:
    """How far a replay has come: the number of events acknowledged and where each customer's last ones stand in the
    log, kept in a file when one is given.

    `stream` names what is replayed, so that a file is never applied to another stream.
    """

    stream: str
    path: Path | None = None
    acknowledged: int = 0
    positions: LatestPositions = field(default_factory=LatestPositions)

    @staticmethod
    def resume(stream: str, path: Path) -> "ReplayProgress":
        """The progress kept in `path`, or none yet. Raises ProgressMismatch for another stream's file."""
        if not path.exists():
            return ReplayProgress(stream, path)
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["stream"] != stream:
            raise ProgressMismatch(
                f"{path} is the progress of {kept['stream']}, not of {stream}; remove it or drop --resume"
            )
        return ReplayProgress(stream, path, int(kept["acknowledged"]), LatestPositions(kept["positions"]))

    def advance(self, events: Sequence[OutgoingEvent], positions: Sequence[Position]) -> None:
        """Counts one acknowledged batch; the file is replaced whole, so a kill leaves the old or the new one."""
        self.acknowledged += len(events)
        self.positions.note(events, positions)
        if self.path is not None:
            kept = {"stream": self.stream, "acknowledged": self.acknowledged, "positions": self.positions.offsets}
            beside = self.path.with_suffix(".new")
            beside.write_text(json.dumps(kept), encoding="utf-8")
            beside.replace(self.path)


@dataclass(slots=True, kw_only=True)
class Replayer:
    """Publishes `events` from where `progress` stands. `speed` is event seconds per second; None is at full speed."""

    publisher: PositionedPublisher
    progress: ReplayProgress
    speed: float | None = None
    on_progress: Callable[[int], None] = lambda _: None

    @property
    def positions(self) -> LatestPositions:
        """Where the last events published about each customer stand, those before a resume included."""
        return self.progress.positions

    async def publish_until(self, events: Sequence[TimedEvent], until_ms: int) -> None:
        """Publishes, in order, all not yet acknowledged events that happened at or before `until_ms`.

        A bus that is away is tried again until it is back; nothing passes an unacknowledged batch, so order holds.
        """
        started, origin = monotonic(), None
        while self.progress.acknowledged < len(events):
            start = self.progress.acknowledged
            due_ms = until_ms
            if self.speed is not None:
                origin = events[start].at_ms if origin is None else origin
                due_ms = min(until_ms, origin + int((monotonic() - started) * 1000 * self.speed))
            batch = _due(events, start, due_ms)
            if batch:
                await self._publish(batch)
            elif events[start].at_ms > until_ms:
                return
            else:
                await asyncio.sleep(PACE_TICK_SECONDS)

    async def _publish(self, batch: Sequence[OutgoingEvent]) -> None:
        while True:
            try:
                acknowledged = await self.publisher.publish(batch)
            except BusUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.progress.advance(batch, acknowledged)
                self.on_progress(self.progress.acknowledged)
                return


def _due(events: Sequence[TimedEvent], start: int, due_ms: int) -> list[OutgoingEvent]:
    batch: list[OutgoingEvent] = []
    for timed in events[start : start + BATCH]:
        if timed.at_ms > due_ms:
            break
        batch.append(timed.event)
    return batch
