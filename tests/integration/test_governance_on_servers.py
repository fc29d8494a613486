"""Governance over a real bus and store: writers that race, nodes that restart or come late, and the audit."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from event_schemas.control import KillSwitch, StrategyAct
from services.__main__ import main
from services.bootstrap import open_api, open_publisher
from services.commands import audit, topics
from services.commands.governance_connections import chain_records, kept_head, open_governance
from services.settings import Settings
from services.use_cases.governance import acts
from services.use_cases.governance.audit import verified
from services.use_cases.governance.chain import chained_record
from services.use_cases.governance.state import GovernanceState, Status
from services.use_cases.governance.writer import ActRefused
from services.use_cases.live_strategy import SwitchRefused

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
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: %d, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
"""
WAIT_S = 30


def files(value: int, comment: str = "") -> dict[str, str]:
    return {"strategy.yaml": STRATEGY % value + comment}


@pytest.fixture
async def deployment(servers: Any, tmp_path: Path) -> AsyncIterator[Settings]:
    """The settings of one bank with its topics; nodes keep strategies in folders of their own."""
    (tmp_path / "first.yaml").write_bytes(files(100)["strategy.yaml"].encode())
    settings = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers,
        kafka_idempotence=False,
        kafka_session_timeout_ms=1000,
        kafka_partitions=3,
        redis_url=servers.redis_url,
        strategy_path=tmp_path / "first.yaml",
        strategy_archive=tmp_path / "strategies",
        model_path=tmp_path / "models",
        archive_path=tmp_path / "archive",
        governance_requires_simulation=False,
    )
    await topics.create(settings)
    yield settings


async def test_writers_that_race_all_get_their_acts_into_one_chain(deployment: Settings) -> None:
    async with open_governance(deployment) as one, open_governance(deployment) as other:
        wanted = [f"offer_{number}" for number in range(8)]
        await asyncio.gather(
            *(one.desk.stop("offer", name, actor="li") for name in wanted),
            *(other.desk.stop("group", name, actor="sun") for name in wanted),
        )
        await until(lambda: len(one.desk.state().engaged) == len(other.desk.state().engaged) == 16)
        assert one.desk.log.head == other.desk.log.head
        state = one.desk.state()
        assert state.head.sequence == 16
        assert {line.outcome for line in state.history} <= {"valid", "void"}
        assert not state.faults
    records, kept = await chain_records(deployment), await kept_head(deployment)
    assert verified(records, kept, None) == ([], state.head)
    assert kept == state.head, "the store has the newest head"
    shorter, _ = verified(records[:-1], kept, None)
    assert shorter, "a removed last act is found by the head in the store"
    by_hand, _ = verified(records[:-1], None, state.head.hash)
    assert by_hand, "and by one that was noted"


async def test_what_was_begun_goes_on_after_a_restart_and_a_node_that_comes_late_knows_all(
    deployment: Settings, tmp_path: Path
) -> None:
    exact = files(120, "# 秋天\r\n")
    async with open_governance(deployment) as opened:
        await opened.desk.save_draft(exact, draft_id="autumn", title="Autumn", base_version=first(opened), actor="li")
    async with open_governance(deployment) as opened:
        record = await opened.desk.submit_draft("autumn", actor="wang", comment="more")
        await opened.desk.stop("offer", "umbrella", actor="sun", comment="out of stock")
    version = record.version
    late = replace(deployment, strategy_archive=tmp_path / "elsewhere")
    async with open_api(late) as runtime, open_governance(deployment) as opened:
        desk = runtime.governance
        assert desk is not None
        assert desk.state().versions[version].edited_by == ("li",)
        assert await desk.files(version) == exact
        assert runtime.switches is not None
        assert list(runtime.switches()) == ["offer:umbrella"]
        assert runtime.strategies is not None
        prepared = await asyncio.to_thread(runtime.strategies.prepared, version)
        assert prepared.strategy.offers[0].value == 120, "any node can load what came over the bus"
        await opened.desk.approve(version, actor="zhao")
        await until(lambda: desk.state().versions[version].status is Status.APPROVED)
        with pytest.raises(SwitchRefused, match="not whole"):
            await desk.activate(version, actor="zhao")
        await opened.desk.release("offer", "umbrella", actor="sun")
        await until(lambda: not runtime.switches())
        assert same(opened.desk.state(), desk.state())


