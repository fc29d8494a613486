"""What becomes of a trigger that fired: a pending firing, planned waves, and the end of both.

A contact is remembered until its event is no longer fresh and nothing of it is planned or still worth delivering: the
same cause never fires twice, and what went out can be overtaken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from decision_engine.features.definitions import Value
from decision_engine.features.update import Update
from decision_engine.identifiers import key64
from decision_engine.triggers.compiled import CompiledTrigger, CompiledTriggers
from decision_engine.triggers.firing import TIMER, Contacted, Firing, Overtaken, firing_id
from decision_engine.triggers.memory import MOST_CONTACTS, Contact, Memory, Phase, Sent

BY_RESPONSE = "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What made a trigger fire: the key of the event, whether a stretch of time after it did, when, the value the
    events share, and the fields guards named."""

    key: int
    by_timer: bool
    at_ms: int
    same: int | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Contacts:
    """The contacts of one customer's memory, and what came of changing them."""

    triggers: CompiledTriggers
    memory: Memory
    now_ms: int
    fired: list[Firing] = field(default_factory=list)
    overtaken: list[Overtaken] = field(default_factory=list)
    dropped: int = 0

    def cooling(self, compiled: CompiledTrigger, at_ms: int) -> bool:
        """Whether the trigger has fired too lately, or later, to fire at that moment."""
        last = self.memory.fired.get(compiled.key)
        if last is None or self._cooled_ms(compiled.key, last) < self.now_ms:
            return False
        return at_ms - last < compiled.trigger.cooldown_ms

    def fire(self, compiled: CompiledTrigger, cause: Cause) -> None:
        """Fires, unless the trigger cools down, this cause has fired before, or its moment is no longer fresh: then it
        only counts for the cooldown."""
        trigger, at_ms = compiled.trigger, cause.at_ms
        if self.cooling(compiled, at_ms) or self._has_fired(compiled, cause):
            return
        if trigger.cooldown_ms:
            self.memory.fired[compiled.key] = at_ms
        if self.now_ms - at_ms > trigger.freshness_ms:
            return
        contact = Contact(
            trigger=compiled.key,
            cause=cause.key,
            by_timer=cause.by_timer,
            at_ms=at_ms,
            same=cause.same,
            fields=cause.fields,
        )
        self.memory.contacts.append(contact)
        self.fired.append(self._firing(compiled, contact, contact.wave))

    def fire_waves(self) -> None:
        """The planned waves that are due become pending; those nobody would deliver any more are left out."""
        for compiled, contact in self._known():
            while contact.phase is Phase.PLANNED:
                due_ms = compiled.wave_ms(contact.at_ms, contact.wave)
                if due_ms > self.now_ms:
                    break
                if due_ms + compiled.trigger.expires_ms > self.now_ms:
                    contact.phase = Phase.PENDING
                    self.fired.append(self._firing(compiled, contact, contact.wave))
                else:
                    _plan_next(compiled, contact)

    def pending(self) -> Iterator[tuple[Contact, Firing]]:
        """What has fired and has not been concluded, oldest first."""
        for compiled, contact in self._known():
            if contact.phase is Phase.PENDING:
                yield contact, self._firing(compiled, contact, contact.wave)

    def conclude(self, concluded: Mapping[str, Contacted]) -> None:
        """Notes what became of firings, and plans the waves after them."""
        for compiled, contact in self._known():
            firing = self._firing(compiled, contact, contact.wave)
            if contact.phase is not Phase.PENDING or firing.id not in concluded:
                continue
            outcome = concluded[firing.id]
            if outcome.decision_id is not None and outcome.offers:
                contact.sent.append(Sent(contact.wave, key64(outcome.decision_id), firing.expires_at_ms))
            contact.intent = None
            _plan_next(compiled, contact)

    def cancel(self, compiled: CompiledTrigger, update: Update, same: int | None) -> None:
        """An event of `cancelled_by` ends what began before it, of the same value if both have one."""
        for contact in self.memory.contacts:
            is_cause = contact.cause == update.event_key and not contact.by_timer
            agree = same is None or contact.same is None or contact.same == same
            began = compiled.began_ms(contact.at_ms) <= update.time_ms
            if contact.trigger == compiled.key and agree and began and not is_cause:
                self._end(compiled, contact, update.time_ms, update.source)

    def answer(self, decision_id: str, time_ms: int) -> None:
        """A response to an option of any wave ends the contact."""
        key = key64(decision_id)
        for compiled, contact in self._known():
            if any(sent.decision == key for sent in contact.sent):
                self._end(compiled, contact, time_ms, BY_RESPONSE)

    def withdraw(self, purpose: str, update: Update) -> None:
        """A purpose is refused from now on: contacts that may need it are void, with what is planned after them."""
        for compiled, contact in self._known():
            if purpose in compiled.purposes and contact.at_ms <= update.time_ms:
                self._end(compiled, contact, update.time_ms, update.source)

    def erase(self, update: Update) -> None:
        """Nothing is remembered of the customer; what is still to be delivered is void."""
        for compiled, contact in self._known():
            self._end(compiled, contact, update.time_ms, update.source)
        self.memory.contacts.clear()
        self.memory.progress.clear()
        self.memory.moments.clear()
        self.memory.fired.clear()
        self.fired.clear()

    def sweep(self) -> None:
        """Forgets what has no consequence any more, and the oldest of what is too much."""
        memory = self.memory
        memory.contacts = [contact for compiled, contact in self._known() if self._matters(compiled, contact)]
        surplus = len(memory.contacts) - MOST_CONTACTS
        if surplus > 0:
            ranked = sorted(memory.contacts, key=lambda contact: (contact.phase is not Phase.DONE, contact.at_ms))
            gone = {id(contact) for contact in ranked[:surplus]}
            memory.contacts = [contact for contact in memory.contacts if id(contact) not in gone]
            self.dropped += surplus
        memory.fired = {key: at_ms for key, at_ms in memory.fired.items() if self._cooled_ms(key, at_ms) >= self.now_ms}

    def settled(self) -> tuple[Firing, ...]:
        """What fired and is still pending, in the order it fired."""
        pending = {firing.id for _, firing in self.pending()}
        return tuple(firing for firing in self.fired if firing.id in pending)

    def due_ms(self) -> Iterator[int]:
        """The moments at which something is due: 0 for what is pending."""
        for compiled, contact in self._known():
            if contact.phase is Phase.PENDING:
                yield 0
            elif contact.phase is Phase.PLANNED:
                yield compiled.wave_ms(contact.at_ms, contact.wave)

    def until_ms(self) -> Iterator[int]:
        """The moments until which contacts that are done, and cooldowns, matter."""
        for compiled, contact in self._known():
            yield _over_ms(compiled, contact)
        for key, at_ms in self.memory.fired.items():
            yield self._cooled_ms(key, at_ms)

    def _known(self) -> Iterator[tuple[CompiledTrigger, Contact]]:
        for contact in self.memory.contacts:
            compiled = self.triggers.by_key.get(contact.trigger)
            if compiled is not None and contact.wave <= len(compiled.trigger.waves):
                yield compiled, contact

    def _matters(self, compiled: CompiledTrigger, contact: Contact) -> bool:
        return contact.phase is not Phase.DONE or _over_ms(compiled, contact) >= self.now_ms

    def _cooled_ms(self, key: int, at_ms: int) -> int:
        """Until when a cooldown can hold something back: late events count as long as they are fresh."""
        compiled = self.triggers.by_key.get(key)
        if compiled is None or not compiled.trigger.cooldown_ms:
            return self.now_ms - 1
        return at_ms + compiled.trigger.cooldown_ms + compiled.trigger.freshness_ms

    def _has_fired(self, compiled: CompiledTrigger, cause: Cause) -> bool:
        wanted = (compiled.key, cause.key, cause.by_timer)
        return any((each.trigger, each.cause, each.by_timer) == wanted for each in self.memory.contacts)

    def _firing(self, compiled: CompiledTrigger, contact: Contact, wave: int) -> Firing:
        trigger = compiled.trigger
        cause = f"{TIMER if contact.by_timer else ''}{contact.cause:016x}"
        at_ms = compiled.wave_ms(contact.at_ms, wave)
        return Firing(
            id=firing_id(trigger.name, wave, self.memory.customer, cause),
            trigger=trigger.name,
            wave=wave,
            cause=cause,
            at_ms=at_ms,
            expires_at_ms=at_ms + trigger.expires_ms,
            fields=contact.fields,
        )

    def _end(self, compiled: CompiledTrigger, contact: Contact, at_ms: int, by: str) -> None:
        waves = [sent.wave for sent in contact.sent if sent.expires_ms > self.now_ms]
        if contact.phase is Phase.PENDING and contact.intent is not None:
            waves.append(contact.wave)  # it may have been published
        for wave in waves:
            firing = self._firing(compiled, contact, wave)
            self.overtaken.append(Overtaken(firing_id=firing.id, trigger=firing.trigger, at_ms=at_ms, by=by, wave=wave))
        contact.phase, contact.intent, contact.fields = Phase.DONE, None, {}
        contact.sent.clear()


def _plan_next(compiled: CompiledTrigger, contact: Contact) -> None:
    if contact.wave < len(compiled.trigger.waves):
        contact.wave, contact.phase = contact.wave + 1, Phase.PLANNED
    else:
        contact.phase, contact.fields = Phase.DONE, {}


def _over_ms(compiled: CompiledTrigger, contact: Contact) -> int:
    """Until when what is done matters: the same cause may be seen again, what went out may be overtaken."""
    fresh_ms = contact.at_ms + compiled.trigger.freshness_ms
    return max([fresh_ms, *(sent.expires_ms for sent in contact.sent)])
