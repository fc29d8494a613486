"""One person's inbox, live: how everything stands at first, then what changes; leads under the ids of the log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
import pytest

from services.api.screens.inbox_board import LeadBoard, Standing
from services.api.screens.inbox_stream import InboxStream
from services.api.stream_cursor import Cursor
from services.api.stream_feed import OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_session import Audience, StreamSession
from services.ports import Delivery
from services.use_cases.leads.marks import Mark, Stage
from services.use_cases.leads.results import LeadResults
from services.use_cases.outbound_messages import OutboundMessage

NOW = 1_795_254_600_000


@dataclass
class Clock:
    at_ms: int = NOW

    def now_ms(self) -> int:
        return self.at_ms


class Metrics:
    def count(self, name: str, amount: float = 1, **labels: str) -> None: ...


@dataclass
class Marks:
    held: dict[str, bytes] = field(default_factory=dict)
    changed: int = 0

    def put(self, lead_id: str, mark: Mark | None) -> None:
        self.changed += 1
        if mark is None:
            del self.held[lead_id]
        else:
            self.held[lead_id] = mark.encoded()

    async def read(self, lead_ids: list[str]) -> list[bytes | None]:
        return [self.held.get(lead_id) for lead_id in lead_ids]

    async def changes(self) -> int:
        return self.changed


@dataclass
class Desk:
    """A feed that is given records, and a board over it."""

    clock: Clock = field(default_factory=Clock)
    marks: Marks = field(default_factory=Marks)
    stopped: set[str] = field(default_factory=set)
    offsets: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        def is_stopped(message: OutboundMessage) -> bool:
            return message.outbound_id in self.stopped

        self.feed = OutboundFeed(None, self.clock, Metrics(), stopped=is_stopped)  # type: ignore[arg-type]
        self.feed.begins, self.feed.reached = {0: 0}, {0: 0}
        self.feed.caught_up.set()
        self.board = LeadBoard(self.feed, self.marks, LeadResults())  # type: ignore[arg-type]

    def offer(self, lead_id: str, **more: object) -> None:
        data = {
            "decision_id": f"d-{lead_id}", "customer_id": "retail:1", "trigger": "vip", "channel": "manager",
            "placement": "inbox_lead", "locale": "en", "options": [], "expires_at": "2026-11-22T23:00:00Z",
        }  # fmt: skip
        self._take("nbo.outbound.offered", lead_id, data | more)

    def cancel(self, lead_id: str) -> None:
        data = {"outbound_id": lead_id, "customer_id": "retail:1", "trigger": "vip", "channel": "manager"}
        self._take("nbo.outbound.cancelled", f"{lead_id}.cancelled", data)

    def stream(self, recipient: str | None = None) -> InboxStream:
        audience = Audience(channel="manager", recipient=recipient)
        session = StreamSession(self.feed, LogReplay(self.feed), audience, Cursor(dict(self.feed.reached)), 60.0)
        return InboxStream(session, self.board, recipient, stands)

    def _take(self, event_type: str, event_id: str, data: dict[str, object]) -> None:
        offset = next(self.offsets)
        time = f"2026-11-21T09:{offset:02}:00Z"
        event = {"type": event_type, "id": event_id, "subject": "retail:1", "time": time, "data": data}
        self.feed.take(Delivery("nbo.outbound.v1", 0, offset, b"retail:1", orjson.dumps(event), ()))
        self.feed._notify()


def stands(standing: Standing) -> dict[str, object]:
    return {"by": None if standing.mark is None else standing.mark.by}


def taken(by: str) -> Mark:
    return Mark(stage=Stage.TAKEN, by=by, at_ms=NOW)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


async def named(frames: AsyncIterator[bytes], name: str) -> Any:
    """The data of the next event of that name."""
    async with asyncio.timeout(10):
        async for frame in frames:
            if f"event: {name}\n".encode() in frame:
                return orjson.loads(frame.partition(b"data: ")[2])
    raise AssertionError("the stream has ended")


async def test_at_first_everything_open_is_told_then_what_changes(desk: Desk) -> None:
    desk.offer("a")
    desk.offer("b")
    desk.marks.put("a", taken("Mei Lin"))
    async with aclosing(desk.stream().frames()) as frames:
        first = await named(frames, "standing")
        assert first == {"whole": True, "leads": {"a": {"by": "Mei Lin"}, "b": {"by": None}}, "gone": {}}
        desk.marks.put("b", taken("Wang Bo"))
        assert await named(frames, "standing") == {"whole": False, "leads": {"b": {"by": "Wang Bo"}}, "gone": {}}
        desk.marks.put("a", None)
        assert await named(frames, "standing") == {"whole": False, "leads": {"a": {"by": None}}, "gone": {}}


async def test_what_somebody_closes_is_gone_for_everybody(desk: Desk) -> None:
    desk.offer("a")
    async with aclosing(desk.stream("Mei Lin").frames()) as one, aclosing(desk.stream("Wang Bo").frames()) as other:
        for frames in (one, other):
            await named(frames, "standing")
        desk.marks.put("a", Mark(stage=Stage.DONE, by="Wang Bo", at_ms=NOW, result="accepted"))
        for frames in (one, other):
            assert (await named(frames, "standing"))["gone"] == {"a": "closed"}


async def test_leads_expire_are_cancelled_and_are_stopped_on_the_board(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.offer(name)
    desk.offer("late", expires_at="2026-11-30T00:00:00Z")
    desk.cancel("a")
    desk.stopped.add("b")
    await desk.board.look()
    assert [each.lead.id for each in desk.board.open(None)] == ["late", "c"]
    desk.clock.at_ms += 3 * 86_400_000
    await desk.board.look()
    assert [each.lead.id for each in desk.board.open(None)] == ["late"]


async def test_a_person_sees_their_own_leads_and_those_for_nobody_in_particular(desk: Desk) -> None:
    desk.offer("mine", recipient="Mei Lin")
    desk.offer("theirs", recipient="Wang Bo")
    desk.offer("anybodys")
    desk.offer("message", channel="sms")
    await desk.board.look()
    assert {each.lead.id for each in desk.board.open("Mei Lin")} == {"mine", "anybodys"}
    assert {each.lead.id for each in desk.board.open(None)} == {"mine", "theirs", "anybodys"}


async def test_leads_come_under_the_ids_of_the_log_and_marks_under_none(desk: Desk) -> None:
    async with aclosing(desk.stream().frames()) as frames:
        await named(frames, "standing")
        desk.offer("a")
        seen: dict[bytes, bytes] = {}
        async with asyncio.timeout(10):
            async for frame in frames:
                for line in frame.splitlines():
                    if line.startswith(b"event: "):
                        seen[line[7:]] = frame
                if {b"offered", b"standing"} <= seen.keys():
                    break
    assert seen[b"offered"].startswith(b"id: 0-1\n")
    assert b"id:" not in seen[b"standing"]


async def test_a_stream_that_is_left_leaves_nobody_looking(desk: Desk) -> None:
    for _ in range(3):
        async with aclosing(desk.stream().frames()) as frames:
            await named(frames, "standing")
    await asyncio.sleep(0)
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert "lead-board" not in names
