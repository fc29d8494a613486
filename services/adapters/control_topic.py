"""The control topic: every node reads it whole, from the beginning, and follows it for as long as it lives.

Start-up ends when the node has seen everything that was there before it came: it publishes its own
`nbo.control.node.started` with a fresh id and reads until that marker has come back, and until every partition has
reached the end the broker names. The marker is needed because a broker may name an end that is too early.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from event_schemas.codec import DecodeError, Event, decode, encode
from event_schemas.control import Node, NodeStarted
from event_schemas.topics import CONTROL
from services.ports import BusUnavailable, Delivery, EventPublisher, OutgoingEvent, ShellError

Handler = Callable[[Event], Awaitable[None]]
Partition = tuple[str, int]

_log = logging.getLogger(__name__)
_POLL_RECORDS = 1_000
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_SUPERSEDED = ("nbo.control.model.", "nbo.control.prices.")
"""Of these only the newest act on each subject matters; during the start the older ones are skipped."""


class ControlUnread(ShellError):
    """The control topic could not be read to its end in time."""


class ControlStream(Protocol):
    """A reader of all partitions of the control topic, from their beginning."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]: ...

    async def beginning_offsets(self) -> Mapping[Partition, int]: ...

    async def end_offsets(self) -> Mapping[Partition, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who is starting. `node` is stable over restarts, so that the topic keeps one marker a node; `event_id` is not."""

    node: str
    role: str
    event_id: str
    started_at: datetime
    strategy_version: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)


class ControlTopic:
    """Dispatches control events to handlers, in order within a subject. Use as an async context manager.

    Entering returns when everything published before has been handled; leaving ends the following. A handler that
    fails is logged and does not stop the others.
    """

    def __init__(
        self, stream: ControlStream, publisher: EventPublisher, identity: NodeIdentity, start_timeout_s: float = 30.0
    ) -> None:
        self._stream = stream
        self._publisher = publisher
        self._identity = identity
        self._start_timeout_s = start_timeout_s
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        self._follower: asyncio.Task[None] | None = None

    def subscribe(self, event_type: str, handler: Handler) -> None:
        """Calls the handler for events of that type; to be done before entering."""
        self._handlers[event_type].append(handler)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._publisher.publish([control_event(_marker(self._identity))])
                events = await self._read_to_end()
        except TimeoutError as error:
            raise ControlUnread(f"{CONTROL} could not be read to its end in {self._start_timeout_s:g} s") from error
        for event in _without_superseded(events):
            await self._dispatch(event)
        self._follower = asyncio.create_task(self._follow(), name="control-topic")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._follower is not None:
            self._follower.cancel()
            with suppress(asyncio.CancelledError):
                await self._follower

    async def _read_to_end(self) -> list[Event]:
        beginnings, ends = await self._stream.beginning_offsets(), await self._stream.end_offsets()
        behind = {partition: end for partition, end in ends.items() if end > beginnings.get(partition, 0)}
        events: list[Event] = []
        marker_seen = False
        while behind or not marker_seen:
            deliveries = await self._stream.poll(_POLL_RECORDS, _POLL_SECONDS)
            for delivery in deliveries:
                partition = (delivery.topic, delivery.partition)
                if delivery.offset + 1 >= behind.get(partition, delivery.offset + 2):
                    del behind[partition]
                if (event := _decoded(delivery)) is not None:
                    marker_seen = marker_seen or event.id == self._identity.event_id
                    events.append(event)
        return events

    async def _follow(self) -> None:
        while True:
            try:
                deliveries = await self._stream.poll(_POLL_RECORDS, _POLL_SECONDS)
            except BusUnavailable as error:
                _log.warning("the control topic cannot be read, trying again: %s", error, extra={"action": "control"})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except Exception:  # noqa: BLE001 (a node that no longer follows would serve old models for ever)
                _log.exception("the control topic cannot be read, trying again", extra={"action": "control"})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for delivery in deliveries:
                if (event := _decoded(delivery)) is not None:
                    await self._dispatch(event)

    async def _dispatch(self, event: Event) -> None:
        for handler in self._handlers.get(event.type, ()):
            try:
                await handler(event)
            except Exception:  # noqa: BLE001 (one bad act must not end the following of all others)
                _log.exception("a handler of %s %s failed", event.type, event.id, extra={"action": "control"})


def control_event(event: Event) -> OutgoingEvent:
    """The event on the control topic; its subject is the key compaction works by."""
    return OutgoingEvent(topic=CONTROL, key=event.subject, value=encode(event))


def _marker(identity: NodeIdentity) -> NodeStarted:
    return NodeStarted(
        id=identity.event_id,
        source=f"kairos/{identity.role}",
        subject=f"node:{identity.node}",
        time=identity.started_at,
        data=Node(
            node=identity.node,
            role=identity.role,
            strategy_version=identity.strategy_version,
            models=dict(identity.models),
        ),
    )


def _decoded(delivery: Delivery) -> Event | None:
    if delivery.value is None:
        return None
    try:
        return decode(delivery.value, delivery.headers)
    except DecodeError as error:
        _log.warning("control record %d/%d: %s", *(delivery.partition, delivery.offset, error))
        return None


def _without_superseded(events: Sequence[Event]) -> list[Event]:
    newest = {event.subject: event.id for event in events if event.type.startswith(_SUPERSEDED)}
    return [event for event in events if not event.type.startswith(_SUPERSEDED) or newest[event.subject] == event.id]
