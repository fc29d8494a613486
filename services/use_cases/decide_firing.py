"""A firing is put to the engine like any other question, under its own id, and the answer says what becomes of it."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, cast

import orjson

from decision_engine.decision import PlacementRequest
from decision_engine.errors import DecisionEngineError
from decision_engine.fallback import FallbackCause
from decision_engine.features.definitions import Value
from decision_engine.identifiers import CustomerId, PlacementId, TrackingId
from decision_engine.kill_switches import Switches
from decision_engine.quiet_hours import quiet_until_ms
from decision_engine.reservation import tracking_key
from decision_engine.triggers.firing import Contacted, Firing
from decision_engine.triggers.guards import EVENT_PREFIX
from services.ports import Clock, DecisionStore, StoreUnavailable
from services.use_cases import degradation as cause
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.firing_cases import Case
from services.use_cases.firing_notes import Held
from services.use_cases.idempotent_answers import DecisionInFlight, is_answer, opened
from services.use_cases.kill_switches import EarlierAnswer
from services.use_cases.linked_customers import with_linked
from services.use_cases.make_decision import Live
from services.use_cases.outbound_events import Delivery, offered_event
from services.use_cases.wire_time import epoch_ms

CLIENT = "trigger"
"""Who asks, in decision records."""
LOCALE = "locale"
"""The profile attribute that says which language a customer is written to in."""
TIMEOUT_MS = 2_000
"""Nobody waits at a screen: a decision on all the facts is worth a moment."""
LATER_MS = 5_000
"""How long a firing waits that could not be decided on all the facts."""
NOT_NOW = frozenset({cause.STATE_UNAVAILABLE, cause.LEDGER_UNAVAILABLE, cause.UNAUDITED})
"""Without these a contact is put off rather than decided: there is no screen that must show something."""
MAYBE_LATER = frozenset({cause.LINKS_UNAVAILABLE, cause.VOLUMES_REBUILDING})
"""Without these a contact is put off where nothing was found to offer: that may be why."""

_log = logging.getLogger(__name__)

Make = Callable[[DecisionCommand], Awaitable[bytes]]
"""Answers a question with the bytes of its answer. Raises DecisionInFlight."""


class ReleasingLedger(Protocol):
    """Gives back what an attempt had reserved that ended in a crash. Raises StoreUnavailable."""

    async def release(self, customer_id: CustomerId, trackings: Sequence[bytes]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideFiring:
    """Decides one firing. `decision_id` makes of a name and a moment an id that is always the same; `superseded` is
    told of a decision whose record made here is not the one that stands."""

    live: Callable[[], Live]
    make: Make
    answers: DecisionStore
    ledger: ReleasingLedger
    decision_id: Callable[[str, int], str]
    superseded: Callable[[str], None]
    clock: Clock
    switches: Callable[[], Switches] = lambda: ()
    """The kill switches that are engaged at this moment."""
    live_for: Callable[[CustomerId], Live] | None = None
    """What decides for one customer, where a version serves a share of them; None: `live` for everybody."""

    async def __call__(self, case: Case) -> None:
        """Settles the case, or leaves it as it is where the store is away or another attempt is under way."""
        now_ms = self.clock.now_ms()
        if case.firing.expires_at_ms <= now_ms:
            case.end("expired", Contacted(decision_id=None))
            return
        live, decision_id = self._live_for(case.customer_id), self.decision_id(case.attempt, case.firing.at_ms)
        command = _command(case, live, decision_id)
        try:
            if case.contact.recipient is not None:
                await self._link(case, self.live(), now_ms)
            if not case.is_first_attempt and not await self._is_answered(command):
                await self._release(case, decision_id)
            stands = await self._standing(command, decision_id)
            answer = orjson.loads(self._without_stopped(command, live, stands))
            case.decision_id = str(answer["decision_id"])
            if _is_for_later(answer):
                # What did not answer in time may have reserved all the same.
                await self._release(case, decision_id)
        except (DecisionInFlight, StoreUnavailable):
            return
        _settle(case, answer, live, now_ms)

    def _live_for(self, customer_id: CustomerId) -> Live:
        return self.live() if self.live_for is None else self.live_for(customer_id)

    def _without_stopped(self, command: DecisionCommand, live: Live, answer: bytes) -> bytes:
        """An answer may be days old where its attempt ended in a crash."""
        earlier = EarlierAnswer(
            switches=self.switches(), channel=command.channel, locale=command.locale, wording=live.wording
        )
        return earlier.without_stopped(answer)

    async def _standing(self, command: DecisionCommand, decision_id: str) -> bytes:
        """The answer as the store has it. Two owners may come to decide one firing, each taking the other for dead:
        what the store kept first is what both publish, and what it has not kept nobody publishes. Raises
        DecisionInFlight, StoreUnavailable."""
        made = await self.make(command)
        kept = await self.answers.claimed(command.idempotency_key or "")
        stands = None if kept is None else opened(kept, command.body_hash)
        if stands is None:
            raise DecisionInFlight
        if stands != made:
            self.superseded(decision_id)
        return stands

    async def _link(self, case: Case, live: Live, now_ms: int) -> None:
        """Who gets it may be told by the company's state, or the household's. Raises StoreUnavailable."""
        try:
            case.snapshot = await with_linked(live, self.answers, case.customer_id, case.snapshot, now_ms)
        except DecisionEngineError:
            _log.exception("linked states could not be read", extra={"action": "do without"})

    async def _is_answered(self, command: DecisionCommand) -> bool:
        key = command.idempotency_key
        kept = None if key is None else await self.answers.claimed(key)
        return kept is not None and is_answer(kept)

    async def _release(self, case: Case, decision_id: str) -> None:
        """Contacts that an attempt reserved and told nobody of, for a crash or a slow store came between, would count
        against the next one. Raises StoreUnavailable."""
        trackings = [tracking_key(TrackingId(f"{decision_id}.{number}")) for number in range(case.contact.count)]
        await self.ledger.release(case.customer_id, trackings)


def _command(case: Case, live: Live, decision_id: str) -> DecisionCommand:
    contact = case.contact
    return DecisionCommand(
        client=CLIENT,
        request_id=case.attempt,
        decision_id=decision_id,
        customer_id=case.customer_id,
        channel=contact.channel,
        placements=(PlacementRequest(id=PlacementId(contact.placement), count=contact.count),),
        locale=_locale(case, live),
        context=_context(case.firing, live),
        started_s=perf_counter(),
        timeout_ms=TIMEOUT_MS,
        held_until_ms=case.firing.expires_at_ms,
    )


def _locale(case: Case, live: Live) -> str:
    wanted = case.snapshot.attributes.get(LOCALE)
    return live.wording.locale(wanted if isinstance(wanted, str) else None)


def _context(firing: Firing, live: Live) -> Mapping[str, Value]:
    """The trigger, and those fields of its event that the strategy declares as context."""
    declared = {attribute.name for attribute in live.prepared.strategy.declarations.context}
    return {name: value for name, value in firing.fields.items() if name in declared} | {"trigger": firing.trigger}


def _settle(case: Case, answer: Mapping[str, object], live: Live, now_ms: int) -> None:
    """What the answer means. What only the channel's quiet holds back goes out when that ends, if it still may."""
    decision_id, options = case.decision_id or "", _options(answer)
    if _is_for_later(answer):
        case.hold("put_off", now_ms + LATER_MS)
        return
    if options:
        offers = tuple(str(option["offer"]) for option in options)
        delivery = _delivery(case, live, now_ms, cast("str | None", answer.get("strategy_version")))
        event = offered_event(delivery, decision_id, [_with_group(option, live) for option in options])
        case.end("published", Contacted(decision_id=decision_id, offers=offers), event)
        return
    if _is_stopped(answer):
        case.end("stopped", Contacted(decision_id=decision_id))
        return
    until_ms = quiet_until_ms(live.prepared.quiet, case.contact.channel, epoch_ms(str(answer["time"])))
    if until_ms is not None and until_ms < case.firing.expires_at_ms:
        case.hold("held", until_ms)
    else:
        case.end("nothing_to_offer" if until_ms is None else "quiet", Contacted(decision_id=decision_id))


