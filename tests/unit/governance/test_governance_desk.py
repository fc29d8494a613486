"""What people can do at the desk of governance, and what is refused."""

import asyncio
from typing import Any

import pytest

from decision_engine.errors import StrategyInvalid
from event_schemas.control import KillSwitch, StrategyAct
from services.ports import BusUnavailable
from services.use_cases.governance import acts
from services.use_cases.governance.acts import SimulationSummary
from services.use_cases.governance.chain import chained_record
from services.use_cases.governance.desk import GovernanceDesk, VersionUnknown
from services.use_cases.governance.state import Status
from services.use_cases.governance.writer import ActInvalid, ActRefused
from services.use_cases.live_strategy import SwitchRefused

Bench = Any


async def approved(desk: GovernanceDesk, bench: Bench, version: str) -> None:
    await desk.submit(bench.files(version), actor="wang", comment="more of it")
    await desk.approve(version, actor="li")


def summary(version: str, against: str, bench: Bench) -> SimulationSummary:
    return SimulationSummary(
        name="bank",
        version=version,
        compared_with=against,
        since=bench.now(),
        until=bench.now(),
        decisions=1000,
        figures={"changed": 12.0},
        report_digest="ab",
    )


async def test_a_submission_is_approved_by_another_person_activated_and_rolled_back(bench: Bench) -> None:
    desk, elsewhere = await bench.desk(), await bench.node()
    await approved(desk, bench, "bank-1")
    decides = await desk.activate("bank-1", actor="li", comment="go")
    assert (decides.version, decides.previous_version) == ("bank-1", "bank-0")
    await approved(desk, bench, "bank-2")
    await desk.activate("bank-2", actor="li")
    state = elsewhere.state
    assert state.active is not None
    assert state.active.version == "bank-2"
    assert state.versions["bank-1"].status is Status.RETIRED
    assert (await desk.rollback(actor="zhao", comment="too many")).version == "bank-1"
    assert (await desk.rollback(actor="zhao")).version == "bank-0", "one step each, never back to what was taken out"
    with pytest.raises(ActRefused, match="nothing decided before it"):
        await desk.rollback(actor="zhao")
    assert [line.type for line in elsewhere.state.history if line.outcome == "valid"] == [
        "strategy.submitted",
        "strategy.approved",
        "strategy.activated",
        "strategy.submitted",
        "strategy.approved",
        "strategy.activated",
        "strategy.rolled_back",
        "strategy.rolled_back",
    ]
    assert elsewhere.state == desk.log.state


@pytest.mark.parametrize("name", ["wang", "WANG", "ｗａｎｇ", "wa\u200bng", " wang "])
async def test_who_submitted_cannot_approve_however_the_name_is_written(bench: Bench, name: str) -> None:
    desk = await bench.desk()
    await desk.submit(bench.files("bank-1"), actor="wang")
    with pytest.raises(ActRefused, match=r"approve bank-1.*another person"):
        await desk.approve("bank-1", actor=name)
    assert desk.state().versions["bank-1"].status is Status.SUBMITTED


async def test_who_worked_on_the_draft_cannot_approve_it(bench: Bench) -> None:
    desk = await bench.desk()
    draft = await desk.save_draft(bench.files("x"), draft_id="d1", title="Autumn", base_version="bank-0", actor="li")
    assert draft.changed.keys() == {"strategy.yaml"}, "only what differs is kept"
    await desk.save_draft(
        bench.files("bank-1"), draft_id="d1", title="Autumn", base_version="bank-0", actor="zhao", revision=1
    )
    await desk.submit_draft("d1", actor="wang")
    assert not desk.state().drafts, "the draft ends with its submission"
    for person in ("wang", "li", "zhao"):
        with pytest.raises(ActRefused, match="another person"):
            await desk.approve("bank-1", actor=person)
    assert (await desk.approve("bank-1", actor="sun")).approved_by == "sun"


async def test_two_who_save_the_same_draft_notice_each_other(bench: Bench) -> None:
    one, other = await bench.desk(), await bench.desk()
    await one.save_draft(bench.files("x"), draft_id="d", title="t", base_version="bank-0", actor="li")
    await other.save_draft(bench.files("y"), draft_id="d", title="t", base_version="bank-0", actor="sun", revision=1)
    with pytest.raises(ActRefused, match="sun saved revision 2"):
        await one.save_draft(bench.files("z"), draft_id="d", title="t", base_version="bank-0", actor="li", revision=1)
    assert (await one.draft_files("d")) == bench.files("y")


