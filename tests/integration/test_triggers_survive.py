"""Triggers fire exactly once: through restarts, kills, rebalances, a store that loses everything, and rebuilds."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loadtests.trigger_kills import kill_at_random
from loadtests.trigger_world import OutboundReader, TriggerBank, strategy_text, trigger_bank
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.commands.state_builder import build_states

pytestmark = pytest.mark.servers


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[TriggerBank]:
    async with trigger_bank(tmp_path, strategy_text()) as bank:
        yield bank


async def test_timers_outlive_the_builder_and_wait_for_the_next(bank: TriggerBank) -> None:
    customers = [f"retail:{n}" for n in range(6)]
    async with bank.builder():
        await bank.until_applied(await bank.post(*(bank.form("opened", customer) for customer in customers)))
    await bank.post(bank.form("submitted", "retail:0"))
    due = max(at for _, at in await bank.due_customers())
    while bank.now_ms() <= due:
        await asyncio.sleep(0.02)
    async with OutboundReader.open(bank) as channel, bank.builder():
        await channel.until(5)
        await channel.silence(0.3)
        heard = sorted(event.data.customer_id for event in channel.offered())
    assert heard == customers[1:], "whoever submitted while nobody looked is read before the timers are"


async def test_two_builders_that_share_the_partitions_fire_once(bank: TriggerBank) -> None:
    """A second one joins while timers run, and leaves again."""
    customers = [f"retail:{n}" for n in range(40)]
    first, second = PrometheusMetrics(), PrometheusMetrics()
    async with OutboundReader.open(bank) as channel, bank.builder(first):
        await bank.until_applied(await bank.post(*(bank.form("opened", c) for c in customers[:20])))
        async with bank.builder(second):
            await bank.post(*(bank.form("opened", c) for c in customers[20:]))
            await channel.until(30)
        await channel.until(40)
        await channel.silence(0.5)
    assert sorted(event.data.customer_id for event in channel.events) == sorted(customers)


async def test_killed_at_any_moment_each_absence_fires_once(bank: TriggerBank) -> None:
    outcome = await kill_at_random(bank, kills=4, customers=120, seed=7)
    assert outcome.kills == 4
    assert outcome.missing == []
    assert outcome.repeated == []
    assert outcome.reserved_twice == []


async def test_a_store_that_lost_everything_contacts_nobody_again(bank: TriggerBank) -> None:
    customers = [f"retail:{n}" for n in range(6)]
    async with OutboundReader.open(bank) as channel, bank.builder():
        ends = await bank.post(*(bank.form("opened", c) for c in customers[:3]))
        await channel.until(3)
        ends |= await bank.post(*(bank.form("opened", c) for c in customers[3:]))
        await bank.until_applied(ends)
        await bank.client.execute("FLUSHALL")
        await bank.until_applied(ends)
        await channel.until(6)
        await channel.silence(0.8)
    assert channel.repeats() == []
    assert sorted(event.data.customer_id for event in channel.events) == customers


async def test_a_builder_that_is_told_to_fire_for_nobody_fires_nothing(bank: TriggerBank) -> None:
    """As a rebuild of the states beside those that serve."""
    stop = asyncio.Event()
    building = asyncio.create_task(build_states(bank.settings, bank.loaded.features, PrometheusMetrics(), stop))
    events = [bank.profile("retail:1"), bank.inflow("retail:1"), bank.form("opened", "retail:1")]
    await bank.until_applied(await bank.post(*events))
    stop.set()
    await building
    assert await bank.due_customers() == []
    assert await bank.client.execute("KEYS", "*:triggers") == []
    async with OutboundReader.open(bank) as channel:
        assert await channel.silence(0.5) == []


async def test_a_broker_that_comes_back_finds_every_contact_it_was_to_take(bank: TriggerBank) -> None:
    """The bus stands still while a contact is due: it goes out when the bus is back, once."""
    async with OutboundReader.open(bank) as channel, bank.builder():
        await bank.until_applied(await bank.post(bank.profile("retail:1")))
        await bank.post(bank.form("opened", "retail:1"))
        while not await bank.due_customers():
            await asyncio.sleep(0.02)
        os.kill(bank.servers.broker.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(1.5)  # longer than the absence, shorter than the session
        finally:
            os.kill(bank.servers.broker.pid, signal.SIGCONT)
        await channel.until(1)
        await channel.silence(0.5)
    assert len(channel.events) == 1