def _is_stopped(answer: Mapping[str, object]) -> bool:
    (placement,) = cast("Sequence[Mapping[str, object]]", answer["placements"])
    return placement.get("fallback_cause") == FallbackCause.STOPPED.value


def _with_group(option: Mapping[str, object], live: Live) -> Mapping[str, object]:
    """The option with the offer's group, by which whoever delivers it learns that it is stopped."""
    known = live.wording.treatments.get(str(option["treatment"]))
    return option if known is None else {**option, "group": known[0].group}


def _is_for_later(answer: Mapping[str, object]) -> bool:
    causes = cast("Sequence[str]", answer["degraded_causes"])
    return not NOT_NOW.isdisjoint(causes) or (not _options(answer) and not MAYBE_LATER.isdisjoint(causes))


def _options(answer: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """The options of the one placement asked for."""
    (placement,) = cast("Sequence[Mapping[str, object]]", answer["placements"])
    return cast("Sequence[Mapping[str, object]]", placement.get("options", ()))


def _grade(case: Case) -> str | None:
    """What the trigger's `grade` says of this firing; None where that is not known."""
    named = case.trigger.grade
    if named is None:
        return None
    if named.startswith(EVENT_PREFIX):
        found = case.firing.fields.get(named.removeprefix(EVENT_PREFIX))
    else:
        found = case.snapshot.attributes.get(named)
    return None if found is None else str(found)


def _delivery(case: Case, live: Live, now_ms: int, strategy_version: str | None) -> Delivery:
    named = case.contact.recipient
    recipient = None if named is None else case.snapshot.attributes.get(named)
    return Delivery(
        customer_id=case.customer_id,
        trigger=case.trigger,
        firing=case.firing,
        contact=case.contact,
        locale=_locale(case, live),
        recipient=None if recipient is None else str(recipient),
        grade=_grade(case),
        not_before_ms=case.note.until_ms if isinstance(case.note, Held) else None,
        now_ms=now_ms,
        strategy_version=strategy_version,
    )
