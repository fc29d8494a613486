"""Leases of volumes on a real store: no unit twice, none lost for longer than a lease lives."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from decision_engine.offers import Offer
from decision_engine.strategy import UnitCost, VolumeConstraint, VolumePeriod, VolumeScope
from decision_engine.volume import VolumePlan, plan_volumes
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_volume_holds import RedisVolumeHolds
from services.adapters.redis_volume_leases import (
    VOLUME_LIBRARY,
    LeaseHolder,
    LeaseTerms,
    Prices,
    RedisVolumeLeases,
    VolumeKeys,
)
from services.ports import VolumeHold
from services.workers.pacer import Pool
from services.workers.volume_log import Change

pytestmark = pytest.mark.servers
NOW = 1_795_254_600_000
"""2026-11-21T09:50:00Z."""
DAY = 86_400_000
KEYS = VolumeKeys("test")
POOL = KEYS.pool("stock", "day-2026-11-21")
DECISIONS = ("decisions", 0)
BY_HAND = LeaseTerms(chunk=10, caution=1, lapse_s=60.0, renew_s=3600.0, least_renew_s=3600.0)
"""Renewed only when the test says so."""


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def now_ms(self) -> int:
        return self.now


def offer(name: str) -> Offer:
    return Offer(
        name=name, group="cards", issue="grow", value=1, base_rate=0.1, lever=0.0, model="m", title={}, treatments=()
    )  # fmt: skip


def plan(amount: int = 100, **overrides: Any) -> VolumePlan:
    defaults: dict[str, Any] = {
        "id": "stock",
        "of": VolumeScope(kind="offer", name="gold"),
        "resource": "stock",
        "amount": amount,
        "unit_cost": UnitCost(),
        "period": VolumePeriod(calendar="day"),
        "charged_on": "reservation",
        "hold_seconds": 3600,
        "pacing": "none",
    }
    return plan_volumes([offer("gold")], [VolumeConstraint(**(defaults | overrides))], 0)[0]


class Bank:
    """Nodes over one store. A node that is killed just stops; one that is closed returns what it has."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        self.clock = Clock()
        self.holds = RedisVolumeHolds(client, KEYS)
        self.metrics = PrometheusMetrics()

    async def node(self, name: str, volumes: VolumePlan, terms: LeaseTerms = BY_HAND) -> RedisVolumeLeases:
        holder = LeaseHolder(node=name, clock=self.clock, zone=ZoneInfo("UTC"), metrics=self.metrics)
        leases = RedisVolumeLeases(self.client, KEYS, volumes, holder, terms)
        await leases.renew()
        return leases

    async def unleased(self) -> int:
        reply = await self.client.execute("HGET", POOL, "left")
        assert isinstance(reply, bytes)
        return int(reply)

    async def lapse_all(self) -> None:
        """As if every lease had not been renewed for its whole time."""
        for lease in await self.leases():
            await self.client.execute("ZADD", KEYS.registry, 1, lease)

    async def leases(self) -> list[bytes]:
        reply = await self.client.execute("ZRANGE", KEYS.registry, 0, -1)
        assert isinstance(reply, list)
        return [name for name in reply if isinstance(name, bytes)]


@pytest.fixture
async def bank(store_url: str) -> AsyncIterator[Bank]:
    async with RedisClient.open(store_url, library=VOLUME_LIBRARY) as client:
        made = Bank(client)
        await made.holds.open({}, [])
        yield made


def take(node: RedisVolumeLeases, units: int = 1, now: int = NOW) -> VolumeHold | None:
    return node.hold({"stock": units}, now)


def taken(node: RedisVolumeLeases, units: int = 1, now: int = NOW) -> VolumeHold:
    hold = take(node, units, now)
    assert hold is not None
    return hold


async def test_a_node_takes_a_chunk_and_charges_it_without_asking(bank: Bank) -> None:
    node = await bank.node("a", plan())
    assert node.view(NOW)["stock"].remaining == 10
    assert await bank.unleased() == 90
    holds = [take(node) for _ in range(11)]
    assert [hold is not None for hold in holds] == [True] * 10 + [False]
    assert await bank.unleased() == 90


async def test_what_is_given_back_can_be_taken_again(bank: Bank) -> None:
    node = await bank.node("a", plan(amount=1))
    hold = taken(node)
    assert node.view(NOW)["stock"].remaining == 0
    node.give_back(hold)
    assert take(node) is not None


async def test_a_renewal_fills_the_chunk_up_again(bank: Bank) -> None:
    node = await bank.node("a", plan())
    holds = [taken(node) for _ in range(7)]
    assert await node.commit(holds)
    await node.renew()
    assert node.view(NOW)["stock"].remaining == 10
    assert await bank.unleased() == 83


