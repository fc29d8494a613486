"""The outbox and the leases of volumes work beside their role; when that work fails the role ends and is started again:
nothing goes on with an outbox that nobody sends, or with volumes that nobody leases."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from decision_engine.identifiers import OfferName
from decision_engine.offers import Offer
from decision_engine.strategy import UnitCost, VolumeConstraint, VolumePeriod, VolumeScope
from decision_engine.volume import VolumePlan, plan_volumes
from services.adapters import kafka_event_publisher
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_volume_leases import LeaseHolder, LeaseTerms, RedisVolumeLeases, VolumeKeys
from services.adapters.system_clock import SystemClock
from services.ports import OutgoingEvent, StoreUnavailable

WAIT_S = 10.0


class Unforeseen(Exception):
    """What no code expects of a broker or a store."""


@dataclass
class FaultyProducer:
    """A producer that starts and stops, and fails with an error of its own when events are sent."""

    steps: list[str] = field(default_factory=list)

    async def start(self) -> None:
        self.steps.append("started")

    async def stop(self) -> None:
        self.steps.append("stopped")

    async def partitions_for(self, topic: str) -> set[int]:
        raise Unforeseen(topic)


@dataclass
class FaultyStore:
    """A store that is away when leases are first asked for, and answers with an error of its own after that."""

    asked: list[str] = field(default_factory=list)

    async def call(self, function: str, keys: object, arguments: object) -> object:
        self.asked.append(function)
        if len(self.asked) == 1:
            raise StoreUnavailable("away")
        raise Unforeseen(function)


def stock() -> VolumePlan:
    gold = Offer(
        name=OfferName("gold"), group="cards", issue="grow", value=1, base_rate=0.1, lever=0.0, model="m", title={},
        treatments=(),
    )  # fmt: skip
    constraint = VolumeConstraint(
        id="stock", of=VolumeScope(kind="offer", name="gold"), resource="stock", amount=10, unit_cost=UnitCost(),
        period=VolumePeriod(calendar="day"), charged_on="reservation", hold_seconds=3600, pacing="none",
    )  # fmt: skip
    return plan_volumes([gold], [constraint], 0)[0]


async def test_a_role_ends_when_its_outbox_cannot_be_sent_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    producer, ended = FaultyProducer(), False
    monkeypatch.setattr(kafka_event_publisher, "AIOKafkaProducer", lambda **_: producer)
    with pytest.raises(Unforeseen):
        async with asyncio.timeout(WAIT_S), KafkaEventPublisher("nowhere:1", publish_timeout_s=0.01) as publisher:
            publisher.enqueue(OutgoingEvent(topic="t", key="k", value=b"{}"))
            try:
                await asyncio.Event().wait()
            finally:
                ended = True
    assert ended
    assert producer.steps == ["started", "stopped"]


async def test_an_outbox_with_nothing_amiss_is_left_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = FaultyProducer()
    monkeypatch.setattr(kafka_event_publisher, "AIOKafkaProducer", lambda **_: producer)
    async with asyncio.timeout(WAIT_S), KafkaEventPublisher("nowhere:1"):
        await asyncio.sleep(0)
    assert producer.steps == ["started", "stopped"]


async def test_a_role_ends_when_its_volumes_cannot_be_leased_any_more() -> None:
    store: Any = FaultyStore()
    holder = LeaseHolder(node="a", clock=SystemClock(), zone=ZoneInfo("UTC"), metrics=PrometheusMetrics())
    terms, ended = LeaseTerms(renew_s=0.001, least_renew_s=0.0), False
    with pytest.raises(Unforeseen):
        async with asyncio.timeout(WAIT_S), RedisVolumeLeases(store, VolumeKeys("test"), stock(), holder, terms):
            assert store.asked == ["kairos_volume_lease"]  # that the store is away for a while ends nothing
            try:
                await asyncio.Event().wait()
            finally:
                ended = True
    assert ended