async def test_approval_needs_a_simulation_of_this_version_against_what_is_active_now(bench: Bench) -> None:
    desk = await bench.desk(requires_simulation=True)
    await desk.submit(bench.files("bank-1"), actor="wang")
    with pytest.raises(ActRefused, match="not simulated against the active version bank-0"):
        await desk.approve("bank-1", actor="li")
    await desk.record_simulation(summary("bank-1", "bank-9", bench), actor="wang")
    assert "not simulated" in (desk.approval_refusal("bank-1", "li") or "")
    await desk.record_simulation(summary("bank-1", "bank-0", bench), actor="wang")
    assert desk.approval_refusal("bank-1", "li") is None
    await desk.approve("bank-1", actor="li")


async def test_a_canary_serves_a_share_then_everybody_or_is_taken_back(bench: Bench) -> None:
    desk = await bench.desk()
    await approved(desk, bench, "bank-1")
    await desk.activate("bank-1", actor="li", share=0.1)
    state = desk.state()
    assert state.canary is not None
    assert (state.canary.version, state.canary.share, state.active) == ("bank-1", 0.1, None)
    await approved(desk, bench, "bank-2")
    with pytest.raises(ActRefused, match="bank-1 is the canary"):
        await desk.activate("bank-2", actor="li", share=0.2)
    bench.unready.add("bank-0")
    assert (await desk.rollback(actor="guard", comment="errors")).version == "bank-0", "a canary goes back at once"
    assert desk.state().canary is None
    assert desk.state().versions["bank-1"].status is Status.RETIRED
    await desk.activate("bank-2", actor="li", share=0.2)
    await desk.activate("bank-2", actor="li", share=1)
    assert desk.state().canary is None
    assert desk.state().versions["bank-2"].status is Status.ACTIVE


async def test_a_later_activation_takes_effect_at_its_moment(bench: Bench) -> None:
    desk = await bench.desk()
    await approved(desk, bench, "bank-1")
    later = bench.now().replace(minute=30)
    await desk.activate("bank-1", actor="li", effective_at=later)
    assert desk.state().scheduled is not None
    assert desk.active_version() == "bank-0"
    bench.seconds = iter([3600] * 9)
    assert desk.active_version() == "bank-1"


async def test_only_approved_versions_with_whole_states_become_active(bench: Bench) -> None:
    desk = await bench.desk()
    await desk.submit(bench.files("bank-1"), actor="wang")
    with pytest.raises(ActRefused, match="activate bank-1: it is submitted; only approved"):
        await desk.activate("bank-1", actor="li")
    await desk.approve("bank-1", actor="li")
    bench.unready.add("bank-1")
    with pytest.raises(SwitchRefused, match="not whole"):
        await desk.activate("bank-1", actor="li")
    with pytest.raises(VersionUnknown, match="activate bank-7"):
        await desk.activate("bank-7", actor="li")
    assert desk.state().active is None


async def test_a_declined_version_can_be_handed_in_again_and_an_open_one_cannot(bench: Bench) -> None:
    desk = await bench.desk()
    await desk.submit(bench.files("bank-1"), actor="wang")
    with pytest.raises(ActRefused, match="it is submitted already"):
        await desk.submit(bench.files("bank-1"), actor="sun")
    declined = await desk.decline("bank-1", actor="li", comment="caps too low")
    assert (declined.status, declined.declined_why) == (Status.DECLINED, "caps too low")
    assert (await desk.submit(bench.files("bank-1"), actor="sun")).submitted_by == "sun"


