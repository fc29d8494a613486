"""The API as it is composed: a strategy with volumes leases them, hands out what there is, and no more."""

from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId, PlacementId
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_volume_leases import RedisVolumeLeases
from services.api.runtime import ApiRuntime
from services.bootstrap import open_api
from services.commands import topics
from services.settings import read_settings
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionPorts, MakeDecision

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


async def test_the_stock_goes_out_once_and_then_the_placement_falls_back(servers: Any, tmp_path: Path) -> None:
    strategy = tmp_path / "strategy.yaml"
    strategy.write_text(STRATEGY, encoding="utf-8")
    settings = read_settings(
        {
            "KAIROS_REDIS_URL": servers.redis_url,
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_STRATEGY_PATH": str(strategy),
            "KAIROS_STRATEGY_ARCHIVE": str(tmp_path / "strategies"),
            "KAIROS_MODEL_PATH": str(tmp_path / "models"),
            "KAIROS_ARCHIVE_PATH": str(tmp_path / "archive"),
        }
    )
    await topics.create(settings)
    async with open_api(settings) as runtime:
        assert isinstance(runtime.volumes, RedisVolumeLeases)
        async with RedisClient.open(settings.redis_url) as client:
            keys = RedisKeys(settings.namespace, runtime.live().features.layout)
            await client.execute("SET", keys.complete, "1")  # no state builder runs here
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
