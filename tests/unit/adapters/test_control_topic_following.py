"""A node that cannot follow the control topic any more knows it, and switches never wait for slow handlers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from event_schemas.codec import Event, encode
from event_schemas.control import KillSwitch, KillSwitchSet, ModelRetired, Retirement
from event_schemas.topics import CONTROL
from services.adapters import control_topic
from services.adapters.control_topic import ControlLost, ControlTopic, NodeIdentity
from services.ports import BusUnavailable, Delivery, OutgoingEvent

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass
class Topic:
    """The control topic in memory: one partition, a publisher and a stream at once."""

    records: list[bytes] = field(default_factory=list)
    next: int = 0
    away: bool = False
    silent: bool = False
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, events: list[OutgoingEvent]) -> list[Any]:
        for event in events:
            self.add(event.value)
        return []

    def add(self, value: bytes) -> None:
        self.records.append(value)
        self.grown.set()

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        self.grown.clear()
        if self.silent or self.next == len(self.records):
            try:
                await asyncio.wait_for(self.grown.wait(), 0.005)
            except TimeoutError:
                return []
        if self.silent:
            return []
        new = [Delivery(CONTROL, 0, n, None, v, ()) for n, v in enumerate(self.records)][self.next :]
        self.next = len(self.records)
        return new

    async def beginning_offsets(self) -> Mapping[Any, int]:
        return {(CONTROL, 0): 0}

    async def end_offsets(self) -> Mapping[Any, int]:
        if self.away:
            raise BusUnavailable("away")
        return {(CONTROL, 0): len(self.records)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_topic, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(control_topic, "LOST_SECONDS", 0.5)


def switch(name: str = "gold_card") -> Event:
    data = KillSwitch(kind="offer", name=name, engaged=True, actor="somebody")
    return KillSwitchSet(id=name, source="test", subject=f"kill_switch:offer:{name}", time=NOW, data=data)


def control(topic: Any, heard: list[bool] | None = None) -> ControlTopic:
    identity = NodeIdentity(node="n", role="api", event_id="marker", started_at=NOW)
    return ControlTopic(
        topic, topic, identity, on_followed=lambda followed: heard.append(followed) if heard is not None else None
    )


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("fault", ["away", "silent"])
async def test_a_topic_that_is_not_read_to_its_end_any_more_is_reported(quick: None, fault: str) -> None:
    topic, heard = Topic(), list[bool]()
    async with control(topic, heard) as following:
        await following.check()
        setattr(topic, fault, True)
        topic.add(encode(switch()))
        await until(lambda: heard and not heard[-1])
        with pytest.raises(ControlLost, match=CONTROL):
            await following.check()
        setattr(topic, fault, False)
        topic.grown.set()
        await until(lambda: heard[-1])


async def test_a_quiet_topic_is_followed(quick: None) -> None:
    topic, heard = Topic(), list[bool]()
    async with control(topic, heard) as following:
        await until(lambda: len(heard) > 50)
        await following.check()
    assert all(heard)


async def test_a_switch_does_not_wait_for_a_model_that_is_being_loaded() -> None:
    topic, loading, acted = Topic(), asyncio.Event(), list[str]()

    async def load(_: Event) -> None:
        loading.set()
        await asyncio.Event().wait()

    async def act(event: Event) -> None:
        acted.append(event.id)

    following = control(topic)
    following.subscribe("nbo.control.model.retired", load)
    following.subscribe("nbo.control.kill_switch.set", act)
    async with following:
        topic.add(encode(ModelRetired(id="m", source="t", subject="model:m", time=NOW, data=Retirement(name="m"))))
        async with asyncio.timeout(20):
            await loading.wait()
        topic.add(encode(switch()))
        await until(lambda: acted == ["gold_card"])
