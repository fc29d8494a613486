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
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from event_schemas.codec import DecodeError, Event, decode, encode
from event_schemas.control import Node, NodeStarted
from event_schemas.topics import CONTROL
from services.ports import BusUnavailable, Delivery, EventPublisher, OutgoingEvent, ShellError

Handler = Callable[[Event], Awaitable[None]]
RecordHandler = Callable[[Delivery], Awaitable[None]]
"""Is given every record as it came, readable or not, before anybody is told of its event."""
Partition = tuple[str, int]

_log = logging.getLogger(__name__)
_POLL_RECORDS = 1_000
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often the end of the topic is asked for, to know whether everything has been read."""
LOST_SECONDS = 5.0
"""After so long without being sure of having read everything, the node no longer follows."""
_LOOK_TIMEOUT_SECONDS = 2.0
_URGENT = ("nbo.control.kill_switch.", "nbo.control.strategy.")
"""Handled as they come; what may take its time, such as loading a model, does not keep them waiting."""
_SUPERSEDED = ("nbo.control.model.", "nbo.control.prices.")
"""Of these only the newest act on each subject matters; during the start the older ones are skipped."""


class ControlUnread(ShellError):
    """The control topic could not be read to its end in time."""


class ControlLost(ShellError):
    """The control topic cannot be followed any more: what is stopped or activated meanwhile is not known here."""


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
        self,
        stream: ControlStream,
        publisher: EventPublisher,
        identity: NodeIdentity,
        start_timeout_s: float = 30.0,
        on_followed: Callable[[bool], None] = lambda _: None,
        on_record: RecordHandler | None = None,
    ) -> None:
        self._stream = stream
        self._publisher = publisher
        self._identity = identity
        self._start_timeout_s = start_timeout_s
        self._handlers: dict[str, list[Handler]] = defaultdict(list)
        self._tasks: list[asyncio.Task[None]] = []
        self._on_followed = on_followed
        self._on_record = on_record
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()
        self._reached: dict[Partition, int] = {}
        self._sure_s = monotonic()

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
        self._sure_s = monotonic()
        self._on_followed(True)  # noqa: FBT003 - a callback with one answer
        self._tasks = [
            asyncio.create_task(self._follow(), name="control-topic"),
            asyncio.create_task(self._work(), name="control-acts"),
            asyncio.create_task(self._look(), name="control-look"),
        ]
        return self

    async def check(self) -> None:
        """Raises ControlLost when it is not sure that everything has been read that was there a moment ago."""
        silent_s = monotonic() - self._sure_s
        if silent_s > LOST_SECONDS or any(task.done() for task in self._tasks):
            raise ControlLost(f"{CONTROL} was last read to its end {silent_s:.0f} s ago")

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _read_to_end(self) -> list[Event]:
        beginnings, ends = await self._stream.beginning_offsets(), await self._stream.end_offsets()
        behind = {partition: end for partition, end in ends.items() if end > beginnings.get(partition, 0)}
        events: list[Event] = []
        marker_seen = False
        while behind or not marker_seen:
            deliveries = await self._stream.poll(_POLL_RECORDS, _POLL_SECONDS)
            for delivery in deliveries:
                partition = self._pass(delivery)
                await self._hand_on(delivery)
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
                await self._hand_on(delivery)
                event = _decoded(delivery)
                if event is not None and event.type.startswith(_URGENT):
                    await self._dispatch(event)
                elif event is not None:
                    self._waiting.put_nowait(event)
                self._pass(delivery)

    async def _work(self) -> None:
        while True:
            await self._dispatch(await self._waiting.get())

    async def _look(self) -> None:
        """Makes sure, again and again, that what the broker says is there has been read."""
        ends: Mapping[Partition, int] = {}
        asked_s = monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if all(self._reached.get(partition, 0) >= end for partition, end in ends.items()):
                self._sure_s = max(self._sure_s, asked_s)
                try:
                    began_s = monotonic()
                    async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
                        beginnings = await self._stream.beginning_offsets()
                        found = await self._stream.end_offsets()
                    ends = {p: end for p, end in found.items() if end > beginnings.get(p, 0)}
                    asked_s = began_s
                except Exception as error:  # noqa: BLE001 - whatever it is, the node is not sure any more
                    _log.warning("the end of the control topic is not known: %r", error, extra={"action": "control"})
            self._on_followed(monotonic() - self._sure_s <= LOST_SECONDS)

    async def _hand_on(self, delivery: Delivery) -> None:
        if self._on_record is None:
            return
        try:
            await self._on_record(delivery)
        except Exception:  # noqa: BLE001 - one bad record must not end the following of all others
            where = (delivery.partition, delivery.offset)
            _log.exception("control record %d/%d was not taken", *where, extra={"action": "control"})

    def _pass(self, delivery: Delivery) -> Partition:
        partition = (delivery.topic, delivery.partition)
        self._reached[partition] = delivery.offset + 1
        return partition

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
