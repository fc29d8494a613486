"""A strategy's triggers made ready: which events concern them, and how they are judged."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from decision_engine.consent import purposes_of
from decision_engine.features.definitions import AttributeType, Value
from decision_engine.features.filters import EventFilters, compile_filters
from decision_engine.features.update import Update
from decision_engine.identifiers import key32, key64
from decision_engine.strategy import Strategy
from decision_engine.triggers.definitions import Shape, Trigger
from decision_engine.triggers.guards import Guard, compile_guard, guard_types

RESPONSE_RECORDED = "nbo.response.recorded"
CUSTOMER_ERASED = "bank.customer.erased"
CONSENT_CHANGED = "bank.consent.changed"
PROFILE_UPDATED = "bank.profile.updated"
CANCELS = -1
"""Stands for `cancelled_by` where others have the number of a step."""
_IMPRESSION = "impression"
"""The one outcome that is no answer."""

EventFields = Mapping[str, Mapping[str, AttributeType]]
Role = tuple["CompiledTrigger", int]
"""What an event is to a trigger: the number of a step, or CANCELS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTrigger:
    """A trigger with its guards compiled. `key` is that of its name, `pattern` that of its pattern: what was
    remembered for another pattern of the same trigger is not taken for this one's."""

    trigger: Trigger
    number: int
    """Its place among those declared."""
    key: int
    pattern: int
    before: Guard | None
    when: Guard | None
    purposes: frozenset[str]
    """Those of which one must be granted for some of its contacts: what its offers need, and its channels."""

    @property
    def last_step(self) -> int:
        """The number of the last step."""
        return len(self.trigger.pattern.steps) - 1

    def began_ms(self, at_ms: int) -> int:
        """When what fired at a moment began: for an absence with the first event."""
        pattern = self.trigger.pattern
        return at_ms - pattern.within_ms if pattern.shape is Shape.ABSENCE else at_ms

    def wave_ms(self, at_ms: int, wave: int) -> int:
        """When a wave of what fired at a moment is due."""
        return at_ms + (self.trigger.waves[wave - 1].after_ms if wave else 0)

    def named_fields(self, update: Update) -> dict[str, Value]:
        """The fields of an event that the guards may ask about."""
        named = {name: update.fields.get(name) for name in self.trigger.fields}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class EventRoles:
    """The filters over one event type, and what an event that passes each of them is to the triggers."""

    filters: EventFilters
    roles: tuple[tuple[Role, ...], ...]


@dataclass(frozen=True, slots=True)
class CompiledTriggers:
    """The triggers of one strategy."""

    by_key: Mapping[int, CompiledTrigger]
    by_pattern: Mapping[int, CompiledTrigger]
    sources: Mapping[str, EventRoles]
    moments: Mapping[str, tuple[CompiledTrigger, ...]]
    """Profile attribute to the triggers that are due at a moment it tells."""

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self.by_key

    def trigger(self, name: str) -> Trigger | None:
        """The trigger of that name."""
        found = self.by_key.get(key32(name))
        return found.trigger if found is not None and found.trigger.name == name else None

    def interested(self, update: Update) -> bool:
        """Whether an event can change anything: it is part of a pattern, or ends contacts."""
        if self.is_empty:
            return False
        at = self.sources.get(update.source)
        if at is not None and at.filters(update.fields, update.time_ms):
            return True
        if update.source == PROFILE_UPDATED and not self.moments.keys().isdisjoint(update.attributes):
            return True
        if update.source == CUSTOMER_ERASED or withdrawn_purpose(update) is not None:
            return True
        return answered_decision(update) is not None

    def roles(self, update: Update) -> tuple[Role, ...]:
        """What the event is to the triggers."""
        at = self.sources.get(update.source)
        if at is None:
            return ()
        passed = at.filters(update.fields, update.time_ms)
        return tuple(role for bit, roles in enumerate(at.roles) if passed >> bit & 1 for role in roles)

    def told(self, update: Update) -> Iterator[CompiledTrigger]:
        """The triggers that wait for a moment the update tells."""
        if update.source == PROFILE_UPDATED:
            for attribute, compiled in self.moments.items():
                if attribute in update.attributes:
                    yield from compiled


def compile_triggers(strategy: Strategy, event_fields: EventFields | None = None) -> CompiledTriggers:
    """Compiles the triggers of a checked strategy. With `event_fields` (`features.updates.EVENT_FIELDS`) the names and
    types of filters are checked once more; without, they are taken to be what their use asks for.

    Raises DecisionEngineError for a filter or guard that cannot be used.
    """
    compiled = tuple(_compiled(trigger, number, strategy) for number, trigger in enumerate(strategy.triggers))
    roles: dict[str, dict[str, list[Role]]] = defaultdict(lambda: defaultdict(list))
    moments: dict[str, list[CompiledTrigger]] = defaultdict(list)
    for each in compiled:
        attribute = each.trigger.pattern.attribute
        if attribute is not None:
            moments[attribute].append(each)
        for step, pattern in enumerate(each.trigger.pattern.steps if attribute is None else ()):
            roles[pattern.source][pattern.where or ""].append((each, step))
        for pattern in each.trigger.cancelled_by:
            roles[pattern.source][pattern.where or ""].append((each, CANCELS))
    sources: dict[str, EventRoles] = {}
    for source, by_where in roles.items():
        wheres = sorted(by_where, key=lambda where: not where)  # those that let everything through come last
        filters = compile_filters(wheres, None if event_fields is None else event_fields.get(source))
        sources[source] = EventRoles(filters, tuple(tuple(by_where[where]) for where in wheres))
    return CompiledTriggers(
        by_key={each.key: each for each in compiled},
        by_pattern={each.pattern: each for each in compiled},
        sources=sources,
        moments={attribute: tuple(waiting) for attribute, waiting in moments.items()},
    )


def answered_decision(update: Update) -> str | None:
    """The decision a response answers; None for other events, and for an impression, which is no answer."""
    if update.source != RESPONSE_RECORDED or update.fields.get("outcome") == _IMPRESSION:
        return None
    decision = update.fields.get("decision_id")
    return decision if isinstance(decision, str) else None


def withdrawn_purpose(update: Update) -> str | None:
    """The purpose a customer refuses from now on; None for other events."""
    if update.source != CONSENT_CHANGED or update.fields.get("granted") is not False:
        return None
    purpose = update.fields.get("purpose")
    return purpose if isinstance(purpose, str) else None


def shared_key(trigger: Trigger, update: Update) -> int | None:
    """The key of the value that the events of one match share; None where they need not, or the event has none."""
    value = None if trigger.pattern.same is None else update.fields.get(trigger.pattern.same)
    return None if value is None else key64(str(value))


def _compiled(trigger: Trigger, number: int, strategy: Strategy) -> CompiledTrigger:
    types = guard_types(strategy.dictionary, trigger.fields)
    return CompiledTrigger(
        trigger=trigger,
        number=number,
        key=key32(trigger.name),
        pattern=key32(repr((trigger.name, trigger.pattern))),
        before=compile_guard(trigger.before, types),
        when=compile_guard(trigger.when, types),
        purposes=_purposes(trigger, strategy),
    )


def _purposes(trigger: Trigger, strategy: Strategy) -> frozenset[str]:
    offers = [offer for offer in strategy.offers if not trigger.offers or offer.name in trigger.offers]
    needed = {purpose for offer in offers for purpose in purposes_of(offer)}
    return frozenset({*needed, trigger.contact.channel, *(wave.contact.channel for wave in trigger.waves)})