async def test_nodes_together_never_take_more_than_there_is(bank: Bank) -> None:
    nodes = [await bank.node(name, plan(amount=25)) for name in "abcd"]
    handed_out = 0
    for _ in range(30):
        for node in nodes:
            hold = take(node)
            if hold is not None and await node.commit([hold]):
                handed_out += 1
            node.view(NOW)
            await node.renew()
    assert handed_out == 25


async def test_a_surrendered_lease_returns_what_was_not_charged(bank: Bank) -> None:
    node = await bank.node("a", plan())
    assert await node.commit([taken(node, 3)])
    await node.surrender()
    assert await bank.unleased() == 97
    assert await bank.leases() == []


async def test_a_dead_nodes_uncharged_units_return_and_its_charges_do_not(bank: Bank) -> None:
    dead = await bank.node("dead", plan(amount=10))
    assert await dead.commit([taken(dead, 4)])
    taken(dead, 5)  # held when it died, never on record, so never handed out
    await bank.lapse_all()
    heir = await bank.node("heir", plan(amount=10))
    assert heir.view(NOW)["stock"].remaining == 6
    assert await bank.unleased() == 0


async def test_a_node_whose_lease_lapsed_hands_nothing_out_until_it_has_a_new_one(bank: Bank) -> None:
    sleeper = await bank.node("sleeper", plan(amount=10))
    await bank.lapse_all()
    other = await bank.node("other", plan(amount=10))
    assert other.view(NOW)["stock"].remaining == 10
    hold = taken(sleeper)
    assert not await sleeper.commit([hold])
    assert sleeper.view(NOW)["stock"].remaining == 0
    await sleeper.renew()
    assert take(sleeper) is None
    await other.surrender()
    await sleeper.renew()
    assert await sleeper.commit([taken(sleeper)])


async def test_a_hold_of_the_old_lease_is_void_under_the_new_one(bank: Bank) -> None:
    sleeper = await bank.node("sleeper", plan(amount=10))
    hold = taken(sleeper)
    await bank.lapse_all()
    await bank.node("other", plan(amount=10))
    await sleeper.renew()
    await sleeper.renew()
    assert not await sleeper.commit([hold])


async def test_an_idle_node_keeps_enough_for_one_charge_while_there_is_plenty(bank: Bank) -> None:
    node = await bank.node("a", plan(), LeaseTerms(chunk=10, caution=1, idle_s=-1.0))
    await node.renew()
    assert await bank.unleased() == 99
    assert take(node) is not None


async def test_an_idle_node_returns_all_it_has_once_others_find_nothing(bank: Bank) -> None:
    idle = await bank.node("idle", plan(amount=2), LeaseTerms(chunk=1, caution=1, idle_s=-1.0))
    busy = await bank.node("busy", plan(amount=2))
    assert await busy.commit([taken(busy)])
    await idle.renew()
    await idle.renew()
    await busy.renew()
    assert take(busy) is not None
    assert idle.view(NOW)["stock"].remaining == 0


async def test_with_little_left_chunks_shrink_so_that_nobody_sits_on_the_rest(bank: Bank) -> None:
    first = await bank.node("a", plan(amount=8))
    assert first.view(NOW)["stock"].remaining == 8
    second = await bank.node("b", plan(amount=8))
    for _ in range(4):
        for node in (first, second):
            node.view(NOW)
            await node.renew()
    assert min(node.view(NOW)["stock"].remaining for node in (first, second)) >= 1
    assert max(node.view(NOW)["stock"].remaining for node in (first, second)) <= 4


async def test_a_new_day_has_the_whole_amount_again(bank: Bank) -> None:
    node = await bank.node("a", plan(amount=5))
    assert await node.commit([taken(node, 5)])
    tomorrow = bank.clock.now = NOW + DAY
    assert node.view(tomorrow)["stock"].remaining == 0
    assert take(node, now=tomorrow) is None
    await node.renew()
    assert node.view(tomorrow)["stock"].remaining == 5


async def test_paced_evenly_a_node_gets_what_the_time_of_day_allows(bank: Bank) -> None:
    volumes = plan(amount=1000, pacing="even")
    node = await bank.node("a", volumes, LeaseTerms(chunk=1000, caution=1, renew_s=3600.0, least_renew_s=3600.0))
    allowed = int(1000 * ((9 * 60 + 50) / 1440 + 0.02))
    assert node.view(NOW)["stock"].remaining == allowed
    assert await node.commit([taken(node, allowed)])
    await node.renew()
    standing = node.view(NOW)["stock"]
    assert (standing.remaining, standing.paced) == (0, True)


