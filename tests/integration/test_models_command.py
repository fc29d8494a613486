"""`kairos models` from the command line: what is registered, what it does, and who lets it."""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import lightgbm
import numpy as np
import pytest

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from event_schemas.codec import decode, encode
from event_schemas.control import ModelChallenged, ModelPromoted
from event_schemas.decisions import DecisionMade
from event_schemas.shadow_scores import ModelShadowScored, ShadowScores
from event_schemas.topics import ALL_TOPICS, CONTROL, DECISIONS, SHADOW_SCORES
from models.manifest import Manifest, Metric
from models.registry import ModelRegistry
from services.__main__ import main
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.parquet_archive import ParquetArchive
from services.ports import Delivery

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
STRATEGY = """
name: two_cards
time_zone: Asia/Shanghai
currency: CNY
locales: [zh-CN, en]
consents:
  - {name: marketing, default: granted, text: {zh-CN: 未同意营销, en: No marketing}}
profile:
  - {name: spend, type: double, theme: basic, description: {zh-CN: 消费, en: Spend}}
models: [{name: cross_sell, required: false}]
issues: [{name: acquire, lever: 0, title: {zh-CN: 获客, en: Acquire}}]
groups: [{name: cards, issue: acquire, lever: 0, model: cross_sell, title: {zh-CN: 卡, en: Cards}}]
placements:
  - id: home_banner
    channel: mobile
    max_count: 1
    fallback: {treatment: generic.mobile.banner, content: {zh-CN: {title: 你好}, en: {title: Hello}}}
contact_policy: {reservation_seconds: 600, limits: []}
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
GOOD = {"auc": Metric(value=0.7, low=0.65, high=0.75), "log_loss_gain": Metric(value=0.01, low=0.005, high=0.02)}
POOR = {"auc": Metric(value=0.52, low=0.48, high=0.56), "log_loss_gain": Metric(value=0.0, low=-0.01, high=0.01)}
WHO = ("--actor", "li.wei", "--approved-by", "zhao.min")


@pytest.fixture
def bank(tmp_path: Path, log: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Settings that point at an empty registry and a strategy of two cards; nothing listens on the bus."""
    strategy = tmp_path / "strategy.yaml"
    strategy.write_text(STRATEGY + "".join(OFFER.format(name=name) for name in log.OFFERS), encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("KAIROS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(strategy))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(tmp_path / "archive"))
    monkeypatch.setenv("KAIROS_MODEL_PATH", str(tmp_path / "models"))
    monkeypatch.setenv("KAIROS_ATTRIBUTION_SECONDS", "30")
    return tmp_path


def register(bank: Path, minute: int, metrics: dict[str, Metric] | None = None, column: str = "spend") -> str:
    """A registered version of `cross_sell`, each minute another."""
    draw = np.random.default_rng(minute)
    matrix = draw.normal(size=(300, 1))
    labels = (matrix[:, 0] + draw.normal(size=300) > 0).astype(float)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 4}
    text = lightgbm.train(parameters, lightgbm.Dataset(matrix, labels), 5).model_to_string()
    schema = FeatureSchema((Column(name=column, source=ColumnSource.ATTRIBUTE),))
    draft = Manifest(
        name="cross_sell", version="", kind="gbdt", schema=schema, files={}, created_at="", metrics=metrics or GOOD
    )
    files = {"model.txt": text.encode(), "calibration.json": b'{"kind": "identity"}'}
    return ModelRegistry(bank / "models").save(draft, files, NOON + timedelta(minutes=minute)).version


@pytest.mark.parametrize("act", [["promote"], ["challenge", "--share", "0.1"]])
@pytest.mark.parametrize(
    ("who", "said"),
    [
        (["--actor", "li.wei"], "second person"),
        (["--actor", "li.wei", "--approved-by", "Li.Wei"], "another person"),
    ],
)
def test_nobody_changes_alone_what_customers_get(
    bank: Path, capsys: pytest.CaptureFixture[str], act: list[str], who: list[str], said: str
) -> None:
    assert main(["models", act[0], register(bank, 1), *act[1:], *who]) == 1
    assert said in capsys.readouterr().err


def test_a_version_that_proved_nothing_is_refused(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "promote", register(bank, 1, POOR), *WHO]) == 1
    assert "AUC is not above 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("act", [["promote", *WHO], ["shadow", "--actor", "li.wei"]])
