"""What people do with leads: one person's at a time, closed with a response, done again without harm."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from decision_engine.outcomes import Outcome
from services.ports import BusUnavailable
from services.use_cases.leads.lead import CHANNEL, Lead, LeadOption, lead_of
from services.use_cases.leads.marks import Stage, read_mark
from services.use_cases.leads.work import DISMISSING, OUTCOME_OF, LeadHeld, Person, Reason, Talk, WorkLeads, read_closed
from services.use_cases.record_response import ResponseCommand, ResponsesTaken

MEI, WANG = Person(name="Mei Lin"), Person(name="Wang Bo")


@dataclass
class Marks:
    """Marks in memory; each act lets others go first, as a store does."""

    held: dict[str, bytes] = field(default_factory=dict)
    closed: dict[str, list[bytes]] = field(default_factory=dict)
    changed: int = 0

    async def swap(self, lead_id: str, expected: bytes | None, wanted: bytes | None, seconds: int) -> bytes | None:
        assert seconds > 0 or wanted is None
        await asyncio.sleep(0)
        if self.held.get(lead_id) != expected:
            return self.held.get(lead_id)
        self.changed += 1
        if wanted is None:
            self.held.pop(lead_id, None)
        else:
            self.held[lead_id] = wanted
        return wanted

    async def read(self, lead_ids: list[str]) -> list[bytes | None]:
        return [self.held.get(lead_id) for lead_id in lead_ids]

    async def changes(self) -> int:
        return self.changed

    async def note(self, person: str, entry: bytes) -> None:
        self.closed.setdefault(person, []).insert(0, entry)

    async def noted(self, person: str) -> list[bytes]:
        return self.closed.get(person, [])


@dataclass
class Responses:
    """Takes responses; may be away, or know none of the options."""

    commands: list[ResponseCommand] = field(default_factory=list)
    away: bool = False
    unknown: bool = False

    async def __call__(
        self, commands: Sequence[ResponseCommand], channels: frozenset[str] | None = None
    ) -> ResponsesTaken:
        del channels
        if self.away:
            raise BusUnavailable("away")
        if self.unknown:
            rejected = tuple((index, "unknown") for index in range(len(commands)))
            return ResponsesTaken(accepted=0, duplicates=0, rejected=rejected)
        self.commands += commands
        return ResponsesTaken(accepted=len(commands), duplicates=0, rejected=())


class Clock:
    def now_ms(self) -> int:
        return 1_000


@pytest.fixture
def marks() -> Marks:
    return Marks()


@pytest.fixture
def responses() -> Responses:
    return Responses()


@pytest.fixture
def work(marks: Marks, responses: Responses) -> WorkLeads:
    return WorkLeads(marks=marks, respond=responses, clock=Clock())  # type: ignore[arg-type]


@pytest.fixture
def lead() -> Lead:
    options = tuple(
        LeadOption(
            tracking_id=f"01J.{number}", offer=f"offer_{number}", treatment=f"offer_{number}.manager.lead",
            content={}, script=None, reasons=(),
        )
        for number in range(2)
    )  # fmt: skip
    return Lead(
        id="f1", decision_id="01J", customer_id="retail:1", trigger="vip_arrival", title="VIP", locale="en", grade="A",
        recipient=None, urgent=True, wave=0, at_ms=0, expires_ms=None, event={}, options=options,
    )  # fmt: skip


async def test_of_many_who_take_at_once_one_has_the_lead(work: WorkLeads, lead: Lead) -> None:
    people = [Person(name=f"person {number}") for number in range(10)]
    found = await asyncio.gather(*(work.take(lead, person) for person in people), return_exceptions=True)
    held = [each for each in found if isinstance(each, LeadHeld)]
    (mark,) = [each for each in found if not isinstance(each, LeadHeld)]
    assert len(held) == 9
    assert {each.mark.by for each in held} == {mark.by}  # type: ignore[union-attr]


async def test_taking_again_and_giving_back_again_change_nothing(work: WorkLeads, marks: Marks, lead: Lead) -> None:
    assert (await work.take(lead, MEI)) == (await work.take(lead, MEI))
    await work.give_back(lead, MEI)
    await work.give_back(lead, MEI)
    assert marks.held == {}
    assert (await work.take(lead, WANG)).by == "Wang Bo"


async def test_nobody_gives_back_or_closes_what_another_has(work: WorkLeads, responses: Responses, lead: Lead) -> None:
    await work.take(lead, MEI)
    for act in (work.give_back(lead, WANG), work.not_now(lead, WANG, Reason.UNFIT)):
        with pytest.raises(LeadHeld, match="Mei Lin"):
            await act
    with pytest.raises(LeadHeld):
        await work.done(lead, WANG, Talk.ACCEPTED, "01J.0")
    assert responses.commands == []


@pytest.mark.parametrize("talk", list(Talk))
async def test_a_talk_is_a_response_to_the_offer_it_was_about(
    work: WorkLeads, marks: Marks, responses: Responses, lead: Lead, talk: Talk
) -> None:
    await work.done(lead, MEI, talk, "01J.1")
    (command,) = responses.commands
    assert (command.tracking_id, command.outcome, command.channel) == ("01J.1", OUTCOME_OF[talk], CHANNEL)
    mark = read_mark(marks.held["f1"])
    assert (mark.stage, mark.by, mark.result, mark.offer) == (Stage.DONE, "Mei Lin", talk.value, "offer_1")
    (entry,) = [read_closed(value) for value in marks.closed["Mei Lin"]]
    assert (entry.id, entry.decision_id, entry.offer) == ("f1", "01J", "offer_1")


@pytest.mark.parametrize("reason", list(Reason))
async def test_not_now_dismisses_what_the_customer_has_heard_of(
    work: WorkLeads, responses: Responses, lead: Lead, reason: Reason
) -> None:
    await work.not_now(lead, MEI, reason)
    expected = [Outcome.DISMISS, Outcome.DISMISS] if reason in DISMISSING else []
    assert [command.outcome for command in responses.commands] == expected
    assert all(command.detail["reason"] == reason for command in responses.commands)


async def test_what_could_not_be_recorded_stays_open_and_is_the_persons(
    work: WorkLeads, marks: Marks, responses: Responses, lead: Lead
) -> None:
    responses.away = True
    with pytest.raises(BusUnavailable):
        await work.done(lead, MEI, Talk.ACCEPTED, "01J.0")
    assert read_mark(marks.held["f1"]).stage is Stage.TAKEN
    responses.away, responses.unknown = False, True
    assert (await work.done(lead, MEI, Talk.ACCEPTED, "01J.0")).rejected
    assert read_mark(marks.held["f1"]).stage is Stage.TAKEN
    responses.unknown = False
    await work.done(lead, MEI, Talk.ACCEPTED, "01J.0")
    assert read_mark(marks.held["f1"]).is_closed
    with pytest.raises(LeadHeld):
        await work.take(lead, MEI)


async def test_doing_it_again_gives_the_same_response_id(work: WorkLeads, responses: Responses, lead: Lead) -> None:
    responses.away = True
    with pytest.raises(BusUnavailable):
        await work.done(lead, MEI, Talk.DECLINED, "01J.0")
    responses.away = False
    await work.done(lead, MEI, Talk.DECLINED, "01J.0")
    assert [command.response_id for command in responses.commands] == ["inbox-01J.0-reject"]


async def test_an_offer_of_another_lead_is_refused_before_anything_is_recorded(
    work: WorkLeads, marks: Marks, lead: Lead
) -> None:
    with pytest.raises(KeyError):
        await work.done(lead, MEI, Talk.ACCEPTED, "01X.0")
    assert marks.held == {}


def test_leads_stand_urgent_first_then_by_grade_then_newest() -> None:
    data = {
        "outbound_id": "x", "decision_id": "01J", "customer_id": "retail:1", "trigger": "t", "locale": "en",
        "options": [], "time": "2026-11-22T00:00:00Z",
    }  # fmt: skip
    given = [
        lead_of(data | more)
        for more in (
            {"outbound_id": "late C", "grade": "C", "time": "2026-11-22T02:00:00Z"},
            {"outbound_id": "none"},
            {"outbound_id": "early A", "grade": "A"},
            {"outbound_id": "late A", "grade": "A", "time": "2026-11-22T01:00:00Z"},
            {"outbound_id": "urgent D", "grade": "D", "urgent": True},
        )
    ]
    names = [lead.id for lead in sorted(given, key=lambda lead: lead.rank)]
    assert names == ["urgent D", "late A", "early A", "late C", "none"]