async def test_prices_count_in_full_while_fresh_and_fade_to_nothing(bank: Bank) -> None:
    node = await bank.node("a", plan())
    node.set_prices(Prices(prices={"stock": 40.0}, computed_ms=NOW))
    assert node.view(NOW)["stock"].price == 40.0
    prices = []
    for minutes in (15, 22.5, 30, 600):
        bank.clock.now = NOW + round(minutes * 60_000)
        node.view(bank.clock.now)
        await node.renew()
        prices.append(node.view(bank.clock.now)["stock"].price)
    assert prices == [40.0, 20.0, 0.0, 0.0]


async def test_older_prices_do_not_replace_newer_ones(bank: Bank) -> None:
    node = await bank.node("a", plan())
    node.set_prices(Prices(prices={"stock": 40.0}, computed_ms=NOW))
    node.set_prices(Prices(prices={"stock": 99.0}, computed_ms=NOW - 1))
    assert node.view(NOW)["stock"].price == 40.0


async def test_a_raised_amount_is_there_at_once_and_a_lowered_one_takes_from_what_is_left(bank: Bank) -> None:
    node = await bank.node("a", plan(amount=20))
    assert await node.commit([taken(node, 10)])
    await node.surrender()
    raised = await bank.node("b", plan(amount=30))
    assert await bank.unleased() + raised.view(NOW)["stock"].remaining == 20
    await raised.surrender()
    lowered = await bank.node("c", plan(amount=12))
    assert await bank.unleased() + lowered.view(NOW)["stock"].remaining == 2


async def test_while_it_runs_a_node_refills_by_itself(bank: Bank) -> None:
    holder = LeaseHolder(node="a", clock=bank.clock, zone=ZoneInfo("UTC"), metrics=bank.metrics)
    async with RedisVolumeLeases(bank.client, KEYS, plan(), holder, LeaseTerms(chunk=8, least_renew_s=0.001)) as node:
        handed_out = 0
        async with asyncio.timeout(10):
            while handed_out < 100:
                node.view(NOW)
                if take(node) is not None:
                    handed_out += 1
                else:
                    await asyncio.sleep(0)
        assert take(node) is None
    assert await bank.unleased() == 0


async def test_random_crashes_and_restarts_never_hand_a_unit_out_twice(bank: Bank) -> None:
    """Forty lives of four nodes; what was on record is counted by the test itself."""
    rng, amount, handed_out = random.Random(7), 300, 0
    volumes = plan(amount=amount)
    nodes = [await bank.node(f"{place}-0", volumes) for place in range(4)]
    for life in range(1, 400):
        place = rng.randrange(4)
        node = nodes[place]
        holds = [hold for _ in range(rng.randrange(4)) if (hold := take(node)) is not None]
        if rng.random() < 0.1:
            nodes[place] = await bank.node(f"{place}-{life}", volumes)  # died with its holds in hand
            continue
        if rng.random() < 0.05:
            await bank.lapse_all()
        if holds and rng.random() < 0.2:
            node.give_back(holds.pop())
        if holds and await node.commit(holds):
            handed_out += len(holds)
        node.view(NOW)
        await node.renew()
    assert handed_out <= amount
    for node in nodes:
        await node.surrender()
    await bank.lapse_all()
    heir = await bank.node("heir", volumes)
    assert await bank.unleased() + heir.view(NOW)["stock"].remaining == amount - handed_out


async def test_a_store_that_lost_everything_hands_out_nothing_until_it_knows_what_was(bank: Bank) -> None:
    node = await bank.node("a", plan(amount=50))
    early, late = taken(node, 10), taken(node, 0)
    assert await node.commit([early])
    await bank.client.execute("FLUSHDB")
    assert not await node.commit([late]), "the lease is gone"
    other = await bank.node("b", plan(amount=50))
    for each in (node, other):
        await each.renew()
        assert each.rebuilding
        assert each.view(NOW)["stock"].remaining == 0
        assert take(each) is None
    assert await bank.client.execute("EXISTS", POOL) == 0
    assert await bank.holds.apply(DECISIONS, (0, 4), NOW + DAY, [], {POOL: 10}) == 4
    assert await bank.holds.open({DECISIONS: 4}, [Pool(POOL, 50, NOW, known=True)]) == 10
    for each in (node, other):
        await each.renew()
        assert not each.rebuilding
    assert await bank.unleased() + sum(each.view(NOW)["stock"].remaining for each in (node, other)) == 40
    assert await bank.holds.open({DECISIONS: 4}, [Pool(POOL, 50, NOW, known=True)]) == 0


async def test_what_the_log_says_was_handed_out_is_taken_out_once(bank: Bank) -> None:
    """Charges are on record before they are in the log, so a store that has lost nothing is never corrected."""
    node = await bank.node("a", plan(amount=50))
    assert await node.commit([taken(node, 6)])
    await bank.holds.apply(DECISIONS, (0, 1), NOW + DAY, [], {POOL: 6})
    assert await bank.holds.open({DECISIONS: 1}, [Pool(POOL, 50, NOW, known=True)]) == 0
    assert await bank.holds.left([POOL]) == {POOL: 44}
    await bank.client.execute("HINCRBY", POOL, "left", 2)
    assert await bank.holds.open({DECISIONS: 1}, [Pool(POOL, 50, NOW, known=True)]) == 2
    assert await bank.holds.left([POOL]) == {POOL: 44}


