"""What a bank has when its servers are gone: a verified backup, put back, and a doctor that says what is not well."""

import argparse
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from event_schemas.topics import ALL_TOPICS, CONTROL
from services.adapters.backup_folder import BackupDamaged, BackupFailed, forget_older, newest, read_backup
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.redis_client import RedisClient
from services.bootstrap import load_strategy, open_publisher
from services.commands import audit, backup, doctor, restore, topics
from services.commands.backup import back_up
from services.commands.doctor_findings import Finding, Level, lines
from services.commands.governance_connections import chain_records, open_governance
from services.commands.restore import RestoreRefused
from services.ports import OutgoingEvent
from services.settings import Settings

pytestmark = pytest.mark.servers
STRATEGY = """
name: shop
time_zone: UTC
currency: CNY
locales: [en]
consents: [{name: marketing, default: granted, text: {en: Marketing}}]
profile: [{name: age, type: int, theme: basic, description: {en: Age}}]
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
"""


def settings_of(servers: Any, folder: Path) -> Settings:
    folder.mkdir(exist_ok=True)
    (folder / "strategy.yaml").write_text(STRATEGY)
    return Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers,
        kafka_idempotence=False,
        kafka_session_timeout_ms=1000,
        kafka_partitions=3,
        redis_url=servers.redis_url,
        strategy_path=folder / "strategy.yaml",
        strategy_archive=folder / "strategies",
        model_path=folder / "models",
        archive_path=folder / "archive",
        snapshot_path=folder / "snapshots",
    )


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAIROS_KAFKA_IDEMPOTENCE": "false",
        "KAIROS_REDIS_URL": settings.redis_url,
        "KAIROS_STRATEGY_PATH": str(settings.strategy_path),
        "KAIROS_STRATEGY_ARCHIVE": str(settings.strategy_archive),
        "KAIROS_MODEL_PATH": str(settings.model_path),
        "KAIROS_ARCHIVE_PATH": str(settings.archive_path),
        "KAIROS_SNAPSHOT_PATH": str(settings.snapshot_path),
    }


@pytest.fixture
async def bank(servers: Any, tmp_path: Path) -> AsyncIterator[Settings]:
    """A bank whose people have acted."""
    settings = settings_of(servers, tmp_path / "bank")
    await topics.create(settings)
    await act(settings, "umbrella", engaged=True)
    await act(settings, "umbrella", engaged=False)
    yield settings


async def act(settings: Settings, offer: str, *, engaged: bool) -> None:
    async with open_governance(settings) as opened:
        act_at = opened.desk.stop if engaged else opened.desk.release
        await act_at("offer", offer, actor="anna", comment="a drill")


async def test_a_backup_put_back_on_new_servers_holds_every_act_byte_for_byte(bank: Settings, tmp_path: Path) -> None:
    made = await back_up(bank, tmp_path / "kept")
    before = await chain_records(bank)
    assert made.chain.sequence == len([record for record in before if record]) >= 2
    async with EmbeddedServers.start(tmp_path / "others") as others:
        anew = settings_of(others, tmp_path / "anew")
        await restore.restore(anew, read_backup(made.folder))
        assert await chain_records(anew) == before
        kept = {path.relative_to(bank.strategy_archive) for path in bank.strategy_archive.rglob("*.yaml")}
        assert kept and kept == {
            path.relative_to(anew.strategy_archive) for path in anew.strategy_archive.rglob("*.yaml")
        }
        await restore.restore(anew, read_backup(made.folder))  # a second time there is nothing to do
        assert await chain_records(anew) == before
        await act(anew, "umbrella", engaged=True)  # and life goes on
        found, _ = audit.verified(await chain_records(anew), None, made.chain.hash)
        assert found == []


@pytest.mark.parametrize("how", ["changed", "missing", "added"])
async def test_a_backup_that_is_not_what_was_written_is_refused(bank: Settings, tmp_path: Path, how: str) -> None:
    made = await back_up(bank, tmp_path / "kept")
    victim = next(path for path in sorted((made.folder / "strategies").rglob("*.yaml")))
    if how == "changed":
        victim.write_bytes(victim.read_bytes() + b"#")
    elif how == "missing":
        victim.unlink()
    else:
        (made.folder / "models").mkdir(exist_ok=True)
        (made.folder / "models" / "extra.txt").write_text("x")
    with pytest.raises(BackupDamaged, match=r"changed|missing|not of it"):
        read_backup(made.folder)


async def test_nothing_is_put_over_acts_that_are_there(bank: Settings, tmp_path: Path) -> None:
    made = await back_up(bank, tmp_path / "kept")
    async with EmbeddedServers.start(tmp_path / "others") as others:
        anew = settings_of(others, tmp_path / "anew")
        await topics.create(anew)
        await act(anew, "umbrella", engaged=True)
        there = await chain_records(anew)
        with pytest.raises(RestoreRefused, match="other records"):
            await restore.restore(anew, made)
        assert await chain_records(anew) == there


async def test_acts_after_the_backup_are_lost_only_when_somebody_says_so(bank: Settings, tmp_path: Path) -> None:
    made = await back_up(bank, tmp_path / "kept")
    await act(bank, "umbrella", engaged=True)
    async with EmbeddedServers.start(tmp_path / "others") as others:
        anew = replace(
            settings_of(others, tmp_path / "anew"), redis_url=bank.redis_url
        )  # the bus is lost, the store not
        with pytest.raises(RestoreRefused, match="1 would be lost"):
            await restore.restore(anew, made)
        await restore.restore(anew, made, accept_loss=True)
        await act(anew, "umbrella", engaged=True)
        assert len(await chain_records(anew)) == made.chain.sequence + 1


