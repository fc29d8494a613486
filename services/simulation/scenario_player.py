"""Plays a scenario against a running deployment, over its API and its streams, as the bank's own systems would."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx

from services.ports import ShellError
from services.simulation.outbound_watch import Arrival, OutboundWatch
from services.simulation.scenario_script import (
    Answer,
    Attributed,
    Awaited,
    Expected,
    Happening,
    Moment,
    Question,
    Scenario,
    Step,
)
from services.simulation.scenario_story import Story

PATIENCE_SECONDS = 20.0
LOCALE = "en"
"""Of what the customer reads."""
OFFERED = "{offered}"
"""In a scenario stands for the first offer last seen: which one it is may depend on exploration."""
LIVE = frozenset({"offered", "ranked_lower", "slate"})
SILENCE_SECONDS = 0.5
RIPENING_SECONDS = 5.0
_POLL_SECONDS = 0.02
_FUTURE = "lies in the future"
_ZONE = ZoneInfo("Asia/Shanghai")
_WHO_MOVES_THE_CLOCK = "retail:scenario-clock"

Answered = Mapping[str, object]


class ExpectationFailed(ShellError):
    """Something did not come out as the scenario says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a step did: the sentence it says, and what came back for the screen to show."""

    step: Step
    act: str
    """`event`, `decide`, `outbound`, …; `say` for words alone."""
    result: Mapping[str, object]


@dataclass(slots=True)
class ScenarioPlayer:
    """Plays for one customer. `begin` is when the story's clock starts; it only ever moves forward, so that many
    scenarios can be played one after another on one deployment."""

    http: httpx.AsyncClient
    scenario: Scenario
    customer: str
    begin: datetime
    stream: OutboundWatch
    now: datetime = field(init=False)
    _seen: Story = field(default_factory=Story)
    _sent_at: float = 0.0
    _unfolded: int | None = None
    """The writes of the customer's state before a response that may not be in it yet."""
    _offered_before: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.now = first_morning(self.begin, self.scenario.hour)

    async def play(self) -> AsyncIterator[Played]:
        """Step by step. Raises ExpectationFailed."""
        await self._become_known()
        for step in self.scenario.steps:
            yield await self._step(step)

    async def _become_known(self) -> None:
        data: dict[str, object] = {"attributes": {"locale": LOCALE, **self.scenario.attributes}}
        await self._send(Happening(type="bank.profile.updated", data=data))
        for purpose, granted in self.scenario.consents.items():
            await self._send(Happening(type="bank.consent.changed", data={"purpose": purpose, "granted": granted}))

    async def _step(self, step: Step) -> Played:
        if step.event is not None:
            return Played(step=step, act="event", result=await self._send(step.event))
        if step.decide is not None:
            return Played(step=step, act="decide", result=await self._decide(step.decide))
        if step.outbound is not None:
            return Played(step=step, act="outbound", result=await self._outbound(step.outbound))
        if step.cancelled is not None:
            return Played(step=step, act="cancelled", result=await self._cancelled(step.cancelled))
        if step.silence is not None:
            return Played(step=step, act="silence", result=await self._silence(step.silence))
        if step.respond is not None:
            return Played(step=step, act="respond", result=await self._respond(step.respond))
        if step.attributed is not None:
            return Played(step=step, act="attributed", result=await self._attributed(step.attributed))
        if step.advance is not None:
            self.now += timedelta(milliseconds=step.advance)
            await self._move_clock()
            return Played(step=step, act="advance", result={"now": self.now.isoformat()})
        return Played(step=step, act="say", result={})

    async def _send(self, event: Happening) -> Answered:
        """Publishes and waits until decisions see it."""
        for _ in range(event.times - 1):
            await self._sent(event)
        envelope = await self._sent(event)
        if event.ago:
            await self._move_clock()
        return envelope

    async def _sent(self, event: Happening) -> Answered:
        subject = event.subject or self.customer
        if self._unfolded is not None:  # or the response's own write would be taken for this event's
            await self._until_written(self.customer, self._unfolded, "the response")
            self._unfolded = None
        before = await self._writes(subject)
        self.now += timedelta(seconds=1)
        at = self.now - timedelta(milliseconds=event.ago)
        envelope = {
            "specversion": "1.0",
            "id": f"{self.customer}-{self.scenario.id}-{next(self._numbers)}",
            "type": event.type,
            "source": "scenario",
            "subject": event.subject or self.customer,
            "time": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "data": self._resolved(event.data),
        }
        self._sent_at = asyncio.get_running_loop().time()
        answer = await self.http.post("/v1/events", json=envelope)
        if answer.status_code != 202:
            raise ExpectationFailed(f"{event.type} was refused: {answer.text}")
        await self._until_written(subject, before, event.type)
        return envelope

    async def _until_written(self, subject: str, before: int, what: str) -> None:
        async def written() -> bool:
            return await self._writes(subject) > before

        await self._until(written, f"{what} is in the state of {subject}")

    async def _writes(self, subject: str) -> int:
        return int((await self.http.get(f"/v1/customers/{subject}")).raise_for_status().json()["state_writes"])

    def _resolved(self, value: object) -> object:
        """With relative moments as epoch milliseconds, and `{offered}` as the first offer last seen."""
        if isinstance(value, str):
            return value.format(offered=self._offered()) if value == OFFERED else value
        if isinstance(value, Moment):
            return int(self.now.timestamp()) * 1000 + value.shift_ms
        if not isinstance(value, Mapping):
            return value
        if value.keys() in ({"ago"}, {"ahead"}):
            return self._resolved(Moment.model_validate(value))
        return {name: self._resolved(entry) for name, entry in value.items()}

    def _offered(self) -> str:
        if not self._seen.last.options:
            raise ExpectationFailed("nothing was offered that the step could be about")
        return str(self._seen.last.options[0]["offer"])

    async def _is_folded(self, subject: str, at: datetime) -> bool:
        view = (await self.http.get(f"/v1/customers/{subject}")).json()
        newest = view.get("newest_event_at")
        return newest is not None and datetime.fromisoformat(newest) >= at - timedelta(milliseconds=1)

    async def _move_clock(self) -> None:
        """The deployment's clock is the newest event of anybody."""
        moved = Happening(type="bank.channel.login", subject=_WHO_MOVES_THE_CLOCK)
        envelope = {
            "specversion": "1.0",
            "id": f"clock-{self.customer}-{next(self._numbers)}",
            "type": moved.type,
            "source": "scenario",
            "subject": _WHO_MOVES_THE_CLOCK,
            "time": self.now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "data": {},
        }
        self._sent_at = asyncio.get_running_loop().time()
        (await self.http.post("/v1/events", json=envelope)).raise_for_status()
        now = self.now
        await self._until(lambda: self._is_folded(_WHO_MOVES_THE_CLOCK, now), "the clock has moved")

    async def _decide(self, question: Question) -> Answered:
        body = {
            "request_id": f"{self.customer}-{next(self._numbers)}",
            "customer_id": self.customer,
            "channel": question.channel,
            "placements": [{"id": question.placement, "count": question.count}],
            "context": question.context,
            "locale": LOCALE,
            "timeout_ms": 1000,
        }
        self._offered_before = self._offered() if self._seen.last.options else ""
        await self._until_ripe(question.expect, body)
        decision = await self._ask(body)
        options = _list(_list(decision["placements"])[0].get("options"))
        self._seen.sees(question.channel, options)
        await self._check(question.expect, options, str(decision["decision_id"]), decision)
        return {"decision": decision, "options": options}

    async def _ask(self, body: Mapping[str, object]) -> dict[str, object]:
        answer = await self.http.post("/v1/decisions", json=body)
        if answer.status_code != 200:
            raise ExpectationFailed(f"the decision was refused: {answer.text}")
        decision: dict[str, object] = answer.json()
        return decision

    async def _until_ripe(self, expect: Expected, body: Mapping[str, object]) -> None:
        """Asks without leaving a trace until offers fare as they should: a node that has just seen a new day may still
        be fetching its part of a volume. What never ripens is told by the decision itself."""
        deadline = asyncio.get_running_loop().time() + RIPENING_SECONDS
        while (expect.live or expect.rejected) and asyncio.get_running_loop().time() < deadline:
            trace = _list((await self._ask({**body, "request_id": None, "dry_run": True}))["trace"])
            if not self._unlike(expect, _fates(trace)):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _outbound(self, awaited: Awaited) -> Answered:
        await self._until(lambda: self._contact(awaited), f"{awaited.trigger} makes contact")
        arrival = next(self.stream.offered(self.customer, awaited, self._seen.contacts))
        data = arrival.data
        options = _list(data["options"])
        self._seen.sees(awaited.channel, options)
        self._seen.contacts.add(str(data["decision_id"]))
        expect = awaited.expect
        if expect.recipient is not None and data.get("recipient") != expect.recipient:
            raise ExpectationFailed(f"{awaited.trigger} went to {data.get('recipient')}, not to {expect.recipient}")
        await self._check(expect, options, str(data["decision_id"]), data)
        return {**data, "seconds": max(0.0, arrival.at - self._sent_at)}

    async def _contact(self, awaited: Awaited) -> Arrival | None:
        """Such a contact that no step has taken note of yet, once it has come."""
        return next(self.stream.offered(self.customer, awaited, self._seen.contacts), None)

    async def _cancelled(self, awaited: Awaited) -> Answered:
        return await self._until(
            lambda: self.stream.cancelled(self.customer, awaited), f"{awaited.trigger} is cancelled"
        )

    async def _silence(self, awaited: Awaited) -> Answered:
        """Nothing comes within a moment of the clock's having passed it; a wait, since silence has no event."""
        await asyncio.sleep(SILENCE_SECONDS)
        if await self._contact(awaited):
            raise ExpectationFailed(f"{awaited.trigger} made contact (wave {awaited.wave}), and should not have")
        return {}

    async def _respond(self, said: Answer) -> Answered:
        found = self._seen.option(said.offer)
        if found is None:
            raise ExpectationFailed(f"{said.offer or 'an offer'} was not offered, so nobody can answer it")
        channel, option = found
        self.now += timedelta(seconds=1)
        body = {
            "response_id": f"{option['tracking_id']}-{said.outcome}",
            "tracking_id": option["tracking_id"],
            "outcome": said.outcome,
            "channel": said.channel or channel,
            "time": self.now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        before = await self._writes(self.customer)

        async def accepted() -> bool:
            answer = await self.http.post("/v1/responses", json=body)
            if _FUTURE in answer.text:
                return False  # the node has not heard of the newest event, which moved the clock
            if answer.status_code != 202 or answer.json()["accepted"] + answer.json()["duplicates"] != 1:
                raise ExpectationFailed(f"the response was refused: {answer.text}")
            return True

        await self._until(accepted, "the response is accepted")
        self._unfolded = before
        return body | {"offer": option["offer"]}

    async def _attributed(self, wanted: Attributed) -> Answered:
        since, until = self.begin - timedelta(days=1), self.now + timedelta(days=1)
        period = {"from": since.astimezone(UTC).isoformat(), "to": until.astimezone(UTC).isoformat()}

        offer = self._offered() if wanted.offer == OFFERED else wanted.offer

        async def credited() -> Answered | None:
            answer = await self.http.get("/v1/attribution", params={**period, "by": "offer", "model": "last_touch"})
            rows = answer.raise_for_status().json()["rows"]
            return next((row for row in rows if row["offer"] == offer and row["conversions"] > 0), None)

        return await self._until(credited, f"a conversion is credited to {offer}")

    async def _check(
        self, expect: Expected, options: Sequence[Mapping[str, object]], decision_id: str, answer: Answered
    ) -> None:
        names = [str(option["offer"]) for option in options]
        reasons = {str(r["code"]) for option in options for r in _list(option.get("reasons"))}
        problems = [f"{offer} is not offered" for offer in expect.offers if offer not in names]
        problems += [f"{offer} is offered" for offer in expect.none_of if offer in names]
        if expect.any_of and not set(expect.any_of) & set(names):
            problems.append(f"none of {', '.join(expect.any_of)} is offered")
        if len(options) < expect.at_least:
            problems.append(f"{len(options)} options, not {expect.at_least}")
        if expect.fallback and options:
            problems.append("something is offered")
        problems += [f"no reason {code}" for code in expect.reasons if code not in reasons]
        if expect.script and not all(option.get("script") for option in options):
            problems.append("an option has no talk script")
        if expect.personalised is not None and answer.get("personalised") is not expect.personalised:
            problems.append(f"personalised is {answer.get('personalised')}")
        if expect.rejected or expect.live:
            record = (await self.http.get(f"/v1/decisions/{decision_id}")).raise_for_status().json()
            problems += self._unlike(expect, _fates(record.get("data", record)["candidates"]))
        if problems:
            raise ExpectationFailed(
                f"{self.scenario.id}: {'; '.join(problems)} (offered: {', '.join(names) or 'nothing'})"
            )

    def _unlike(self, expect: Expected, fates: Mapping[str, str]) -> list[str]:
        """Where offers fared otherwise than they should have."""
        rejected = {
            self._offered_before if offer == OFFERED else offer: code for offer, code in expect.rejected.items()
        }
        problems = [f"{o} is {fates.get(o)}, not {code}" for o, code in rejected.items() if fates.get(o) != code]
        return problems + [f"{offer} is {fates.get(offer)}" for offer in expect.live if fates.get(offer) not in LIVE]

    async def _until(self, condition: Callable[[], object], what: str) -> Mapping[str, object]:
        """Waits for what events bring about."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            found = await condition()  # type: ignore[misc]
            if found:
                return found if isinstance(found, Mapping) else {}
            await asyncio.sleep(_POLL_SECONDS)
        raise ExpectationFailed(f"{self.scenario.id}: it never came about that {what}")


def first_morning(after: datetime, hour: int) -> datetime:
    """The next working day at that local hour, so that neither quiet hours nor a weekend are in the way."""
    local = after.astimezone(_ZONE)
    at = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    while at <= local or at.weekday() >= 5:
        at += timedelta(days=1)
    return at


def _list(value: object) -> Sequence[Mapping[str, object]]:
    return value if isinstance(value, list) else ()


def _fates(candidates: Sequence[Mapping[str, object]]) -> Mapping[str, str]:
    """Offer to its outcome, or to the reason code of its rejection; what only found no room is `slate`."""
    fates: dict[str, str] = {}
    for candidate in candidates:
        offer, stage, rejected = str(candidate["offer"]), candidate.get("stage"), candidate["outcome"] == "rejected"
        fate = "slate" if stage == "slate" else str(candidate["reason"] if rejected else candidate["outcome"])
        if fates.get(offer) not in LIVE:
            fates[offer] = fate
    return fates