async def test_a_lost_pool_whose_log_does_not_reach_back_has_nothing_left(bank: Bank) -> None:
    await bank.client.execute("FLUSHDB")
    await bank.holds.apply(DECISIONS, (0, 1), NOW + DAY, [], {POOL: 6})
    assert await bank.holds.open({DECISIONS: 1}, [Pool(POOL, 50, NOW, known=False)]) == 50
    node = await bank.node("a", plan(amount=50))
    assert not node.rebuilding
    assert take(node) is None
    raised = await bank.node("b", plan(amount=53))
    assert await bank.unleased() + raised.view(NOW)["stock"].remaining == 3


async def test_a_reader_elsewhere_than_the_store_opens_nothing(bank: Bank) -> None:
    await bank.holds.apply(DECISIONS, (0, 4), NOW + DAY, [], {})
    assert await bank.holds.open({DECISIONS: 3}, []) is None
    assert await bank.holds.is_open(), "a reader behind another says nothing of the store"
    assert await bank.holds.open({DECISIONS: 5}, []) is None
    assert not await bank.holds.is_open(), "the store was further and is not any more"


async def test_records_beyond_what_a_store_has_lost_close_it(bank: Bank) -> None:
    assert await bank.holds.apply(DECISIONS, (7, 9), NOW + DAY, [], {POOL: 3}) == 0
    assert not await bank.holds.is_open()
    assert await bank.holds.apply(DECISIONS, (0, 9), NOW + DAY, [], {POOL: 5}) == 9
    assert await bank.holds.open({DECISIONS: 9}, [Pool(POOL, 50, NOW, known=True)]) == 5


async def test_holds_end_by_their_deadline_unless_a_response_came(bank: Bank) -> None:
    node = await bank.node("a", plan(amount=10))
    assert await node.commit([taken(node, 3)])
    await node.surrender()
    begun = [Change(f"d.{number}", POOL, 1, NOW + 600_000) for number in range(3)]
    assert await bank.holds.apply(DECISIONS, (0, 3), NOW + DAY, begun, {POOL: 3}) == 3
    assert await bank.holds.apply(("responses", 0), (0, 1), NOW + DAY, [Change("d.1", POOL, 1, None)], {}) == 1
    assert await bank.holds.release(NOW + 599_999) == 0
    assert await bank.holds.release(NOW + 600_000) == 2
    assert await bank.unleased() == 9
    assert await bank.holds.open({DECISIONS: 3}, [Pool(POOL, 10, NOW, known=True)]) == 0, "what returned is not gone"


async def test_records_read_again_change_nothing(bank: Bank) -> None:
    await bank.node("a", plan(amount=10))
    begun = [Change("d.0", POOL, 1, NOW)]
    assert await bank.holds.apply(DECISIONS, (0, 6), NOW + DAY, begun, {POOL: 1}) == 6
    assert await bank.holds.release(NOW) == 1
    assert await bank.holds.apply(DECISIONS, (0, 6), NOW + DAY, begun, {POOL: 1}) == 6
    assert await bank.holds.apply(DECISIONS, (5, 7), NOW + DAY, begun, {POOL: 1}) == 6
    assert await bank.client.execute("HGET", POOL, "logged") == b"0"
    assert await bank.holds.release(NOW) == 0
    assert await bank.holds.offsets([("decisions", 0), ("decisions", 1)]) == {("decisions", 0): 6, ("decisions", 1): 0}


async def test_a_response_read_before_its_decision_still_counts(bank: Bank) -> None:
    await bank.node("a", plan(amount=10))
    await bank.holds.apply(("responses", 0), (0, 1), NOW + DAY, [Change("d.0", POOL, 1, None)], {})
    await bank.holds.apply(DECISIONS, (0, 1), NOW + DAY, [Change("d.0", POOL, 1, NOW)], {POOL: 1})
    assert await bank.holds.release(NOW) == 0


async def test_what_is_left_counts_what_nodes_hold_and_have_not_charged(bank: Bank) -> None:
    node = await bank.node("a", plan(amount=50))
    assert await node.commit([taken(node, 4)])
    assert await bank.holds.left([POOL, KEYS.pool("stock", "day-1999-01-01")]) == {POOL: 46}


async def test_a_hundred_nodes_share_one_unit(bank: Bank) -> None:
    nodes = [await bank.node(f"n{number}", plan(amount=1)) for number in range(100)]
    assert sum(node.view(NOW)["stock"].remaining for node in nodes) == 1
