"""The pacer over a real store: lapsed offers return their units, prices come of what was decided."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from decision_engine.customer import CustomerSnapshot
from decision_engine.decision import DecisionRequest, PlacementRequest
from decision_engine.engine import decide, settle
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.volume_view import VolumeStanding
from event_schemas.codec import decode, encode
from event_schemas.control import PricesSet
from event_schemas.decisions import DecisionMade
from event_schemas.responses import Response, ResponseRecorded
from event_schemas.topics import DECISIONS, RESPONSES
from services.adapters.embedded_servers import embedded_valkey
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import (
    VOLUME_LIBRARY,
    LeaseHolder,
    LeaseTerms,
    RedisVolumeLeases,
    VolumeKeys,
)
from services.ports import Delivery, OutgoingEvent
from services.use_cases.decision_answer import word
from services.use_cases.decision_record import DecisionInputs, encode_record
from services.workers.pacer import GRACE_MS, Pacer, PacerTools
from services.workers.recent_traffic import RecentTraffic
from services.workers.volume_log import VolumeBatch

pytestmark = pytest.mark.servers
NOW = 1_795_254_600_000
"""2026-11-21T09:50:00Z."""
KEYS = VolumeKeys("test")
POOL = KEYS.pool("shown", "day-2026-11-21")
STRATEGY = """
name: scarce
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
  - {name: personalisation, default: granted, text: {en: Personalisation}}
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: cards, issue: grow, model: m}]
offers:
  - {name: gold, group: cards, title: {en: Gold}, value: 5000, base_rate: 0.1,
     treatments: [{name: main, channel: mobile, placements: [banner], content: {en: {title: x}}}]}
  - {name: silver, group: cards, title: {en: Silver}, value: 1000, base_rate: 0.1,
     treatments: [{name: main, channel: mobile, placements: [banner], content: {en: {title: x}}}]}
placements: [{id: banner, channel: mobile, max_count: 1, fallback: {treatment: none, content: {en: {title: x}}}}]
volumes:
  - {id: shown, of: {offer: gold}, resource: stock, amount: AMOUNT, per: {calendar: day}, charged_on: impression}
