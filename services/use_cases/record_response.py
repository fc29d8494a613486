"""Taking responses: the bus first, because it is the truth, then the ledger, so that the next decision knows.

A response id is the client's own and stands for one outcome of one option. Given again for the same it is a duplicate,
and goes nowhere; given for something else it is refused, for otherwise the channel would take the second response for
recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from decision_engine.features.definitions import Value
from decision_engine.identifiers import CustomerId, TrackingId, key32
from decision_engine.outcomes import Outcome
from decision_engine.rejections import Rejection
from decision_engine.reservation import tracking_key
from event_schemas.codec import encode_trusted
from event_schemas.topics import RESPONSES
from services.ports import (
    Clock,
    ContactLedger,
    ContactResponse,
    DecisionStore,
    EventPublisher,
    Metrics,
    OutgoingEvent,
    ResponseClaim,
    TrackedOption,
)
from services.use_cases.response_scope import response_source, scoped_response_id
from services.use_cases.suitability_rematch import SuitabilityRematch
from services.use_cases.wire_time import rfc3339

EVENT_TYPE = "nbo.response.recorded"
Sees = Callable[[CustomerId], Awaitable[bool]]
"""Whether a customer exists for whoever answers."""
MOST_DETAILS = 50
"""The bound of the published event, ours included."""
FUTURE_TOLERANCE_MS = 5 * 60_000
"""Clocks of channels run apart by a little; more is a mistake that would hold a cool-down open for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCommand:
    """One outcome as a channel reports it. `at_ms` None means now; `channel` None means the option's own. `client` is
    whose the response id is."""

    client: str = ""
    response_id: str
    tracking_id: str
    outcome: Outcome
    at_ms: int | None = None
    channel: str | None = None
    detail: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesTaken:
    """How many were new, how many had been taken before, and which were refused (index, why). `unsuitable` are the
    acceptances that were taken although their offer no longer suits the customer (index, reason code): the channel
    must not carry them out."""

    accepted: int
    duplicates: int
    rejected: tuple[tuple[int, str], ...]
    unsuitable: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Matched:
    """A response with the option it answers, at its moment."""

    index: int
    command: ResponseCommand
    option: TrackedOption
    at_ms: int
    unsuitable: Rejection | None = None

    @property
    def response_id(self) -> str:
        """Told apart from other clients' ids."""
        return scoped_response_id(response_source(self.command.client), self.command.response_id)

    @property
    def says(self) -> str:
        """What the response id stands for."""
        return f"{self.command.outcome} of {self.option.tracking_id}"


@dataclass(frozen=True, slots=True)
class _Known:
    """What response ids were given for before, by id; and by index which responses are not yet taken in whole, and
    which are on the bus."""

    said: dict[str, str]
    news: frozenset[int]
    published: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResponse:
    """Takes a batch of responses. `channels` and `sees` of a call limit whose options may be answered (None: all). With
    a `rematch` acceptances are judged by what suits the customer now."""

    store: DecisionStore
    ledger: ContactLedger
    publisher: EventPublisher
    clock: Clock
    metrics: Metrics
    rematch: SuitabilityRematch | None = None
    arm_of: Callable[[CustomerId], str] | None = None
    """The arm of the standing experiment a customer is in; None counts no rewards."""

    async def __call__(
        self,
        commands: Sequence[ResponseCommand],
        channels: frozenset[str] | None = None,
        sees: Sees | None = None,
    ) -> ResponsesTaken:
        """Returns when the bus has acknowledged and the ledger has applied all that are valid.

        Raises StoreUnavailable and BusUnavailable; sending the same batch again is then safe and complete.
        """
        options = await self.store.tracked([command.tracking_id for command in commands])
        if sees is not None:
            options = [option if option is None or await sees(option.customer_id) else None for option in options]
        found, rejected = self._match(commands, options, channels)
        unique = list({match.response_id: match for match in reversed(found)}.values())[::-1]
        known = await self._known(unique)
        conflicts = _conflicts(found, {match.response_id: match.says for match in unique} | known.said)
        rejected += conflicts
        refused = {index for index, _ in conflicts}
        matched = await self._rematched([match for match in found if match.index not in refused])
        news = [match for match in matched if match.index in known.news]
        unpublished = [_event(match) for match in news if match.index not in known.published]
        if unpublished:
            await self.publisher.publish(unpublished)
        applied = await self._apply(news)
        for match, new in zip(news, applied, strict=True):
            if new:
                self.metrics.count("responses_total", outcome=match.command.outcome)
                if self.arm_of is not None:
                    arm = self.arm_of(match.option.customer_id)
                    self.metrics.count("arm_reward_total", arm=arm, outcome=match.command.outcome)
                if match.unsuitable is not None:
                    self.metrics.count("rejections_total", stage="suitability", rule=match.unsuitable.rule)
        return ResponsesTaken(
            accepted=sum(applied),
            duplicates=len(matched) - sum(applied),
            rejected=tuple(sorted(rejected)),
            unsuitable=tuple((match.index, match.unsuitable.code) for match in matched if match.unsuitable is not None),
        )

    async def _known(self, unique: "Sequence[_Matched]") -> "_Known":
        """Binds the response ids, and tells what was known of them."""
        if not unique:
            return _Known({}, frozenset(), frozenset())
        claims = [
            ResponseClaim(customer_id=match.option.customer_id, response_id=match.response_id, says=match.says)
            for match in unique
        ]
        earlier = list(zip(unique, await self.ledger.claim_responses(claims), strict=True))
        return _Known(
            said={match.response_id: known.said for match, known in earlier if known.said is not None},
            news=frozenset(match.index for match, known in earlier if not known.taken),
            published=frozenset(match.index for match, known in earlier if known.published),
        )

    async def _rematched(self, matched: Sequence[_Matched]) -> list[_Matched]:
        """With why an acceptance does not suit the customer any more."""
        if self.rematch is None:
            return list(matched)
        answers = [(match.option, match.command.outcome) for match in matched]
        refusals = await self.rematch(answers, self.clock.now_ms())
        return [replace(match, unsuitable=refusal) for match, refusal in zip(matched, refusals, strict=True)]

    def _match(
        self,
        commands: Sequence[ResponseCommand],
        options: Sequence[TrackedOption | None],
        channels: frozenset[str] | None,
    ) -> tuple[list[_Matched], list[tuple[int, str]]]:
        now_ms = self.clock.now_ms()
        matched, rejected = [], []
        for index, (command, option) in enumerate(zip(commands, options, strict=True)):
            if option is None or (channels is not None and option.channel not in channels):
                # An option of a channel the client does not speak for is as unknown to it as one that never was.
                rejected.append((index, f"unknown tracking_id {command.tracking_id}"))
                continue
            problem = _problem(command, option, now_ms)
            if problem is not None:
                rejected.append((index, problem))
            else:
                at_ms = now_ms if command.at_ms is None else command.at_ms
                matched.append(_Matched(index, command, option, at_ms))
        return matched, rejected

    async def _apply(self, matched: Sequence[_Matched]) -> list[bool]:
        """Whether each response was new to the ledger; one atomic step a customer, customers side by side."""
        by_customer: dict[CustomerId, list[int]] = {}
        for index, match in enumerate(matched):
            by_customer.setdefault(match.option.customer_id, []).append(index)
        answers = await asyncio.gather(
            *(
                self.ledger.respond(customer, [_contact(matched[index]) for index in indexes])
                for customer, indexes in by_customer.items()
            )
        )
        new = [False] * len(matched)
        for indexes, answer in zip(by_customer.values(), answers, strict=True):
            for index, was_new in zip(indexes, answer, strict=True):
                new[index] = was_new
        return new


