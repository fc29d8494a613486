"""Looking through the history of acts, and what exports leave in it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ports import BusUnavailable
from services.use_cases.governance.history_lines import history_lines
from services.use_cases.governance.history_search import HistoryQuery, choices, search
from services.use_cases.governance.state import GovernanceState, HistoryEntry
from services.use_cases.governance.writer import ActRefused

BEGAN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
PEOPLE, KINDS = ("Mei Lin", "Wei Zhang"), ("strategy.approved", "kill_switch.set")


def line(number: int, draw: int) -> HistoryEntry:
    return HistoryEntry(
        record=number,
        sequence=number,
        hash=f"{number:064x}",
        outcome=("valid", "void", "refused", "broken")[draw % 4],
        reason=None,
        event_id=str(number),
        type=KINDS[draw % 2],
        about=f"bank-{draw % 3}",
        actor=PEOPLE[draw // 2 % 2],
        at=BEGAN + timedelta(hours=7 * number),
    )


@given(st.lists(st.integers(0, 23), max_size=40), st.sampled_from(["", *PEOPLE]), st.sampled_from(["", *KINDS]))
@settings(max_examples=60, deadline=None)
def test_pages_have_every_act_that_fits_once_newest_first(draws: list[int], who: str, kind: str) -> None:
    state = GovernanceState(history=tuple(line(n, draw) for n, draw in enumerate(draws, start=1)))
    seen: list[int] = []
    before: int | None = None
    while True:
        page = search(state, HistoryQuery(person=who, kind=kind, before=before), UTC, acts=7)
        seen += [act.record for act in page.acts]
        before = page.older
        if before is None:
            break
    wanted = [one.record for one in state.history if who in one.actor and kind in one.type]
    assert seen == wanted[::-1]
    assert page.total == len(wanted)


def test_a_period_counts_days_of_the_bank_and_a_person_however_they_are_spelt() -> None:
    state = GovernanceState(history=tuple(line(number, number) for number in range(1, 9)))
    days = HistoryQuery(since=date(2026, 11, 23), until=date(2026, 11, 23))
    assert {act.at.date() for act in search(state, days, UTC).acts if act.at} == {date(2026, 11, 23)}
    assert (
        search(state, HistoryQuery(person="mei lin"), UTC).total
        == search(state, HistoryQuery(person="ＭＥＩ"), UTC).total
    )
    assert search(state, HistoryQuery(outcome="broken", about="BANK-1"), UTC).total == 1
    assert choices(state).persons == PEOPLE


async def test_an_export_stands_in_the_history_with_what_was_taken_and_why(bench: Any) -> None:
    desk = await bench.desk()
    await desk.record_export(
        "customers_of_map",
        rows=1234,
        actor="mei",
        comment="autumn letters",
        part="2026-11-21: saver",
        attributes=["age"],
    )
    (act,) = desk.state().history
    assert (act.outcome, act.about, act.comment) == ("valid", "export:customers_of_map", "autumn letters")
    assert act.exported == {"rows": 1234, "part": "2026-11-21: saver", "attributes": ["age"]}
    assert history_lines(desk.state())[0].endswith("export:customers_of_map, 1234 rows by mei: autumn letters")
    other = await bench.desk()
    assert other.state().head == desk.state().head, "every node reads it alike"


async def test_an_export_that_nobody_answers_for_or_that_cannot_be_written_is_refused(bench: Any) -> None:
    desk = await bench.desk()
    with pytest.raises(ActRefused):
        await desk.record_export("customers_of_map", rows=1, actor=" ", comment="?")
    bench.nodes.clear()  # what is published does not come back
    with pytest.raises(BusUnavailable):
        await desk.record_export("customers_of_map", rows=1, actor="mei", comment="letters")