"""


@dataclass
class Log:
    """A bus of one partition a topic: records are added, and read from wherever the reader was placed."""

    records: dict[str, list[bytes]] = field(default_factory=lambda: {DECISIONS: [], RESPONSES: []})
    place: dict[str, int] = field(default_factory=lambda: {DECISIONS: 0, RESPONSES: 0})
    gone: dict[str, int] = field(default_factory=lambda: {DECISIONS: 0, RESPONSES: 0})
    """How many of the oldest records are not kept any more."""
    most: int = 1_000_000
    """Records a poll brings at most."""
    published: list[OutgoingEvent] = field(default_factory=list)

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        found = []
        for topic, values in self.records.items():
            start = max(self.place[topic], self.gone[topic])
            part = values[start : start + self.most]
            found += [Delivery(topic, 0, start + n, None, value, ()) for n, value in enumerate(part)]
            self.place[topic] = start + len(part)
        return found[:max_records]

    async def end_offsets(self) -> dict[tuple[str, int], int]:
        return {(topic, 0): len(values) for topic, values in self.records.items()}

    async def beginning_offsets(self) -> dict[tuple[str, int], int]:
        return {(topic, 0): gone for topic, gone in self.gone.items()}

    def seek(self, positions: dict[tuple[str, int], int]) -> None:
        self.place |= {topic: offset for (topic, _), offset in positions.items()}

    def assigned(self) -> set[tuple[str, int]]:
        return {(topic, 0) for topic in self.records}

    async def publish(self, events: Sequence[OutgoingEvent]) -> list[tuple[str, int, int]]:
        self.published += events
        return []

    def enqueue(self, event: OutgoingEvent) -> None:
        self.published.append(event)


@dataclass
class Clock:
    now: int = NOW

    def now_ms(self) -> int:
        return self.now


@dataclass
class Scene:
    """A bank with one scarce offer, its store, its log and its pacer."""

    client: RedisClient
    prepared: PreparedStrategy
    log: Log = field(default_factory=Log)
    clock: Clock = field(default_factory=Clock)

    def pacer(self) -> Pacer:
        tools = PacerTools(
            pools=RedisVolumeHolds(self.client, KEYS),
            publisher=self.log,
            clock=self.clock,
            new_id=lambda: "01J",
            prices_s=3600.0,
            settle_s=0.0,
        )
        return Pacer(self.log, self.prepared, RecentTraffic(self.prepared, self.prepared.zone, Random(1)), tools)

    async def node(self, name: str = "a") -> RedisVolumeLeases:
        holder = LeaseHolder(node=name, clock=self.clock, zone=self.prepared.zone, metrics=PrometheusMetrics())
        terms = LeaseTerms(chunk=1000, caution=1, renew_s=3600.0, least_renew_s=3600.0)
        leases = RedisVolumeLeases(self.client, KEYS, self.prepared.volumes, holder, terms)
        await leases.renew()
        return leases

    def decided(self, number: int, remaining: int, at_ms: int = NOW) -> str:
        """A decision goes onto the log; answers the tracking id of what it shows."""
        request = DecisionRequest(
            decision_id=DecisionId(f"d{number}"),
            customer_id=CustomerId(f"retail:{number}"),
            channel="mobile",
            placements=(PlacementRequest(id=PlacementId("banner"), count=1),),
            now_ms=at_ms,
            locale="en",
        )
        customer = CustomerSnapshot(known=True, attributes={}, holdings=frozenset(), consents={}, newest_event_ms=None)
        view = {"shown": VolumeStanding(remaining)}
        decision = settle(self.prepared, draft := decide(self.prepared, request, customer, (), {}, view), [0])
        assert len(draft.reservation.positions) == 1
        inputs = DecisionInputs(
            client="app", request_id=None, request=request, ledger=None, feature_layout="0" * 16, took_ms=1.0
        )
        self.log.records[DECISIONS].append(encode_record(decision, inputs, word(self.prepared.strategy)))
        return decision.placements[0].options[0].tracking_id

    def responded(self, tracking_id: str, outcome: str) -> None:
        record = decode(self.log.records[DECISIONS][-1])
        assert isinstance(record, DecisionMade)
        response = Response(
            response_id=f"r-{tracking_id}", tracking_id=tracking_id, decision_id="d", customer_id="retail:1",
            offer="gold", group="cards", issue="grow", treatment="gold.mobile.main", channel="mobile",
            placement="banner", outcome=outcome, time=record.time, decided_at=record.time,
        )  # fmt: skip
        event = ResponseRecorded(
            id=response.response_id, source="kairos", subject="retail:1", time=record.time, data=response
        )
        self.log.records[RESPONSES].append(encode(event))

    async def left(self) -> int:
        return (await RedisVolumeHolds(self.client, KEYS).left([POOL]))[POOL]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[RedisClient]:
    async with (
        embedded_valkey(tmp_path) as server,
        RedisClient.open(f"redis://127.0.0.1:{server.port}", library=VOLUME_LIBRARY) as opened,
    ):
        await RedisVolumeHolds(opened, KEYS).open({}, [])
        yield opened


def scene(client: RedisClient, folder: Path, amount: int, charged_on: str = "impression") -> Scene:
    path = folder / "strategy.yaml"
    text = STRATEGY.replace("AMOUNT", str(amount)).replace("charged_on: impression", f"charged_on: {charged_on}")
    path.write_text(text, encoding="utf-8")
    return Scene(client, prepare(load_strategy_file(path)))


async def charged(stage: Scene, units: int) -> None:
    node = await stage.node()
    hold = node.hold({"shown": units}, NOW)
    assert hold is not None
    assert await node.commit([hold])
    await node.surrender()


async def test_an_offer_that_lapsed_unseen_returns_its_unit_and_a_seen_one_does_not(
    client: RedisClient, tmp_path: Path
) -> None:
    stage = scene(client, tmp_path, 10)
    await charged(stage, 2)
    stage.decided(1, 10)
    stage.responded(stage.decided(2, 10), "impression")
    pacer = stage.pacer()
    await pacer.step()
    assert await stage.left() == 8
    stage.clock.now = NOW + 600_000 + GRACE_MS
    await pacer.step()
    assert await stage.left() == 9


async def test_a_restarted_pacer_repeats_nothing(client: RedisClient, tmp_path: Path) -> None:
    stage = scene(client, tmp_path, 10)
    await charged(stage, 2)
    stage.decided(1, 10)
    stage.clock.now = NOW + 600_000 + GRACE_MS
    for _ in range(3):
        stage.log.place = {DECISIONS: 0, RESPONSES: 0}
        await stage.pacer().step()
    assert await stage.left() == 9


async def test_it_runs_until_told_to_stop_and_reads_on_where_the_store_stands(
    client: RedisClient, tmp_path: Path
) -> None:
    stage = scene(client, tmp_path, 10)
    await charged(stage, 1)
    stage.decided(1, 10)
    await stage.pacer().step()
    stage.log.place = {DECISIONS: 0, RESPONSES: 0}
    stopping = asyncio.Event()
    running = asyncio.create_task(stage.pacer().run(stopping))
    async with asyncio.timeout(5):
        while stage.log.place[DECISIONS] != 1:
            await asyncio.sleep(0)
    stopping.set()
    await running


async def test_scarce_units_get_a_price_and_the_nodes_take_it_over(client: RedisClient, tmp_path: Path) -> None:
    stage = scene(client, tmp_path, 20)
    node = await stage.node()
    for number in range(200):
        stage.decided(number, 10, NOW - 20 * 3_600_000 + number * 300_000)
    await stage.pacer().step()
    (published,) = stage.log.published
    event = decode(published.value)
    assert isinstance(event, PricesSet)
    # One showing more of gold (500) in place of silver (100), at 20 units for some hundred decisions to come.
    assert event.data.prices["shown"] == pytest.approx(400.0)
    assert published.key == "prices:scarce"
    await node.on_prices(event)
    assert node.view(NOW)["shown"].price == pytest.approx(400.0)


async def test_plenty_costs_nothing(client: RedisClient, tmp_path: Path) -> None:
    stage = scene(client, tmp_path, 100_000)
    await stage.node()
    for number in range(100):
        stage.decided(number, 10, NOW - 3_600_000 + number)
    await stage.pacer().step()
    event = decode(stage.log.published[0].value)
    assert isinstance(event, PricesSet)
    assert event.data.prices["shown"] == 0.0


async def test_what_was_used_up_still_counts_as_wanted(client: RedisClient, tmp_path: Path) -> None:
    """Otherwise a volume that ran dry would look as if nobody wanted it, and its price would fall to nothing."""
    stage = scene(client, tmp_path, 5)
    await charged(stage, 5)
    for number in range(100):
        stage.decided(number, 0, NOW - 3_600_000 + number)
    await stage.pacer().step()
    event = decode(stage.log.published[0].value)
    assert isinstance(event, PricesSet)
    assert event.data.prices["shown"] >= 400.0


async def test_too_little_traffic_gives_no_prices(client: RedisClient, tmp_path: Path) -> None:
    stage = scene(client, tmp_path, 5)
    for number in range(10):
        stage.decided(number, 10)
    await stage.pacer().step()
    assert stage.log.published == []


async def used(stage: Scene, numbers: range) -> list[str]:
    """These decisions hand a unit out each, and are in the log; answers what they showed."""
    await charged(stage, len(numbers))
    return [stage.decided(number, 10) for number in numbers]


async def handed_out_until_dry(stage: Scene, numbers: range) -> int:
    """How many further units a node gets to hand out."""
    node = await stage.node()
    remaining = node.view(NOW)["shown"].remaining
    for number in numbers[:remaining]:
        hold = node.hold({"shown": 1}, NOW)
        assert hold is not None
        assert await node.commit([hold])
        stage.decided(number, 10)
    await node.surrender()
    return remaining


@pytest.mark.parametrize("charged_on", ["reservation", "impression"])
async def test_after_a_flush_no_more_is_handed_out_than_was_left(
    client: RedisClient, tmp_path: Path, charged_on: str
) -> None:
    stage = scene(client, tmp_path, 10, charged_on)
    await used(stage, range(5))
    pacer = stage.pacer()
    await pacer.step()
    await client.execute("FLUSHALL")
    node = await stage.node()
    assert node.rebuilding
    assert node.hold({"shown": 1}, NOW) is None
    corrected: list[int] = []
    pacer.tools = replace(pacer.tools, on_corrected=corrected.append)
    pacer._look_s = 0.0
    await pacer.step()
    await node.renew()
    assert node.rebuilding, "the pacer has only found out"
    await pacer.step()
    await node.renew()
    assert (node.rebuilding, node.view(NOW)["shown"].remaining, corrected) == (False, 5, [5])
    await node.surrender()
    assert await handed_out_until_dry(stage, range(5, 20)) == 5
    assert await handed_out_until_dry(stage, range(20, 40)) == 0


async def test_an_empty_store_with_an_old_log_waits_for_its_end(client: RedisClient, tmp_path: Path) -> None:
    """However the log is read: nothing is leased, and nothing returned, before decisions and responses are read."""
    stage = scene(client, tmp_path, 10)
    shown = await used(stage, range(7))
    for tracking_id in shown[:4]:
        stage.responded(tracking_id, "impression")
    await client.execute("FLUSHALL")
    stage.clock.now = NOW + 600_000 + GRACE_MS
    stage.log.most = 2
    pacer, node = stage.pacer(), await stage.node()
    for _ in range(3):
        await pacer.step()
        await node.renew()
        assert node.rebuilding
    await pacer.step()
    assert await stage.left() == 6, "four were seen, three lapsed unseen"
    await node.renew()
    assert node.view(stage.clock.now)["shown"].remaining == 6


async def test_a_log_whose_beginning_is_gone_gives_nothing_of_a_period_that_began_earlier(
    client: RedisClient, tmp_path: Path
) -> None:
    stage = scene(client, tmp_path, 10)
    await used(stage, range(5))
    await client.execute("FLUSHALL")
    stage.log.gone[DECISIONS] = 2
    await stage.pacer().step()
    node = await stage.node()
    assert (node.rebuilding, node.view(NOW)["shown"].remaining) == (False, 0)


async def test_a_decision_that_the_log_has_twice_counts_once(client: RedisClient, tmp_path: Path) -> None:
    stage = scene(client, tmp_path, 10, "reservation")
    await used(stage, range(3))
    stage.log.records[DECISIONS] += stage.log.records[DECISIONS]
    pacer = stage.pacer()
    await pacer.step()
    stage.log.records[DECISIONS] += stage.log.records[DECISIONS][:3]
    pacer._look_s = 0.0
    await pacer.step()
    assert await stage.left() == 7


async def test_a_decision_that_comes_again_after_many_others_counts_once(client: RedisClient, tmp_path: Path) -> None:
    """As another node publishes it when the one that did before was killed."""
    stage = scene(client, tmp_path, 10, "reservation")
    await used(stage, range(3))
    pacer = stage.pacer()
    await pacer.step()
    pacer._volume_log.remember(VolumeBatch(decisions=[f"other {number}" for number in range(20_000)]))
    stage.log.records[DECISIONS] += stage.log.records[DECISIONS]
    pacer._look_s = 0.0
    await pacer.step()
    assert await stage.left() == 7


async def test_a_store_that_fell_back_to_an_earlier_copy_is_closed_and_corrected(
    client: RedisClient, tmp_path: Path
) -> None:
    stage = scene(client, tmp_path, 10, "reservation")
    await used(stage, range(2))
    pacer = stage.pacer()
    await pacer.step()
    names = await client.execute("KEYS", "test:*")
    assert isinstance(names, list)
    copies = {name: await client.execute("DUMP", name) for name in names if isinstance(name, bytes)}
    await used(stage, range(2, 8))
    pacer._look_s = 0.0
    await pacer.step()
    assert await stage.left() == 2
    for name, copy in copies.items():
        assert isinstance(copy, bytes)
        await client.execute("RESTORE", name, 0, copy, "REPLACE")
    assert await stage.left() == 8, "six units are there again that were handed out"
    holds = RedisVolumeHolds(client, KEYS)
    pacer._look_s = 0.0
    await pacer.step()
    assert not await holds.is_open()
    await pacer.step()
    assert await holds.is_open()
    assert await stage.left() == 2


async def test_a_lost_store_stays_closed_for_what_is_still_on_its_way(client: RedisClient, tmp_path: Path) -> None:
    stage = scene(client, tmp_path, 10, "reservation")
    await used(stage, range(2))
    await client.execute("FLUSHALL")
    pacer = stage.pacer()
    pacer.tools = replace(pacer.tools, settle_s=3600.0)
    for _ in range(3):
        await pacer.step()
    assert not await RedisVolumeHolds(client, KEYS).is_open()
    pacer.tools = replace(pacer.tools, settle_s=0.0)
    stage.decided(99, 10)  # was decided before the store was emptied, and comes late
    await pacer.step()
    assert await stage.left() == 7


async def test_however_often_the_store_is_emptied_no_unit_is_handed_out_twice(
    client: RedisClient, tmp_path: Path
) -> None:
    """Three nodes, a pacer and a store that forgets everything now and then; what is decided reaches the log a little
    later, but within the time that a lost store stays closed."""
    rng, amount, handed_out, emptied = Random(5), 120, 0, 0
    stage = scene(client, tmp_path, amount, "reservation")
    nodes, pacer = [await stage.node(name) for name in "abc"], stage.pacer()
    on_their_way: list[int] = []

    async def pace() -> None:
        for number in on_their_way:
            stage.decided(number, 10)
        on_their_way.clear()
        pacer._look_s = 0.0
        await pacer.step()

    for _ in range(600):
        node = rng.choice(nodes)
        match rng.random():
            case chance if chance < 0.02:
                await client.execute("FLUSHALL")
                emptied += 1
            case chance if chance < 0.2:
                await pace()
            case chance if chance < 0.5:
                await node.renew()
            case _:
                hold = node.hold({"shown": 1}, NOW)
                if hold is not None and await node.commit([hold]):
                    on_their_way.append(handed_out)
                    handed_out += 1
    for _ in range(3):
        await pace()
    assert emptied > 5
    assert 0.5 * amount < handed_out <= amount
    assert await stage.left() == amount - handed_out
