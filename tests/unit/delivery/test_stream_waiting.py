"""Screens sleep until something is for them, and are woken in time for a buffer that moves on without them."""

import asyncio
from typing import Any

from services.api.stream_feed import FeedLimits, OutboundFeed
from services.api.stream_replay import LogReplay
from services.api.stream_session import Audience, StreamSession
from services.api.stream_waiting import Waiting


def woken(waiting: Waiting, *arrived: tuple[str | None, str | None]) -> set[tuple[str, str | None]]:
    """Which of some readers the arrivals wake."""
    readers = [("manager", "m1"), ("manager", "m2"), ("manager", None), ("sms", None)]
    events = {reader: waiting.event(*reader) for reader in readers}
    waiting.wake(arrived)
    return {reader for reader, event in events.items() if event.is_set()}


def test_only_those_wake_whom_an_arrival_may_concern() -> None:
    waiting = Waiting()
    assert woken(waiting, ("manager", "m1")) == {("manager", "m1"), ("manager", None)}
    assert woken(waiting, ("manager", None)) == {("manager", "m1"), ("manager", "m2"), ("manager", None)}
    assert woken(waiting, ("manager", "m9")) == {("manager", None)}
    assert woken(waiting, (None, None), ("mobile", None)) == set()
    assert woken(waiting, ("sms", "s"), ("manager", "m2")) == {("manager", "m2"), ("manager", None), ("sms", None)}


def test_a_reader_waits_anew_after_it_was_woken() -> None:
    waiting = Waiting()
    first = waiting.event("manager", "m1")
    assert waiting.event("manager", "m1") is first
    waiting.wake([("manager", "m1")])
    assert not waiting.event("manager", "m1").is_set()
    waiting.wake_all()
    assert woken(waiting) == set()


async def test_a_screen_nothing_is_for_is_not_cut_off_by_what_others_get(log: Any, clock: Any, metrics: Any) -> None:
    """The buffer holds eight messages; forty for others pass, a few at a time, then one for this screen."""
    feed = OutboundFeed(log.open, clock, metrics, FeedLimits(messages=8))
    session = StreamSession(feed, LogReplay(feed), Audience(channel="manager", recipient="m1"), None, 600.0)
    heard: list[bytes] = []

    async def read() -> None:
        async for frame in session.frames():
            if b"event: offered" in frame:
                heard.append(frame)
                return

    async with feed.following(), asyncio.timeout(20):
        await feed.caught_up.wait()
        reading = asyncio.create_task(read())
        for number in range(40):
            log.offer(f"retail:{number}", recipient="m2")
            while sum(feed.reached.values()) <= number:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
        assert not reading.done()
        own = log.offer("retail:1", recipient="m1")
        await reading
    assert [own.encode() in frame for frame in heard] == [True]