def test_a_version_that_nodes_would_refuse_is_refused_before(
    bank: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, act: list[str]
) -> None:
    assert main(["models", act[0], register(bank, 1, column="shoe_size"), *act[1:]]) == 1
    assert "refused by every node" in capsys.readouterr().err and "shoe_size" in caplog.text


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "2", "much"])
def test_a_share_is_part_of_the_customers(bank: Path, capsys: pytest.CaptureFixture[str], share: str) -> None:
    with pytest.raises(SystemExit):
        main(["models", "challenge", "cross_sell-x", "--share", share, *WHO])
    assert "--share" in capsys.readouterr().err


def test_an_unknown_version_is_named(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(bank, 1)
    assert main(["models", "promote", "cross_sell-20260101T000000Z-00000000", *WHO]) == 1
    assert "not in the model registry" in capsys.readouterr().err


@pytest.mark.servers
async def test_every_act_reaches_the_control_topic_and_shows_in_the_list(
    servers: EmbeddedServers, bank: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    monkeypatch.setenv("KAIROS_KAFKA_BOOTSTRAP_SERVERS", servers.bootstrap_servers)
    monkeypatch.setenv("KAIROS_KAFKA_IDEMPOTENCE", "false")
    first, second, third = (register(bank, minute) for minute in (1, 2, 3))

    async def kairos(*arguments: str) -> str:
        assert await asyncio.to_thread(main, ["models", *arguments]) == 0
        return capsys.readouterr().out

    await kairos("promote", first, *WHO)
    await kairos("challenge", second, "--share", "0.1", *WHO)
    await kairos("shadow", third, "--sample", "0.5", "--actor", "li.wei")
    listed = {line.split()[0]: line for line in (await kairos("list")).splitlines()}
    assert listed[first].endswith("champion")
    assert listed[second].endswith("challenger 10%") and listed[third].endswith("shadow")
    await kairos("retire", "cross_sell", "--role", "challenger", "--actor", "li.wei")
    await kairos("promote", third, *WHO)
    listed = {line.split()[0]: line for line in (await kairos("list")).splitlines()}
    assert listed[first].endswith("-") and listed[second].endswith("-")
    assert listed[third].endswith("champion, shadow")

    events = await control_events(servers.bootstrap_servers)
    promotion = next(e for e in events if isinstance(e, ModelPromoted))
    challenge = next(e for e in events if isinstance(e, ModelChallenged))
    assert (promotion.data.actor, promotion.data.approved_by) == ("li.wei", "zhao.min")
    assert (challenge.data.share, challenge.data.approved_by) == (0.1, "zhao.min")
    assert len({e.subject for e in events if e.type.startswith("nbo.control.model.")}) == 3


@pytest.mark.servers
async def test_a_proposal_is_approved_by_another_person_and_can_be_taken_back(
    servers: EmbeddedServers, bank: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    monkeypatch.setenv("KAIROS_KAFKA_BOOTSTRAP_SERVERS", servers.bootstrap_servers)
    monkeypatch.setenv("KAIROS_KAFKA_IDEMPOTENCE", "false")
    first, second, third = (register(bank, minute) for minute in (11, 12, 13))

    async def kairos(*arguments: str, status: int = 0) -> str:
        assert await asyncio.to_thread(main, ["models", *arguments]) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    await kairos("promote", first, *WHO)
    await kairos("propose", second, "--actor", "li.wei", "--comment", "spring campaign")
    await kairos("propose", third, "--actor", "li.wei")
    waiting = await kairos("proposals")
    assert f"{second} proposed by li.wei (person)" not in waiting, "the newest proposal of a model stands for it"
    assert f"{third} proposed by li.wei (person)" in waiting and "ranks: passed: AUC is above 0.5" in waiting
    assert "another person" in await kairos("approve", third, "--actor", "LI.wei", status=1)
    assert "is not proposed" in await kairos("approve", second, "--actor", "zhao.min", status=1)
    await kairos("approve", third, "--share", "0.2", "--actor", "zhao.min")
    assert "challenger 20%, proposed" in await kairos("list")
    await kairos("approve", third, "--actor", "zhao.min")
    assert "nothing waits" in await kairos("proposals")
    await kairos("rollback", "cross_sell", *WHO)
    listed = {line.split()[0]: line for line in (await kairos("list")).splitlines()}
    assert listed[first].endswith("champion") and listed[third].endswith("-")
    await kairos("propose", second, "--actor", "li.wei")
    await kairos("decline", second, "--actor", "zhao.min", "--comment", "not before the audit")
    assert "nothing waits" in await kairos("proposals")


@pytest.mark.servers
async def test_there_is_no_way_back_from_a_first_version(
    servers: EmbeddedServers, bank: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure_topics(servers.bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
    monkeypatch.setenv("KAIROS_KAFKA_BOOTSTRAP_SERVERS", servers.bootstrap_servers)
    monkeypatch.setenv("KAIROS_KAFKA_IDEMPOTENCE", "false")
    assert await asyncio.to_thread(main, ["models", "rollback", "never_served", *WHO]) == 1
    assert "no version is in service" in capsys.readouterr().err


async def control_events(address: str) -> list[Any]:
    found: list[Any] = []
    async with KafkaEventStream(address, [CONTROL]) as stream, asyncio.timeout(10):
        while sum(event.type.startswith("nbo.control.model.") for event in found) < 5:
            found += [decode(d.value) for d in await stream.poll(100, 0.2) if d.value is not None]
    return found


def test_a_shadow_is_compared_on_what_was_served_and_answered(
    bank: Path, log: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shadow says 0.6 where the customer accepted and 0.1 where not: it must come out ahead."""
    version = register(bank, 1)
    decisions, responses = log.make_log(1600)
    accepted = {
        event.data.tracking_id
        for event in map(decode, responses)
        if event.type == "nbo.response.recorded" and event.data.outcome in {"accept", "convert"}
    }
    said = []
    for event in map(decode, decisions):
        assert isinstance(event, DecisionMade)
        options = [option for placement in event.data.placements for option in placement.options]
        data = ShadowScores(
            decision_id=event.data.decision_id,
            customer_id=event.data.customer_id,
            time=event.data.time,
            model="cross_sell",
            served_version="prior",
            version=version,
            offers=tuple(option.offer for option in options),
            scores=tuple(0.6 if option.tracking_id in accepted else 0.1 for option in options),
        )
        said.append(
            ModelShadowScored(
                id=f"{data.decision_id}.s", source="kairos/api", subject=data.customer_id, time=data.time, data=data
            )
        )
    with ParquetArchive(bank / "archive") as archive:
        for records in log.batches(decisions, responses):
            archive.append(records)
        archive.append([Delivery(SHADOW_SCORES, 0, place, b"k", encode(event), ()) for place, event in enumerate(said)])
    assert main(["models", "compare", version]) == 0
    table = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines() if "  " in line}
    served_auc, shadow_auc = (float(cell) for cell in (table["AUC"][1], table["AUC"][4]))
    assert shadow_auc > 0.95 > served_auc
    assert float(table["log loss gained"][3]) > 0.1
    other = register(bank, 2)
    assert main(["models", "compare", other]) == 1
    assert "none of its scores" in capsys.readouterr().err
    assert DECISIONS != SHADOW_SCORES
