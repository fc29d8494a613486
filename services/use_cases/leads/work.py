"""What people do with leads: take one, give it back, close it with what came of it.

A lead is one person's at a time: the mark is set only where there is none. Closing records responses first and marks
afterwards, both under ids that follow from the lead, so that doing it again after a failure completes it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import orjson

from decision_engine.outcomes import Outcome
from services.ports import Clock, ShellError
from services.use_cases.leads.lead import CHANNEL, Lead
from services.use_cases.leads.marks import LeadMarks, Mark, Stage, read_mark
from services.use_cases.record_response import RecordResponse, ResponseCommand, ResponsesTaken

TAKEN_SECONDS = 8 * 3_600
"""A working day: what nobody closes by then is free again."""
CLOSED_SECONDS = 8 * 86_400
"""Longer than the log keeps the lead itself, so that a closed one does not come back."""


class Talk(StrEnum):
    """What came of following a lead up."""

    ACCEPTED = "accepted"
    INTERESTED = "interested"
    PRESENTED = "presented"
    DECLINED = "declined"


class Reason(StrEnum):
    """Why a lead is laid aside."""

    BAD_MOMENT = "bad_moment"
    ARRANGED = "arranged"
    UNFIT = "unfit"
    NOT_REACHED = "not_reached"


OUTCOME_OF: dict[Talk, Outcome] = {
    Talk.ACCEPTED: Outcome.ACCEPT,
    Talk.INTERESTED: Outcome.CLICK,
    Talk.PRESENTED: Outcome.IMPRESSION,
    Talk.DECLINED: Outcome.REJECT,
}
"""What a talk about one offer is as a response to it."""
DISMISSING = frozenset({Reason.BAD_MOMENT, Reason.ARRANGED, Reason.UNFIT})
"""Reasons that are a `dismiss` of every offer of the lead. Whoever was not reached has heard of none: no response."""


class LeadHeld(ShellError):
    """Somebody else follows the lead up, or has closed it."""

    def __init__(self, mark: Mark) -> None:
        super().__init__(f"{mark.stage} by {mark.by}")
        self.mark = mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who acts: the name that acts are recorded under, and the channels whose offers they may answer (None: all)."""

    name: str
    channels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLead:
    """What remains of a closed lead on its person's list. `offer` is the one that was talked about."""

    id: str
    decision_id: str
    customer_id: str
    trigger: str
    title: str
    grade: str | None
    stage: str
    result: str
    offer: str | None
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLeads:
    """The acts. Each raises LeadHeld and StoreUnavailable, closing also BusUnavailable."""

    marks: LeadMarks
    respond: RecordResponse
    clock: Clock

    async def take(self, lead: Lead, person: Person) -> Mark:
        """The lead is the person's. Taking it again changes nothing."""
        return (await self._own(lead, person))[1]

    async def give_back(self, lead: Lead, person: Person) -> None:
        """The lead is free for anybody. One that is free already stays so."""
        (held,) = await self.marks.read([lead.id])
        if held is None:
            return
        mark = read_mark(held)
        if mark.by != person.name or mark.is_closed:
            raise LeadHeld(mark)
        left = await self.marks.swap(lead.id, held, None, 0)
        if left is not None:
            raise LeadHeld(read_mark(left))

    async def done(self, lead: Lead, person: Person, talk: Talk, tracking_id: str) -> ResponsesTaken:
        """The customer was talked to about one of the offers. Raises KeyError for an offer that is not the lead's."""
        option = {option.tracking_id: option for option in lead.options}[tracking_id]
        commands = [_command(lead, person, tracking_id, OUTCOME_OF[talk], {"talk": talk.value})]
        return await self._close(lead, person, commands, (Stage.DONE, talk.value, option.offer))

    async def not_now(self, lead: Lead, person: Person, reason: Reason) -> ResponsesTaken:
        """The lead is laid aside."""
        commands = [
            _command(lead, person, option.tracking_id, Outcome.DISMISS, {"reason": reason.value})
            for option in lead.options
            if reason in DISMISSING
        ]
        return await self._close(lead, person, commands, (Stage.NOT_NOW, reason.value, None))

    async def _close(
        self, lead: Lead, person: Person, commands: Sequence[ResponseCommand], said: tuple[Stage, str, str | None]
    ) -> ResponsesTaken:
        held, _ = await self._own(lead, person)
        taken = ResponsesTaken(accepted=0, duplicates=0, rejected=())
        if commands:
            taken = await self.respond(commands, person.channels)
            if len(taken.rejected) == len(commands):
                return taken  # nothing was recorded, so nothing is closed
        stage, result, offer = said
        now_ms = self.clock.now_ms()
        mark = Mark(stage=stage, by=person.name, at_ms=now_ms, result=result, offer=offer)
        await self.marks.swap(lead.id, held, mark.encoded(), CLOSED_SECONDS)
        await self.marks.note(person.name, orjson.dumps(asdict(_closed(lead, mark))))
        return taken

    async def _own(self, lead: Lead, person: Person) -> tuple[bytes, Mark]:
        """The person's mark on the lead, as it is kept; it is put there if there is none."""
        mark = Mark(stage=Stage.TAKEN, by=person.name, at_ms=self.clock.now_ms())
        held = await self.marks.swap(lead.id, None, mark.encoded(), TAKEN_SECONDS)
        if held is None:
            raise LeadHeld(mark)  # the mark lapsed in the very moment: trying again will do
        found = read_mark(held)
        if found.by != person.name or found.is_closed:
            raise LeadHeld(found)
        return held, found


def read_closed(value: bytes) -> ClosedLead:
    """What `done` and `not_now` left on the person's list."""
    return ClosedLead(**orjson.loads(value))


def _command(lead: Lead, person: Person, tracking_id: str, outcome: Outcome, detail: dict[str, str]) -> ResponseCommand:
    return ResponseCommand(
        client=person.name,
        response_id=f"inbox-{tracking_id}-{outcome}",
        tracking_id=tracking_id,
        outcome=outcome,
        channel=CHANNEL,
        detail={**detail, "trigger": lead.trigger},
    )


def _closed(lead: Lead, mark: Mark) -> ClosedLead:
    return ClosedLead(
        id=lead.id,
        decision_id=lead.decision_id,
        customer_id=lead.customer_id,
        trigger=lead.trigger,
        title=lead.title,
        grade=lead.grade,
        stage=mark.stage.value,
        result=str(mark.result),
        offer=mark.offer,
        at_ms=mark.at_ms,
    )
