"""`kairos train` and `kairos evaluate` from the command line, on an archive and a strategy of the test's own."""

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from event_schemas.topics import ALL_TOPICS, CONTROL
from models.compatibility import available_columns
from models.registry import ModelRegistry
from services.__main__ import main
from services.adapters.artifact_model_provider import ArtifactModelProvider
from services.adapters.control_topic import ControlTopic, NodeIdentity
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.file_strategy_source import load_strategy_file
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.parquet_archive import ParquetArchive

STRATEGY = """
name: two_cards
time_zone: Asia/Shanghai
currency: CNY
locales: [zh-CN, en]
consents:
  - {name: marketing, default: granted, text: {zh-CN: 未同意营销, en: No marketing}}
profile:
  - {name: spend, type: double, theme: basic, description: {zh-CN: 消费, en: Spend}}
  - {name: city, type: string, theme: basic, sensitive: true, description: {zh-CN: 城市, en: City}}
context:
  - {name: page, type: string, description: {zh-CN: 页面, en: Page}}
models: [{name: cross_sell, required: false}]
issues: [{name: acquire, lever: 0, title: {zh-CN: 获客, en: Acquire}}]
groups: [{name: cards, issue: acquire, lever: 0, model: cross_sell, title: {zh-CN: 卡, en: Cards}}]
placements:
  - id: home_banner
    channel: mobile
    max_count: 1
    fallback: {treatment: generic.mobile.banner, content: {zh-CN: {title: 你好}, en: {title: Hello}}}
contact_policy: {reservation_seconds: 600, limits: []}
exploration: {kind: epsilon_greedy, epsilon: 0.5}
offers:
"""
OFFER = """  - name: {name}
    group: cards
    title: {{zh-CN: 卡, en: Card}}
    value: 100
    base_rate: 0.2
    treatments:
      - name: banner
        channel: mobile
        placements: [home_banner]
        content: {{zh-CN: {{title: 卡}}, en: {{title: Card}}}}
"""


@pytest.fixture
def bank(tmp_path: Path, log: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings that point at an archive of 1,600 decisions, an empty registry, and a strategy of two cards."""
    strategy = tmp_path / "strategy.yaml"
    strategy.write_text(STRATEGY + "".join(OFFER.format(name=name) for name in log.OFFERS), encoding="utf-8")
    with ParquetArchive(tmp_path / "archive") as archive:
        for records in log.batches(*log.make_log(1600)):
            archive.append(records)
    for name in [name for name in os.environ if name.startswith("KAIROS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(strategy))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(tmp_path / "archive"))
    monkeypatch.setenv("KAIROS_MODEL_PATH", str(tmp_path / "models"))
    monkeypatch.setenv("KAIROS_ATTRIBUTION_SECONDS", "30")
    return tmp_path


def test_a_model_is_trained_registered_and_judged(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "cross_sell", "--write-catalogue", str(bank / "offers.json")]) == 0
    trained = capsys.readouterr()
    registry = ModelRegistry(bank / "models")
    (version,) = registry.versions("cross_sell")
    assert version in trained.out and "AUC" in trained.out and "labelled rows" in trained.err
    assert (bank / "offers.json").stat().st_size > 0
    names = {column.name for column in registry.manifest(version).schema.columns}
    assert "spend" in names and "city" not in names  # a sensitive attribute is no column

    assert main(["evaluate", "--model", "cross_sell"]) == 0
    judged = capsys.readouterr().out
    assert version in judged and "SNIPS" in judged and "were learnt from" not in judged
    assert main(["evaluate", "--version", version, "--since", "2026-03-01"]) == 0
    assert "were learnt from" in capsys.readouterr().out


def test_ranking_by_a_model_is_valued_on_what_it_never_learnt_from(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who likes which card is known to the model, and half of the log agrees with it by a fair coin."""
    assert main(["train", "--model", "cross_sell"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "policy", "--model", "cross_sell", "--by-place", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (policy,) = report["policies"]
    held_out = (
        ModelRegistry(bank / "models").manifest(policy["policy"].removeprefix("ranked by ")).metrics["rows"].value
    )
    assert report["choices"] == pytest.approx(held_out, abs=2)
    assert policy["estimates"]["SNIPS"]["value"] > report["logged"]["value"]
    (place,) = report["by_place"]["places"]
    assert place["IPS"]["value"] == pytest.approx(policy["estimates"]["IPS"]["value"])
    assert main(["evaluate", "policy", "--model", "cross_sell", "--clip", "0.5"]) == 2
    assert "clipping takes 75.0% of the weight" in capsys.readouterr().out


@pytest.mark.servers
async def test_a_promoted_model_serves_on_a_node_that_starts_later(
    servers: EmbeddedServers, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=3, replication=1)
    monkeypatch.setenv("KAIROS_KAFKA_BOOTSTRAP_SERVERS", servers.bootstrap_servers)
    monkeypatch.setenv("KAIROS_KAFKA_IDEMPOTENCE", "false")
    promote = ["train", "--model", "cross_sell", "--promote", "--actor", "li.wei"]
    assert await asyncio.to_thread(main, promote) == 1  # nobody approved
    assert await asyncio.to_thread(main, [*promote, "--approved-by", "zhao.min"]) == 0

    registry = ModelRegistry(bank / "models")
    provider = ArtifactModelProvider(registry, available_columns(load_strategy_file(bank / "strategy.yaml")))
    async with (
        KafkaEventPublisher(servers.bootstrap_servers, idempotence=False) as publisher,
        KafkaEventStream(servers.bootstrap_servers, [CONTROL]) as stream,
    ):
        identity = NodeIdentity(node="api-1", role="api", event_id="N1", started_at=datetime.now(UTC))
        control = ControlTopic(stream, publisher, identity)
        control.subscribe("nbo.control.model.promoted", provider.on_promoted)
        async with control:
            assert provider.scorers()["cross_sell"].version == registry.newest("cross_sell")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--model", "churn"], "churn"),
        (["train", "--model", "cross_sell", "--since", "2027-01-01"], "no labelled rows"),
        (["evaluate"], "--model NAME"),
        (["evaluate", "--model", "cross_sell"], "train one"),
        (["evaluate", "--version", "nonsense"], "registry"),
    ],
)
def test_what_cannot_be_done_is_said_and_fails(
    bank: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(arguments) == 1
    assert said in capsys.readouterr().err


def test_berka_without_its_data_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIROS_DATA", str(tmp_path))
    strategy = str(Path(__file__).parents[2] / "deploy" / "strategies" / "berka")
    assert main(["evaluate", "berka", "--snapshots", str(tmp_path), "--strategy", strategy]) == 1
    assert "loan.asc.gz" in capsys.readouterr().err