async def test_what_does_not_load_or_has_errors_is_not_taken(bench: Bench) -> None:
    desk = await bench.desk()
    with pytest.raises(StrategyInvalid):
        await desk.submit({"strategy.yaml": ""}, actor="wang")
    with pytest.raises(ActRefused, match="rule never holds"):
        await desk.submit(bench.files("bank-1", "wrong"), actor="wang")
    with pytest.raises(ActRefused, match="it is the active version"):
        await desk.submit(bench.files("bank-0"), actor="wang")
    with pytest.raises(ActRefused, match="more than the 900,000"):
        await desk.submit({**bench.files("bank-1"), "a.yaml": "a" * 450_000, "b.yaml": "b" * 450_000}, actor="wang")
    with pytest.raises(ActInvalid, match="actor"):
        await desk.submit(bench.files("bank-1"), actor="w" * 200)
    with pytest.raises(ActRefused, match="nobody is named"):
        await desk.submit(bench.files("bank-1"), actor=" \u200b")
    assert not bench.records


async def test_the_files_of_a_submission_come_back_byte_for_byte(bench: Bench) -> None:
    desk, files = await bench.desk(), {**bench.files("bank-1"), "a.yaml": "\ufeffa: 1\r\n# 注释\t\n\n"}
    await desk.submit(files, actor="wang")
    later = await bench.desk()
    assert await later.files("bank-1") == files


async def test_of_two_writers_at_once_one_is_told_what_came_between(bench: Bench) -> None:
    one, other = await bench.desk(), await bench.desk()
    await one.submit(bench.files("bank-1"), actor="wang")
    told = await asyncio.gather(
        one.approve("bank-1", actor="li"), other.approve("bank-1", actor="zhao"), return_exceptions=True
    )
    assert sum(isinstance(each, ActRefused) for each in told) == 1
    assert one.log.state == other.log.state


async def test_a_lost_race_is_void_for_every_reader_and_the_writer_tries_again(bench: Bench) -> None:
    desk, reader = await bench.desk(), await bench.node()
    stale = desk.log.head
    await desk.stop("offer", "gold_card", actor="sun")
    late = acts.switched(KillSwitch(kind="group", name="cards", engaged=True, actor="li"), "late", bench.now())
    chained = {"previous_hash": stale.hash, "records": stale.records, "records_hash": stale.records_hash}
    late = late.model_copy(update={"data": late.data.model_copy(update=chained)})
    await bench.publish([chained_record(late)])
    assert [line.outcome for line in reader.state.history] == ["valid", "void"]
    assert {switch.name for switch in reader.state.engaged} == {"gold_card"}
    await desk.stop("group", "cards", actor="li")
    assert {switch.name for switch in reader.state.engaged} == {"gold_card", "cards"}
    assert not reader.state.faults


async def test_an_act_against_the_rules_has_no_effect_whoever_wrote_it(bench: Bench) -> None:
    """A program that can write to the bus cannot approve its own submission."""
    desk = await bench.desk()
    await desk.submit(bench.files("bank-1"), actor="wang")
    head = desk.log.head
    act = StrategyAct(name="bank", version="bank-1", actor="Wang", previous_hash=head.hash, records=head.records)
    act = act.model_copy(update={"records_hash": head.records_hash})
    await bench.publish([chained_record(acts.answered("approved", act, "forged", bench.now()))])
    state = desk.state()
    assert state.versions["bank-1"].status is Status.SUBMITTED
    assert (state.history[-1].outcome, state.history[-1].actor) == ("refused", "Wang")
    await desk.approve("bank-1", actor="li")
    assert desk.state().versions["bank-1"].status is Status.APPROVED


async def test_handlers_hear_only_of_acts_that_took_effect(bench: Bench) -> None:
    heard: list[str] = []
    log, desk = await bench.node(), await bench.desk()

    async def on_set(event: Any) -> None:
        heard.append(event.data.name)

    log.subscribe("nbo.control.kill_switch.set", on_set)
    loose = acts.switched(KillSwitch(kind="offer", name="loose", engaged=True, actor="x"), "loose", bench.now())
    await bench.publish([chained_record(loose)])
    await desk.stop("offer", "gold_card", actor="sun")
    with pytest.raises(ActRefused, match="release offer silver_card: it is not stopped"):
        await desk.release("offer", "silver_card", actor="sun")
    assert heard == ["gold_card"]
    assert log.state.faults, "an act without a place in the chain shows"


async def test_an_act_that_does_not_come_back_says_that_nobody_knows(bench: Bench) -> None:
    desk = await bench.desk()
    bench.nodes.clear()
    with pytest.raises(BusUnavailable, match="look at the history"):
        await desk.stop("offer", "gold_card", actor="sun")
