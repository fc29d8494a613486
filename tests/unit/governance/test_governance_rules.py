"""Whatever people try in whatever order, only approved versions decide, and nobody approves their own."""

import asyncio
from contextlib import suppress
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ports import ShellError
from services.use_cases.governance.state import Status
from services.use_cases.persons import same_person

PEOPLE = ("wang", "Wang", "li", "zhao")
VERSIONS = ("bank-1", "bank-2", "bank-3")
tries = st.tuples(
    st.sampled_from(["submit", "approve", "decline", "retire", "activate", "canary", "rollback", "later"]),
    st.sampled_from(VERSIONS),
    st.sampled_from(PEOPLE),
)


@given(st.lists(tries, max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_rules_hold_over_every_history(governance_bench: ModuleType, tried: list[tuple[str, str, str]]) -> None:
    asyncio.run(_history(governance_bench.Bench(), tried))


async def _history(bench: Any, tried: list[tuple[str, str, str]]) -> None:
    desk = await bench.desk()
    approvals: dict[str, str] = {}
    for act, version, person in tried:
        before = desk.state()
        with suppress(ShellError):
            await _try(desk, bench, act, version, person)
            if act == "approve":
                approvals[version] = person
        state = desk.state()
        for record in state.versions.values():
            if record.status in (Status.APPROVED, Status.CANARY) and record.submitted_by is not None:
                assert record.approved_by is not None
                assert not same_person(record.approved_by, record.submitted_by)
        if state.active is not None and state.active != before.active:
            assert state.active.version in approvals or state.active.version == "bank-0"
        if state.canary is not None:
            assert state.versions[state.canary.version].status is Status.CANARY
        assert sum(record.status is Status.ACTIVE for record in state.versions.values()) <= 1
    later = await bench.node()
    assert later.state == desk.log.state, "whoever reads the log later comes to the same"
    assert not later.state.faults


async def _try(desk: Any, bench: Any, act: str, version: str, person: str) -> None:
    if act == "submit":
        await desk.submit(bench.files(version), actor=person)
    elif act == "canary":
        await desk.activate(version, actor=person, share=0.2)
    elif act == "later":
        await desk.activate(version, actor=person, effective_at=bench.now().replace(hour=7))
    elif act == "rollback":
        await desk.rollback(actor=person)
    else:
        await getattr(desk, act)(version, actor=person)
