"""No trigger misses an event, or sees one twice, while the states of another layout are handed over."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtests.trigger_world import OutboundReader, TriggerBank, reload, strategy_text, trigger_bank
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_state_store import RedisStateStore
from services.bootstrap import LoadedStrategy, open_strategy_versions
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.rebuild_states import RebuildOrder, rebuild_states
from services.commands.state_builder import build_states

pytestmark = pytest.mark.servers
FEATURE = """features:
  - {name: visits, source: bank.channel.page_view, aggregate: count, windows: [30d], theme: t,
     description: {zh-CN: 访问, en: Visits}, default: 0}
"""
PROMISE = """triggers:
  - name: any_inflow
    title: {zh-CN: 到账, en: Inflow}
    on: {count: {event: bank.transaction.posted, where: 'direction == "credit"'}, at_least: 2, within: 1h}
    offers: {groups: [wealth]}
    contact: {placement: inbox_lead, count: 1}
    expires: 12h
"""
WITHIN = "6s"
"""Long enough that what is opened before the handover is not due before it, however slowly a group forms."""


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[TriggerBank]:
    async with trigger_bank(tmp_path, text()) as bank:
        yield bank


def text(features: str = "") -> str:
    strategy = strategy_text(within=WITHIN).replace("triggers:\n", PROMISE)
    return strategy.replace("features:\n", features) if features else strategy


@pytest.fixture
def coming(bank: TriggerBank, tmp_path: Path) -> LoadedStrategy:
    """The same triggers over states of another layout."""
    loaded = reload(bank, tmp_path, text(FEATURE))
    assert loaded.features.layout != bank.loaded.features.layout
    return loaded


@asynccontextmanager
async def folding(bank: TriggerBank, loaded: LoadedStrategy) -> AsyncIterator[None]:
    """Makes states and contacts nobody, as a rebuild does."""
    stop = asyncio.Event()
    task = asyncio.create_task(build_states(bank.settings, loaded.features, PrometheusMetrics(), stop))
    try:
        yield
    finally:
        stop.set()
        await task


def heard(channel: OutboundReader) -> list[tuple[str, str]]:
    return sorted((event.data.trigger, event.data.customer_id) for event in channel.offered())


async def test_what_came_while_no_builder_matched_fires_once_and_ends_absences(
    bank: TriggerBank, coming: LoadedStrategy
) -> None:
    then = TriggerBank(bank.settings, bank.environment, coming, bank.publisher, bank.client, bank.servers)
    async with OutboundReader.open(bank) as channel:
        began_ms = bank.now_ms()
        async with bank.builder():
            began = [bank.form("opened", f"retail:{n}") for n in range(4)]
            began += [bank.inflow("retail:5", 1), bank.inflow("retail:6", 1), bank.inflow("retail:6", 1)]
            await bank.until_applied(await bank.post(*began))
            await channel.until(1)
        soon = began_ms + 1_000
        gap = [bank.form("submitted", f"retail:{n}", at_ms=soon) for n in range(2)] + [bank.form("opened", "retail:4")]
        gap += [bank.inflow("retail:5", 1), bank.inflow("retail:6", 1)]
        async with folding(then, coming):
            await then.until_applied(await bank.post(*gap))
        async with then.builder():
            await channel.until(5)
            await channel.silence(1.0)
    assert heard(channel) == [
        ("any_inflow", "retail:5"),
        ("any_inflow", "retail:6"),
        ("form_abandoned", "retail:2"),
        ("form_abandoned", "retail:3"),
        ("form_abandoned", "retail:4"),
    ], "the sixth customer's third inflow begins to count anew"
    assert channel.repeats() == []


async def test_killed_in_the_middle_of_catching_up_nothing_fires_twice_or_never(
    bank: TriggerBank, coming: LoadedStrategy, tmp_path: Path
) -> None:
    path = tmp_path / "coming.yaml"
    path.write_text(text(FEATURE))
    environment = {**bank.environment, "KAIROS_STRATEGY_PATH": str(path), "KAIROS_BATCH_RECORDS": "5"}
    then = TriggerBank(bank.settings, environment, coming, bank.publisher, bank.client, bank.servers)
    customers = [f"retail:{n}" for n in range(60)]
    async with OutboundReader.open(bank) as channel:
        async with bank.builder():
            await bank.until_applied(await bank.post(*(bank.inflow(customer, 1) for customer in customers)))
        async with folding(then, coming):
            await then.until_applied(await bank.post(*(bank.inflow(customer, 1) for customer in customers)))
        seen = await matched(then)
        process = await then.builder_process()
        async with asyncio.timeout(30):
            while await matched(then) == seen:
                await asyncio.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert seen < await matched(then) < 2 * len(customers), "killed in the middle"
        async with then.builder():
            await channel.until(len(customers))
            await channel.silence(0.5)
    assert heard(channel) == sorted(("any_inflow", customer) for customer in customers)
    assert channel.repeats() == []


async def matched(bank: TriggerBank) -> int:
    """How many transactions triggers have seen."""
    store = RedisStateStore(bank.client, bank.keys)
    held = await store.matched([("bank.transactions.v1", partition) for partition in range(2)])
    return sum(offset or 0 for offset in held.values())


async def test_a_switch_under_load_misses_nothing_and_repeats_nothing(
    bank: TriggerBank, coming: LoadedStrategy, tmp_path: Path
) -> None:
    """Guards against the own history see each customer just before each event all the time."""
    path = tmp_path / "coming.yaml"
    path.write_text(text(FEATURE))
    open_strategy_versions(bank.settings).register(coming.strategy.version, path)
    number, done = 0, asyncio.Event()
    wanted: set[tuple[str, str]] = set()

    async def load() -> None:
        nonlocal number
        while not done.is_set():
            customer, other = f"retail:{number}", f"retail:form-{number}"
            await bank.post(bank.profile(customer), bank.inflow(customer, 1))
            await bank.post(bank.inflow(customer), bank.form("opened", other), bank.form("opened", other, "f2"))
            wanted.update({("any_inflow", customer), ("large_inflow", customer), ("form_abandoned", other)})
            await bank.post(bank.form("submitted", other))
            number += 1
            await asyncio.sleep(0.02)

    async with OutboundReader.open(bank) as channel, role(bank) as active:
        loading = asyncio.create_task(load())
        await channel.until(5)
        order = RebuildOrder(loaded=coming, spill=tmp_path / "spill", rest=0.0, niceness=0)
        async with asyncio.timeout(60):
            assert await rebuild_states(bank.settings, order, asyncio.Event())
            assert active() == coming.strategy.version
        at_switch = number
        while number < at_switch + 10:
            await asyncio.sleep(0.02)
        done.set()
        await loading
        await channel.until(len(wanted))
        await channel.silence(0.5)
    assert heard(channel) == sorted(wanted)
    assert channel.repeats() == []


@asynccontextmanager
async def role(bank: TriggerBank) -> AsyncIterator[Callable[[], str]]:
    """The state builder role, following the active version; answers which one it works for."""
    stop, version = asyncio.Event(), ""

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        nonlocal version
        version = loaded.strategy.version
        await build_states(bank.settings, loaded.features, PrometheusMetrics(), until, firing_for=loaded)

    async def follow() -> None:
        async with active_strategy(bank.settings, "state-builder", keeps_states=True) as active:
            await work_for_active(active, stop, work)

    task = asyncio.create_task(follow())
    try:
        yield lambda: version
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task
