"""Nodes do what governance says, on real servers: switches stop, shares are kept to, worse versions are taken back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId, DecisionId, PlacementId
from loadtests.trigger_world import OutboundReader, TriggerBank, reload, strategy_text, trigger_bank
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.ulid_ids import UlidIds
from services.api.runtime import ApiRuntime
from services.bootstrap import (
    LoadedStrategy,
    load_strategy,
    node_identity,
    open_api,
    open_control,
    open_governance,
    open_publisher,
    open_strategy_versions,
)
from services.commands import topics
from services.commands.active_strategy import active_strategy, work_for_active
from services.commands.explain import registered_models
from services.commands.guard import METRICS, guard_versions
from services.commands.state_builder import build_beside, build_states
from services.settings import Settings
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.explain_decision import DecidingStrategies, ExplainDecision
from services.use_cases.governance.desk import GovernanceDesk
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.versions_now import is_in_share
from tests.served_strategy import settings_for

pytestmark = pytest.mark.servers
WAIT_S = 30
STRATEGY = """
name: governed
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
profile:
  - {name: age, type: int, theme: basic, description: {en: Age}}
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 200, base_rate: 0.1, purpose: service,@RULE@
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
  - {name: raincoat, group: notices, title: {en: Raincoat}, value: 100, base_rate: 0.1, purpose: service,@RULE@
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
@MORE@
"""
NOBODY = "eligibility: [{id: nobody, when: 'age > 200', code: NOT_NOW, text: {en: Not now}}],"


def text(more: str = "", rule: str = "") -> str:
    return STRATEGY.replace("@MORE@", more).replace("@RULE@", rule)


@dataclass
class Node:
    """An API node as it is composed, without its HTTP."""

    runtime: ApiRuntime
    decide: MakeDecision

    async def ask(self, number: int, request_id: str | None = None) -> dict[str, Any]:
        command = DecisionCommand(
            client="app",
            request_id=request_id,
            body_hash=b"h" if request_id else b"",
            customer_id=CustomerId(f"retail:{number}"),
            channel="branch",
            placements=(PlacementRequest(id=PlacementId("tablet"), count=1),),
            locale="en",
            started_s=perf_counter(),
            timeout_ms=2_000,
        )
        found: dict[str, Any] = orjson.loads(await self.decide(command))
        return found

    async def offered(self, number: int, request_id: str | None = None) -> str | None:
        (place,) = (await self.ask(number, request_id))["placements"]
        return place["options"][0]["offer"] if "options" in place else place["fallback_cause"]

    def version_for(self, number: int) -> str:
        assert self.runtime.live_for is not None
        return str(self.runtime.live_for(CustomerId(f"retail:{number}")).prepared.strategy.version)

    @property
    def desk(self) -> GovernanceDesk:
        assert self.runtime.governance is not None
        return self.runtime.governance


@asynccontextmanager
async def node(settings: Settings) -> AsyncIterator[Node]:
    async with RedisClient.open(settings.redis_url) as client, open_api(settings) as runtime:
        layout = runtime.live().features.layout
        await client.execute("SET", RedisKeys(settings.namespace, layout).complete, "1")  # no state builder runs here
        ports = DecisionPorts(
            live=runtime.live, store=runtime.store, ledger=runtime.ledger, publisher=runtime.publisher,
            clock=runtime.clock, ids=runtime.ids, metrics=runtime.metrics, volumes=runtime.volumes,
            switches=runtime.switches or (lambda: ()), live_for=runtime.live_for,
        )  # fmt: skip
        yield Node(runtime, MakeDecision(ports))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def settings(servers: Any, tmp_path: Path) -> Settings:
    made = settings_for(text(), servers, tmp_path, KAIROS_GOVERNANCE_REQUIRES_SIMULATION="false")
    await topics.create(made)
    return made


async def approved(desk: GovernanceDesk, files: str) -> str:
    """A version that two people agree on."""
    record = await desk.submit({"strategy.yaml": files}, actor="ann")
    await desk.approve(record.version, actor="bob")
    return record.version


async def test_a_switch_thrown_at_one_node_acts_at_the_other_and_on_the_next_start(settings: Settings) -> None:
    async with node(settings) as one, node(settings) as other:
        assert await other.offered(1, "r-1") == "umbrella"
        await one.desk.stop("offer", "umbrella", actor="ann", comment="wrong price")
        assert other.runtime.switches is not None
        await until(lambda: other.runtime.switches() == ("offer:umbrella",))
        assert [await each.offered(2) for each in (one, other)] == ["raincoat", "raincoat"]
        assert await other.offered(1, "r-1") == "STOPPED", "not from the idempotency store, either"
        page, _ = other.runtime.exposition()
        assert b'kairos_kill_switch_engaged{kind="offer",name="umbrella"} 1.0' in page
    async with node(settings) as again:
        assert await again.offered(3) == "raincoat"
        await again.desk.release("offer", "umbrella", actor="bob")
        await until(lambda: again.runtime.switches and not again.runtime.switches())
        assert await again.offered(4) == "umbrella"


async def test_a_share_is_decided_by_the_canary_on_every_node_until_it_is_for_all(settings: Settings) -> None:
    canary_text = text("levers: [{offer: raincoat, lever: 400, from: 2020-01-01}]")
    async with node(settings) as one, node(settings) as other:
        before = one.version_for(0)
        coming = await approved(one.desk, canary_text)
        await one.desk.activate(coming, actor="bob", share=0.5)
        await until(lambda: all(each.runtime.canary() for each in (one, other)))
        expected = {n: coming if is_in_share(CustomerId(f"retail:{n}"), coming, 0.5) else before for n in range(40)}
        assert set(expected.values()) == {before, coming}
        for each in (one, other):
            assert {n: each.version_for(n) for n in expected} == expected
        explain = ExplainDecision(
            store=one.runtime.store,
            strategies=DecidingStrategies(at_hand=lambda: one.runtime.live().prepared, kept=one.runtime.strategies),
        )
        for number, version in list(expected.items())[:8]:
            answer = await one.ask(number)
            assert answer["strategy_version"] == version
            wanted = "raincoat" if version == coming else "umbrella"
            assert answer["placements"][0]["options"][0]["offer"] == wanted
            decision_id = DecisionId(answer["decision_id"])
            assert (await explain.replay(decision_id, registered_models(settings))).identical
        await one.desk.activate(coming, actor="bob")
        await until(lambda: {each.version_for(n) for each in (one, other) for n in range(40)} == {coming})
        await other.desk.rollback(actor="ann", comment="back")
        await until(lambda: {each.version_for(n) for each in (one, other) for n in range(40)} == {before})


async def test_a_worse_canary_is_taken_back_by_the_guard_which_says_why(settings: Settings) -> None:
    guarded = text("guard: {window: 30s, answers: 5s, least: 40, false_alarms: 0.05}", NOBODY)
    stop, metrics = asyncio.Event(), PrometheusMetrics(METRICS)
    async with node(settings) as one:
        guarding = asyncio.create_task(guard_versions(settings, metrics, stop))
        coming = await approved(one.desk, guarded)
        await one.desk.activate(coming, actor="bob", share=0.5)
        await until(one.runtime.canary)
        for number in range(300):
            await one.ask(number)
        await until(lambda: one.desk.state().canary is None)
        await until(lambda: one.runtime.canary() is None)
        stop.set()
        await guarding
        last = one.desk.state().history[-1]
        assert (last.actor, last.outcome, last.type) == ("guard", "valid", "strategy.rolled_back")
        assert last.comment is not None
        assert "fallback 100.00% of" in last.comment
        assert await one.offered(1_000) == "umbrella"
    page = metrics.exposition()[0].decode()
    assert 'kairos_guard_rollbacks_total{measure="fallback",outcome="done"} 1.0' in page


@asynccontextmanager
async def desk_of(settings: Settings) -> AsyncIterator[GovernanceDesk]:
    """A desk of its own, for a deployment whose API does not run."""
    versions, loaded = open_strategy_versions(settings), load_strategy(settings)
    versions.register(loaded.strategy.version, settings.strategy_path)
    async with RedisClient.open(settings.redis_url) as client, open_publisher(settings) as publisher:
        governance = open_governance(settings, publisher, client, versions, loaded.strategy.version)
        identity = node_identity("test", UlidIds())
        async with open_control(settings, publisher, {}, identity, acts=governance.acts):
            yield governance.desk
            await governance.submissions.settled()


@pytest.fixture
async def triggering(tmp_path: Path) -> AsyncIterator[TriggerBank]:
    async with trigger_bank(tmp_path, strategy_text(), KAIROS_GOVERNANCE_REQUIRES_SIMULATION="false") as bank:
        yield bank


async def inflow(bank: TriggerBank, *numbers: int) -> None:
    """Customers the bank knows, and money that comes in."""
    known = (bank.profile(f"retail:{n}", locale="en", owner_manager="manager-7") for n in numbers)
    await bank.until_applied(await bank.post(*known))
    await bank.until_applied(await bank.post(*(bank.inflow(f"retail:{n}") for n in numbers)))


async def test_what_is_stopped_does_not_go_out_by_a_trigger_either(triggering: TriggerBank) -> None:
    bank = triggering
    async with desk_of(bank.settings) as desk, OutboundReader.open(bank) as channel, bank.builder():
        await inflow(bank, 1)
        (before,) = await channel.until(1)
        assert before.data.options[0].group == "wealth"
        assert before.data.strategy_version == bank.loaded.strategy.version
        await desk.stop("group", "wealth", actor="ann")
        await inflow(bank, 2)
        await channel.silence(1.0)
    assert [event.data.customer_id for event in channel.offered()] == ["retail:1"]


async def test_a_triggered_contact_of_a_customer_in_the_share_is_decided_by_the_canary(triggering: TriggerBank) -> None:
    bank = triggering
    other = strategy_text().replace("title: {zh-CN: 财富}, en: {title: Wealth}", "title: {zh-CN: 新}, en: {title: New}")
    other = other.replace("{title: 财富}, en: {title: Wealth}", "{title: 新}, en: {title: New}")
    async with desk_of(bank.settings) as desk, OutboundReader.open(bank) as channel, bank.builder():
        coming = await approved(desk, other)
        share = 0.5
        inside = {n: is_in_share(CustomerId(f"retail:{n}"), coming, share) for n in range(1, 9)}
        assert len(set(inside.values())) == 2
        await bank.until_complete()
        await desk.activate(coming, actor="bob", share=share)
        await inflow(bank, *inside)
        await channel.until(len(inside))
    by = {event.data.customer_id: event.data.strategy_version for event in channel.offered()}
    assert by == {f"retail:{n}": coming if canary else bank.loaded.strategy.version for n, canary in inside.items()}


FEATURE = """features:
  - {name: visits, source: bank.channel.page_view, aggregate: count, windows: [30d], theme: t,
     description: {zh-CN: 访问, en: Visits}, default: 0}
"""


async def test_the_states_of_a_canary_with_a_layout_of_its_own_are_kept_current_beside_the_others(
    triggering: TriggerBank, tmp_path: Path
) -> None:
    bank, files = triggering, strategy_text().replace("features:\n", FEATURE)
    coming = reload(bank, tmp_path, files)
    assert coming.features.layout != bank.loaded.features.layout
    then = TriggerBank(bank.settings, bank.environment, coming, bank.publisher, bank.client, bank.servers)
    async with desk_of(bank.settings) as desk:
        version = await approved(desk, files)
        async with bank.builder(), building(then):
            places = await bank.post(bank.inflow("retail:1", 1))
            for each in (bank, then):
                await each.until_applied(places)
                await each.until_complete()
        async with role(bank.settings):
            await desk.activate(version, actor="bob", share=0.5)
            places = await bank.post(*(bank.inflow(f"retail:{n}", 1) for n in range(20)))
            await then.until_applied(places)
            await bank.until_applied(places)
            await desk.rollback(actor="ann")
            await bank.until_applied(await bank.post(bank.inflow("retail:1", 1)))


@asynccontextmanager
async def building(bank: TriggerBank) -> AsyncIterator[None]:
    """Makes states and contacts nobody, as a rebuild does."""
    stop = asyncio.Event()
    task = asyncio.create_task(build_states(bank.settings, bank.loaded.features, PrometheusMetrics(), stop))
    try:
        yield
    finally:
        stop.set()
        await task


@asynccontextmanager
async def role(settings: Settings) -> AsyncIterator[None]:
    """The state builder role as it runs: for the active version, and for a canary beside it."""
    stop, metrics = asyncio.Event(), PrometheusMetrics()

    async def work(loaded: LoadedStrategy, until: asyncio.Event) -> None:
        await build_states(settings, loaded.features, metrics, until, firing_for=loaded)

    async def follow() -> None:
        async with active_strategy(settings, "state-builder", keeps_states=True) as active:
            beside = asyncio.create_task(build_beside(settings, active, metrics, stop))
            await work_for_active(active, stop, work)
            await beside

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_S):
            await task
