"""Replaying: order, pace, and going on where a killed replay had come to."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ports import BusUnavailable, OutgoingEvent
from services.simulation import replay as replay_module
from services.simulation.cloud_events import TimedEvent
from services.simulation.replay import BATCH, ProgressMismatch, Replayer, ReplayProgress

EVENTS = [
    TimedEvent(1_000 * number, OutgoingEvent(topic="t", key=f"retail:{number % 7}", value=str(number).encode()))
    for number in range(BATCH * 2 + 300)
]
ALL = EVENTS[-1].at_ms


class Bus:
    """Keeps what it acknowledged; fails on the calls it is told to fail on, before or after keeping the batch."""

    def __init__(self, failing: Sequence[int] = (), losing_answers: Sequence[int] = ()) -> None:
        self.log: list[OutgoingEvent] = []
        self.calls = 0
        self._failing, self._losing = set(failing), set(losing_answers)

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[tuple[str, int, int]]:
        self.calls += 1
        if self.calls in self._failing:
            raise BusUnavailable
        start = len(self.log)
        self.log += events
        if self.calls in self._losing:
            raise BusUnavailable
        return [(event.topic, 0, start + place) for place, event in enumerate(events)]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "RETRY_SECONDS", 0)


async def test_everything_is_published_once_and_in_order() -> None:
    bus, progress = Bus(), ReplayProgress("s")
    await Replayer(publisher=bus, progress=progress).publish_until(EVENTS, ALL)

    assert bus.log == [timed.event for timed in EVENTS]
    assert progress.acknowledged == len(EVENTS)


async def test_a_bus_that_is_away_is_tried_again_without_losing_the_order() -> None:
    bus = Bus(failing=(1, 3))
    await Replayer(publisher=bus, progress=ReplayProgress("s")).publish_until(EVENTS, ALL)

    assert bus.log == [timed.event for timed in EVENTS]


async def test_a_lost_acknowledgement_repeats_that_batch_only() -> None:
    bus = Bus(losing_answers=(2,))
    await Replayer(publisher=bus, progress=ReplayProgress("s")).publish_until(EVENTS, ALL)
    values = [event.value for event in bus.log]

    assert len(values) == len(EVENTS) + BATCH
    assert list(dict.fromkeys(values)) == [timed.event.value for timed in EVENTS]


async def test_only_what_has_happened_by_the_moment_is_published() -> None:
    bus = Bus()
    replayer = Replayer(publisher=bus, progress=ReplayProgress("s"))
    await replayer.publish_until(EVENTS, 10_500)

    assert len(bus.log) == 11
    await replayer.publish_until(EVENTS, ALL)
    assert bus.log == [timed.event for timed in EVENTS]


async def test_the_last_position_of_every_customer_is_known() -> None:
    replayer = Replayer(publisher=Bus(), progress=ReplayProgress("s"))
    await replayer.publish_until(EVENTS, ALL)

    assert replayer.positions.offsets[EVENTS[-1].event.key] == {"t": len(EVENTS) - 1}
    assert len(replayer.positions.offsets) == 7


@settings(max_examples=15, deadline=None)
@given(moment=st.integers(0, len(EVENTS)))
async def test_a_replay_that_stopped_anywhere_goes_on_there(
    tmp_path_factory: pytest.TempPathFactory, moment: int
) -> None:
    path = tmp_path_factory.mktemp("replay") / "progress.json"
    bus, whole = Bus(), Replayer(publisher=Bus(), progress=ReplayProgress("s"))
    await Replayer(publisher=bus, progress=ReplayProgress("s", path)).publish_until(EVENTS, moment * 1_000)
    resumed = Replayer(publisher=bus, progress=ReplayProgress.resume("s", path))
    await resumed.publish_until(EVENTS, ALL)
    await whole.publish_until(EVENTS, ALL)

    assert bus.log == [timed.event for timed in EVENTS]
    assert resumed.positions == whole.positions


async def test_a_pace_spreads_events_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    async def tick(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(replay_module, "monotonic", lambda: now)
    monkeypatch.setattr(replay_module.asyncio, "sleep", tick)
    bus = Bus()
    await Replayer(publisher=bus, progress=ReplayProgress("s"), speed=100.0).publish_until(EVENTS[:501], ALL)

    assert len(bus.log) == 501
    assert now == pytest.approx(5.0, abs=0.1)


def test_progress_of_another_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    ReplayProgress("one", path).advance([EVENTS[3].event], [("t", 0, 41)])

    assert json.loads(path.read_text()) == {
        "stream": "one", "acknowledged": 1, "positions": {"retail:3": {"t": 41}},
    }  # fmt: skip
    with pytest.raises(ProgressMismatch, match="progress of one, not of other"):
        ReplayProgress.resume("other", path)
