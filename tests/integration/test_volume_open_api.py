"""The API as it is composed: a strategy with volumes leases them, hands out what there is, and no more."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId, PlacementId
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_volume_leases import RedisVolumeLeases
from services.api.runtime import ApiRuntime
from services.bootstrap import load_strategy, open_api
from services.commands import pacer, topics
from services.settings import Settings
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from tests.served_strategy import settings_for

pytestmark = pytest.mark.servers
STRATEGY = """
name: scarce
time_zone: UTC
currency: CNY
locales: [en]
consents:
  - {name: marketing, default: granted, text: {en: Marketing}}
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 1, fallback: {treatment: none, content: {en: {title: x}}}}]
volumes:
  - {id: umbrellas, of: {offer: umbrella}, resource: stock, amount: 3, per: {calendar: month}}
"""


def decider(runtime: ApiRuntime) -> MakeDecision:
    return MakeDecision(
        DecisionPorts(
            live=runtime.live, store=runtime.store, ledger=runtime.ledger, publisher=runtime.publisher,
            clock=runtime.clock, ids=runtime.ids, metrics=runtime.metrics, volumes=runtime.volumes,
        )
    )  # fmt: skip


def command(number: int) -> DecisionCommand:
    return DecisionCommand(
        client="app",
        customer_id=CustomerId(f"retail:{number}"),
        channel="branch",
        placements=(PlacementRequest(id=PlacementId("tablet"), count=1),),
        locale="en",
        started_s=perf_counter(),
        timeout_ms=1000,
    )


@pytest.fixture
async def settings(servers: Any, tmp_path: Path) -> Settings:
    made = settings_for(STRATEGY, servers, tmp_path)
    await topics.create(made)
    return made


async def mark_states_complete(client: RedisClient, settings: Settings, runtime: ApiRuntime) -> None:
    """No state builder runs here."""
    await client.execute("SET", RedisKeys(settings.namespace, runtime.live().features.layout).complete, "1")


async def test_the_stock_goes_out_once_and_then_the_placement_falls_back(settings: Settings) -> None:
    async with RedisClient.open(settings.redis_url) as client, open_api(settings) as runtime:
        assert isinstance(runtime.volumes, RedisVolumeLeases)
        await mark_states_complete(client, settings, runtime)
        decide = decider(runtime)
        answers = []
        for number in range(5):
            answers.append(orjson.loads(await decide(command(number))))
            await runtime.volumes.renew()
    placements = [answer["placements"][0] for answer in answers]
    assert ["options" in placement for placement in placements] == [True, True, True, False, False]
    assert placements[3]["fallback_cause"] in {"CAPPED", "ALL_REJECTED"}
    page, _ = runtime.exposition()
    assert b'kairos_volume_remaining{resource="umbrellas"} 0.0' in page
    assert b'kairos_rejections_total{rule="umbrellas",stage="volume"}' in page


async def test_after_a_flush_the_answers_name_it_and_the_stock_is_not_handed_out_twice(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisClient.open(settings.redis_url))
        runtime = await stack.enter_async_context(open_api(settings))
        volumes = runtime.volumes
        assert isinstance(volumes, RedisVolumeLeases)
        await mark_states_complete(client, settings, runtime)
        decide = decider(runtime)

        async def offered(*numbers: int) -> list[bool]:
            answers = []
            for number in numbers:
                await volumes.renew()
                answers.append(orjson.loads(await decide(command(number))))
            causes.append({cause for answer in answers for cause in answer["degraded_causes"]})
            return ["options" in answer["placements"][0] for answer in answers]

        causes: list[set[str]] = []
        assert await offered(1, 2) == [True, True]
        await runtime.publisher.flush()
        await client.execute("FLUSHALL")
        await mark_states_complete(client, settings, runtime)
        # The first finds its lease gone; from then on it is known why.
        assert await offered(3, 4) == [False, False]
        assert "volumes_rebuilding" in causes[-1]
        paces = await pacer._open(settings, load_strategy(settings), PrometheusMetrics(pacer._METRICS), stack)
        paces.tools = replace(paces.tools, settle_s=0.0)
        async with asyncio.timeout(20):
            while volumes.rebuilding:
                await paces.step()
                await volumes.renew()
        assert await offered(5, 6, 7) == [True, False, False]
        assert causes[-1] == set()


async def test_an_api_that_finds_an_empty_store_and_an_old_log_hands_out_nothing(settings: Settings) -> None:
    async with open_api(settings) as runtime, RedisClient.open(settings.redis_url) as client:
        await mark_states_complete(client, settings, runtime)
        await decider(runtime)(command(1))
        await runtime.publisher.flush()
        await client.execute("FLUSHALL")
    async with open_api(settings) as runtime, RedisClient.open(settings.redis_url) as client:
        assert runtime.volumes is not None
        assert runtime.volumes.rebuilding
        await mark_states_complete(client, settings, runtime)
        answer = orjson.loads(await decider(runtime)(command(2)))
        assert (answer["degraded_causes"], "options" in answer["placements"][0]) == (["volumes_rebuilding"], False)