def _conflicts(found: Sequence[_Matched], says: Mapping[str, str]) -> list[tuple[int, str]]:
    """Those whose response id stands for something else, by what was given first."""
    return [
        (match.index, f"response_id {match.command.response_id} was used before, for {said}")
        for match in found
        if (said := says[match.response_id]) != match.says
    ]


def _problem(command: ResponseCommand, option: TrackedOption, now_ms: int) -> str | None:
    if command.channel is not None and command.channel != option.channel:
        return f"channel: the option was offered in {option.channel}"
    if command.at_ms is not None and command.at_ms > now_ms + FUTURE_TOLERANCE_MS:
        return "time: lies in the future"
    if command.at_ms is not None and command.at_ms < option.decided_ms - FUTURE_TOLERANCE_MS:
        return "time: lies before the decision"
    return None


def _contact(match: _Matched) -> ContactResponse:
    option = match.option
    return ContactResponse(
        response_id=match.response_id,
        tracking=tracking_key(TrackingId(option.tracking_id)),
        outcome=match.command.outcome,
        at_ms=match.at_ms,
        offer=key32(option.offer),
        group=key32(option.group),
        issue=key32(option.issue),
        channel=key32(option.channel),
        flags=option.flags,
    )


def _event(match: _Matched) -> OutgoingEvent:
    command, option, time = match.command, match.option, rfc3339(match.at_ms)
    data: dict[str, object] = {
        "response_id": command.response_id,
        "tracking_id": option.tracking_id,
        "decision_id": option.decision_id,
        "customer_id": option.customer_id,
        "offer": option.offer,
        "group": option.group,
        "issue": option.issue,
        "treatment": option.treatment,
        "channel": option.channel,
        "placement": option.placement,
        "outcome": command.outcome,
        "time": time,
        "decided_at": rfc3339(option.decided_ms),
        "detail": _detail(match),
    }
    header = {
        "id": command.response_id,
        "source": response_source(command.client),
        "subject": option.customer_id,
        "time": time,
    }
    return OutgoingEvent(topic=RESPONSES, key=option.customer_id, value=encode_trusted(EVENT_TYPE, header, data))


def _detail(match: _Matched) -> Mapping[str, Value]:
    """The channel's own, and the engine's word where the offer no longer suits."""
    if match.unsuitable is None:
        return match.command.detail
    said: dict[str, Value] = {"suitability_changed": True, "suitability_code": match.unsuitable.code}
    kept = [(name, value) for name, value in match.command.detail.items() if name not in said]
    return dict(kept[: MOST_DETAILS - len(said)]) | said
