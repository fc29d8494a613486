"""The stream of a screen over any number of nodes: nothing lost, nothing repeated, urgent first, never what is void."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.stream_cursor import Cursor, CursorInvalid, read_cursor
from services.api.stream_feed import FeedLimits, OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_session import Audience, StreamSession

NOW = 1_795_254_600_000
ALL = Audience(channel="manager")


class Screen:
    """A reader: the events it got, by name and outbound id, and the id it would come back with."""

    def __init__(self, session: StreamSession) -> None:
        self._frames = session.frames()
        self.events: list[tuple[str, Any]] = []
        self.cursor = ""
        self.ended = False

    async def read(self, wanted: int = 0, *, until: Callable[["Screen"], bool] | None = None) -> "Screen":
        """Until it has so many events more, or until something holds."""
        goal = len(self.events) + wanted
        async with asyncio.timeout(20):
            while len(self.events) < goal if until is None else not until(self):
                try:
                    self._take(await anext(self._frames))
                except StopAsyncIteration:
                    self.ended = True
                    return self
        return self

    async def quiet(self) -> "Screen":
        """Until the next heartbeat: then nothing more is there."""
        async with asyncio.timeout(20):
            while not (frame := await anext(self._frames)).startswith(b": alive"):
                self._take(frame)
            self._take(frame)
        return self

    async def close(self) -> str:
        await self._frames.aclose()
        return self.cursor

    def _take(self, frame: bytes) -> None:
        fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n") if not line.startswith(":"))
        self.cursor = fields.get("id", self.cursor)
        if "event" in fields:
            data = orjson.loads(fields["data"])
            self.events.append((fields["event"], data.get("outbound_id", data.get("gaps"))))

    @property
    def offered(self) -> list[str]:
        return [name for kind, name in self.events if kind == "offered"]


@pytest.fixture
def node(log: Any, clock: Any, metrics: Any) -> Callable[..., Any]:
    """A node: a feed that follows the log, and screens connected to it."""

    @asynccontextmanager
    async def running(**limits: Any) -> AsyncIterator[Any]:
        async with OutboundFeed(log.open, clock, metrics, FeedLimits(**limits)).following() as feed:
            await asyncio.wait_for(feed.caught_up.wait(), 10)
            yield feed

    return running


def screen(
    feed: OutboundFeed, cursor: str | None = None, audience: Audience = ALL, heartbeat_s: float = 0.05
) -> Screen:
    place = None if cursor is None else read_cursor(cursor)
    return Screen(StreamSession(feed, LogReplay(feed), audience, place, heartbeat_s))


async def test_a_new_screen_gets_what_is_still_valid_and_then_what_arrives(log: Any, node: Any) -> None:
    waiting = [log.offer(), log.offer("retail:2")]
    log.offer(expires_at="2026-11-21T09:49:00.000Z")
    async with node() as feed:
        reader = await screen(feed).quiet()
        assert sorted(reader.offered) == sorted(waiting)
        fresh = log.offer()
        await reader.read(1)
        assert reader.offered[-1] == fresh


async def test_urgent_things_come_first_on_connecting_and_again_in_no_later_turn(log: Any, node: Any) -> None:
    first, urgent = log.offer(), log.offer(urgent=True)
    last = log.offer()
    async with node() as feed:
        reader = await screen(feed).quiet()
        assert reader.offered == [urgent, first, last]
        half = screen(feed)
        await half.read(1)
        other = await screen(feed, await half.close()).quiet()
        assert half.offered + other.offered == [urgent, first, last]


async def test_any_node_goes_on_exactly_where_another_ended(log: Any, node: Any) -> None:
    for number in range(20):
        log.offer(f"retail:{number}", urgent=number % 5 == 0)
    async with node() as one, node() as other:
        got: list[str] = []
        cursor: str | None = None
        for turn in range(20):
            reader = screen((one, other)[turn % 2], cursor)
            await reader.read(1)
            got += reader.offered
            cursor = await reader.close()
        rest = await screen(one, cursor).quiet()
    assert rest.offered == []
    assert sorted(got) == sorted(f"O{number}" for number in range(20))


async def test_a_place_before_the_buffer_is_read_from_the_log_again(log: Any, node: Any) -> None:
    async with node(messages=5) as feed:
        start = await (await screen(feed).quiet()).close()
        sent = [log.offer(f"retail:{number}") for number in range(30)]
        async with asyncio.timeout(10):
            while sum(feed.reached.values()) < 30:
                await asyncio.sleep(0.001)
        opened = log.opened
        reader = await screen(feed, start).quiet()
        assert sorted(reader.offered) == sorted(sent)
        assert log.opened > opened


async def test_what_the_log_has_no_more_is_said_to_be_a_gap(log: Any, node: Any) -> None:
    for _ in range(6):
        log.offer("retail:1")
    log.begins[1] = 4
    async with node() as feed:
        reader = await screen(feed, "0-0.1-2").quiet()
        assert reader.events[0] == ("gap", [{"partition": 1, "from": 2, "to": 4}])
        assert reader.offered == ["O4", "O5"]
        again = await screen(feed, reader.cursor).quiet()
        assert again.events == []


async def test_a_place_in_another_log_is_said_to_be_a_gap(log: Any, node: Any) -> None:
    sent = log.offer("retail:1")
    async with node() as feed:
        reader = await screen(feed, "1-900").quiet()
        assert reader.events == [("gap", [{"partition": 1, "from": 900, "to": 0}]), ("offered", sent)]


async def test_a_repeat_in_the_log_is_delivered_once_and_a_replay_knows_it_too(log: Any, node: Any) -> None:
    log.offer(name="twice")
    log.offer(name="twice")
    async with node(messages=1) as feed:
        reader = await screen(feed).quiet()
        assert reader.offered == ["twice"]
        log.offer(name="next")
        await reader.read(1)
        again = await screen(feed, "0-0.1-0").quiet()
        assert again.offered == ["twice", "next"]


async def test_what_is_cancelled_before_its_turn_never_shows_and_what_was_shown_is_called_back(
    log: Any, node: Any
) -> None:
    overtaken = log.offer()
    log.cancel(overtaken)
    async with node() as feed:
        reader = await screen(feed).quiet()
        assert reader.events == []
        shown = log.offer()
        await reader.read(1)
        log.cancel(shown)
        await reader.read(1)
        assert reader.events == [("offered", shown), ("cancelled", shown)]
        assert (await screen(feed).quiet()).events == []


async def test_a_screen_hears_when_what_it_got_expires(log: Any, clock: Any, node: Any) -> None:
    async with node() as feed:
        reader = screen(feed)
        shown = log.offer()
        await reader.read(1)
        clock.now += 2 * 3_600_000
        await reader.read(1)
        assert reader.events == [("offered", shown), ("expired", shown)]
        assert (await screen(feed).quiet()).events == []


async def test_a_notice_that_names_no_channel_follows_its_offer(log: Any, node: Any) -> None:
    async with node() as feed:
        reader, other = screen(feed), screen(feed, None, Audience(channel="sms"))
        shown = log.offer()
        await reader.read(1)
        log.cancel(shown, channel=None)
        log.cancel("unheard_of", channel=None)
        assert (await reader.quiet()).events == [("offered", shown), ("cancelled", shown)]
        assert (await other.quiet()).events == []


async def test_a_screen_gets_its_channel_and_recipient_only(log: Any, node: Any) -> None:
    mine, anyones = log.offer(recipient="m42"), log.offer()
    others = log.offer(recipient="m43")
    log.offer(channel="sms")
    log.cancel(others)
    async with node() as feed:
        reader = await screen(feed, None, Audience(channel="manager", recipient="m42")).quiet()
        assert reader.events == [("offered", mine), ("offered", anyones)]
        one = await screen(feed, None, Audience(channel="manager", customer_id="retail:2")).quiet()
        assert one.events == []


async def test_what_is_no_message_is_passed_over(log: Any, metrics: Any, node: Any) -> None:
    log.put(b"{broken", 1)
    log.put(None, 1)
    log.add("nbo.outbound.of_tomorrow", "x", "retail:1", {}, None)
    good = log.offer()
    async with node() as feed:
        assert (await screen(feed).quiet()).offered == [good]
    assert metrics.seen["stream_dropped_total", "unreadable"] == 2


async def test_a_bus_that_is_away_ends_no_stream(log: Any, node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.stream_feed._RETRY_SECONDS", 0.01)
    async with node() as feed:
        reader = await screen(feed).quiet()
        log.away = True
        await reader.quiet()
        log.away = False
        back = log.offer()
        assert (await reader.read(1)).offered == [back]


async def test_a_reader_that_falls_out_of_the_buffer_is_cut_off_and_can_come_back(
    log: Any, metrics: Any, node: Any
) -> None:
    async with node(messages=5) as feed:
        reader = await screen(feed).quiet()
        sent = [log.offer("retail:1") for _ in range(30)]
        async with asyncio.timeout(10):
            while feed.reached[1] < 30:
                await asyncio.sleep(0.001)
        await reader.read(until=lambda reader: reader.ended)
        assert reader.ended and metrics.seen["stream_cut_off_total", "behind"] == 1
        back = await screen(feed, reader.cursor).quiet()
        assert reader.offered + back.offered == sent


async def test_a_node_that_stops_ends_its_streams(log: Any, node: Any) -> None:
    async with node() as feed:
        reader = screen(feed, heartbeat_s=60.0)
        reading = asyncio.create_task(reader.read(1))
        log.offer()
        await reading
        waiting = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        feed.end()
        await asyncio.wait_for(waiting, 10)
        assert reader.ended


@given(
    st.dictionaries(st.integers(0, 1023), st.integers(0, 10**15), max_size=12),
    st.sets(st.tuples(st.integers(0, 1023), st.integers(0, 10**15)), max_size=12),
)
@settings(max_examples=100)
def test_a_cursor_comes_back_as_it_went(next_offsets: dict[int, int], ahead: set[tuple[int, int]]) -> None:
    assert read_cursor(Cursor(next_offsets, ahead).text()) == Cursor(next_offsets, ahead)


@given(st.text(max_size=40))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_no_cursor_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        found = read_cursor(text)
    except CursorInvalid:
        return
    assert read_cursor(found.text()) == found


async def test_screens_that_come_back_all_at_once_leave_the_loop_to_others(log: Any, clock: Any, metrics: Any) -> None:
    """Each looks through a full buffer for the one message that is for it; others on the loop go on in between."""
    streams, size = 8, 2_048
    feed = OutboundFeed(log.open, clock, metrics)
    log.partitions = 1
    log.offer(partition=0)
    (template,) = log.records
    for number in range(size):
        recipient = f"m{number - size + streams}".encode()
        event = template.value.replace(b'"O0"', b'"O%d"' % number).replace(
            b'"options"', b'"recipient":"%s","options"' % recipient
        )
        feed.take(template._replace(offset=number, value=event))
    feed.begins = {0: 0}
    feed.caught_up.set()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    ticking = asyncio.create_task(others())
    screens = [
        Screen(StreamSession(feed, LogReplay(feed), Audience(channel="manager", recipient=f"m{number}"), None, 15.0))
        for number in range(streams)
    ]
    await asyncio.gather(*(screen.read(1) for screen in screens))
    ticking.cancel()
    assert [screen.offered for screen in screens] == [[f"O{size - streams + n}"] for n in range(streams)]
    assert turns >= streams * (size // 256), "no more than 256 messages are looked at between two turns of the others"
    for screen in screens:
        await screen.close()