async def test_a_forged_act_and_a_changed_submission_have_no_effect_and_are_found(deployment: Settings) -> None:
    async with open_governance(deployment) as opened, open_publisher(deployment) as bus:
        await opened.desk.stop("offer", "umbrella", actor="sun")
        forged = acts.switched(
            KillSwitch(kind="offer", name="umbrella", engaged=False, actor="sun", previous_hash="0" * 64),
            "forged",
            acts_time(),
        )
        await bus.publish([chained_record(forged)])
        await until(lambda: bool(opened.desk.state().faults))
        assert [switch.name for switch in opened.desk.state().engaged] == ["umbrella"]
        await opened.desk.stop("channel", "sms", actor="sun")
        assert len(opened.desk.state().engaged) == 2, "what is right still works"
        # files that do not make the version they are said to be are kept nowhere
        head = opened.desk.log.head
        lied = StrategyAct(
            name="shop", version="shop-000000000000", actor="mallory", files=files(1), previous_hash=head.hash,
            records=head.records, records_hash=head.records_hash,
        )  # fmt: skip
        await bus.publish([chained_record(acts.submitted(lied, "lied", acts_time()))])
        await until(lambda: "shop-000000000000" in opened.desk.state().versions)
        with pytest.raises(ActRefused, match="its files make"):
            await opened.desk.approve("shop-000000000000", actor="li")
    assert not (deployment.strategy_archive / "shop-000000000000").exists()
    found, _ = verified(await chain_records(deployment), await kept_head(deployment), None)
    assert len(found) == 1
    assert "record 2: kill_switch.set offer:umbrella by sun" in found[0]


async def test_the_exported_bytes_verify_and_any_edit_of_the_file_does_not(
    deployment: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_governance(deployment) as opened:
        for name in ("a", "b", "c"):
            await opened.desk.stop("offer", name, actor="sun")
        head = opened.desk.log.head
    records = await chain_records(deployment)
    file = tmp_path / "acts.jsonl"
    file.write_bytes(b"".join((record or b"") + b"\n" for record in records))
    assert await audit._verify(file, head.hash) == 0
    file.write_bytes(file.read_bytes().replace(b'"name":"b"', b'"name":"x"'))
    assert await audit._verify(file, head.hash) == 1
    assert "BROKEN" in capsys.readouterr().out


def first(opened: Any) -> str:
    version = opened.desk.active_version()
    assert version is not None
    return str(version)


def acts_time() -> datetime:
    return datetime.now(UTC)


def same(one: GovernanceState, other: GovernanceState) -> bool:
    return one.head == other.head and one.history == other.history and one.versions == other.versions


async def until(holds: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


async def test_the_command_line_brings_a_folder_through_and_gives_it_back_byte_for_byte(
    deployment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("kafka_bootstrap_servers", "kafka_idempotence", "redis_url", "strategy_path", "strategy_archive"):
        monkeypatch.setenv(f"KAIROS_{name.upper()}", str(getattr(deployment, name)))
    monkeypatch.setenv("KAIROS_GOVERNANCE_REQUIRES_SIMULATION", "false")
    draft = tmp_path / "draft"
    draft.mkdir()
    (draft / "strategy.yaml").write_bytes(files(130, "# 秋天\r\n")["strategy.yaml"].encode())

    async def kairos(*arguments: str) -> tuple[int, str]:
        status = await asyncio.to_thread(main, list(arguments))
        said = capsys.readouterr()
        return status, said.out + said.err

    status, said = await kairos("strategy", "diff", str(draft), "--no-files")
    assert (status, said.splitlines()[1].strip()) == (0, "~ offer umbrella, value: 100 -> 130")
    status, said = await kairos("strategy", "submit", str(draft), "--actor", "wang", "--comment", "autumn")
    version = said.split()[0]
    assert (status, said) == (0, f"{version} is submitted; sound\n")
    status, said = await kairos("strategy", "approve", version, "--actor", "WANG")
    assert status == 1
    assert "another person has to approve" in said
    assert (await kairos("strategy", "approve", version, "--actor", "li"))[0] == 0
    status, said = await kairos("strategy", "history")
    assert [line.split()[3] for line in said.splitlines()] == ["strategy.submitted", "strategy.approved"]
    assert "by wang: autumn" in said
    assert (await kairos("strategy", "export", version, str(tmp_path / "again")))[0] == 0
    assert (tmp_path / "again/strategy.yaml").read_bytes() == (draft / "strategy.yaml").read_bytes()
    status, said = await kairos("audit", "verify")
    assert (status, said.splitlines()[-1]) == (0, "sound")
    assert (await kairos("audit", "export", str(tmp_path / "acts.jsonl")))[0] == 0
    head = said.split("head ")[1].split()[0]
    status, said = await kairos("audit", "verify", "--file", str(tmp_path / "acts.jsonl"), "--head", head)
    assert (status, said.splitlines()[-1]) == (0, "sound")