async def test_only_the_newest_backups_are_kept(bank: Settings, tmp_path: Path) -> None:
    made = await back_up(bank, tmp_path / "kept")
    older = tmp_path / "kept" / "20200101T000000Z"
    older.mkdir()
    (older / "backup.json").write_text((made.folder / "backup.json").read_text())
    assert forget_older(tmp_path / "kept", 1) == [older]
    assert list(newest(tmp_path / "kept")) == [made.folder]


async def test_a_chain_with_faults_is_no_state_to_come_back_to(bank: Settings, tmp_path: Path) -> None:
    async with open_publisher(bank) as publisher:
        await publisher.publish([OutgoingEvent(topic=CONTROL, key="act:forged", value=b"no act", partition=0)])
    with pytest.raises(BackupFailed, match="faults"):
        await back_up(bank, tmp_path / "kept")


def about(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.about: finding for finding in findings}


async def test_the_doctor_finds_a_bank_well_but_for_what_is_not_there_yet(bank: Settings) -> None:
    found = about(await doctor.examine(environment_of(bank)))
    assert {name for name, finding in found.items() if finding.level is Level.FAIL} <= {"store memory"}
    assert found["store"].level is not Level.FAIL  # a busy machine may make it slow
    for name in ("settings", "strategy", "clock", "bus", "topics", "chain of acts"):
        assert found[name].level is Level.OK, lines(list(found.values()))
    assert found["states"].level is Level.WARN and "state-builder" in found["states"].do
    assert found["models"].level is Level.WARN and "m" in found["models"].said
    assert found["replicas"].level is Level.WARN
    assert all(finding.do for finding in found.values() if finding.level is not Level.OK)


async def test_the_doctor_says_that_states_are_not_whole_and_that_they_are(bank: Settings) -> None:
    layout = load_strategy(bank).features.layout
    async with RedisClient.open(bank.redis_url) as client:
        await client.execute("SET", f"{bank.namespace}:epoch:{layout}", "1")
        assert about(await doctor.examine(environment_of(bank)))["states"].level is Level.FAIL
        await client.execute("SET", f"{bank.namespace}:complete:{layout}", "1")
        assert about(await doctor.examine(environment_of(bank)))["states"].level is Level.OK


async def test_the_doctor_finds_what_evicts_states(bank: Settings) -> None:
    async with RedisClient.open(bank.redis_url) as client:
        await client.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    found = about(await doctor.examine(environment_of(bank)))["store memory"]
    assert found.level is Level.FAIL and "noeviction" in found.do


async def test_the_doctor_finds_an_act_that_was_put_in(bank: Settings) -> None:
    async with RedisClient.open(bank.redis_url) as client:
        head = orjson.loads(await client.execute("GET", f"{bank.namespace}:governance:head") or b"{}")
        await client.execute("SET", f"{bank.namespace}:governance:head", json.dumps(head | {"sequence": 99}))
    found = about(await doctor.examine(environment_of(bank)))["chain of acts"]
    assert found.level is Level.FAIL and "99" in found.said and "audit verify" in found.do


async def test_the_doctor_finds_topics_that_are_missing_or_of_another_size(servers: Any, tmp_path: Path) -> None:
    settings = settings_of(servers, tmp_path / "bank")
    found = about(await doctor.examine(environment_of(settings)))
    assert found["topics"].level is Level.FAIL and found["topics"].do == "kairos topics creates them"
    assert "chain of acts" not in found  # it has no topic to stand on
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(ALL_TOPICS[0].name, 7, 1)])
    await admin.close()
    await topics.create(settings)
    found = about(await doctor.examine(environment_of(settings)))
    assert found["topics"].level is Level.FAIL and f"{ALL_TOPICS[0].name} 7" in found["topics"].said


async def test_the_doctor_says_which_server_does_not_answer(bank: Settings) -> None:
    gone = environment_of(bank) | {
        "KAIROS_REDIS_URL": "redis://127.0.0.1:1/0",
        "KAIROS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    found = about(await doctor.examine(gone))
    assert found["store"].level is Level.FAIL and "KAIROS_REDIS_URL" in found["store"].do
    assert found["bus"].level is Level.FAIL and "KAIROS_KAFKA_BOOTSTRAP_SERVERS" in found["bus"].do


async def test_the_doctor_names_every_wrong_setting_and_asks_no_further() -> None:
    found = await doctor.examine({"KAIROS_PORTT": "1", "KAIROS_CLOCK": "sundial"})
    assert [finding.about for finding in found] == ["settings", "settings"]
    assert all(finding.level is Level.FAIL for finding in found)


def test_the_exit_status_tells_whether_anything_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAIROS_CLOCK", "sundial")
    assert doctor.run(argparse.Namespace(json=True)) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["level"] == "fail" and "KAIROS_CLOCK" in finding["said"]


async def test_verifying_says_what_a_backup_holds(
    bank: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await back_up(bank, tmp_path / "kept")
    assert backup.run(argparse.Namespace(verify=made.folder, into=None, keep=None)) == 0
    assert f"{made.chain.sequence} acts" in capsys.readouterr().out
    assert datetime.now(UTC) >= made.made_at
