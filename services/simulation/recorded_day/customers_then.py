"""Customers as of the recorded moments: states folded from the archived events by a strategy's own features.

Whoever is linked is read as of the same moment, wherever their own decisions stand.
"""

from bisect import bisect_right
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from decision_engine.customer import UNKNOWN_CUSTOMER, CustomerSnapshot
from decision_engine.features.compiled import CompiledFeatures
from decision_engine.features.definitions import Value
from decision_engine.features.fold import fold
from decision_engine.features.linked import LinkKind, LinkRef
from decision_engine.features.record import RecordMemory
from decision_engine.features.snapshot import read_snapshot
from decision_engine.features.update import PositionedUpdate
from decision_engine.strategy import Strategy
from event_schemas.topics import STATE_TOPICS, topic_for
from services.simulation.recorded_day.customer_events import CustomerEvents
from services.simulation.recorded_day.feature_parts import Holds, holds_of
from services.simulation.recorded_day.parted_states import PartedStates
from services.simulation.recorded_day.sides import ReadFeatures
from services.simulation.recorded_day.sorted_archive import SaidLink
from services.use_cases.linked_customers import linked_refs, linked_values

_HOUR_MS = 3_600_000
_OF_THE_RECORD = ("bank.profile.updated", "bank.consent.changed", "bank.customer.erased", "bank.product.opened")
"""Events that change profile, consents and holdings, whatever the features; what closes products is beside them."""


def topics_of(features: CompiledFeatures) -> frozenset[int]:
    """The topics, by their places in `STATE_TOPICS`, whose events can change what these features read."""
    sources = {*features.plans, *_OF_THE_RECORD}
    return frozenset(STATE_TOPICS.index(topic_for(source)) for source in sources)


Members = Sequence[Sequence[CustomerSnapshot]]
"""By link those whom it leads to."""


@dataclass(slots=True)
class _Known:
    """How far a customer was folded, and what was last read."""

    marks: list[int] = field(default_factory=lambda: [0])
    states: list[bytes | None] = field(default_factory=lambda: [None])
    read_at: tuple[int, int, int] | None = None
    snapshot: CustomerSnapshot = UNKNOWN_CUSTOMER
    record: RecordMemory = field(default_factory=RecordMemory)


class MembersThen:
    """Those whom customers are linked to, by the few features that are asked of them."""

    def __init__(self, features: CompiledFeatures, events: Mapping[str, CustomerEvents], again: Container[str]) -> None:
        self._features = features
        self._events = events
        self._again = again
        """Customers that are asked for earlier moments after later ones."""
        self._known: dict[str, _Known] = {}
        self._reusable = holds_of(features.declarations) is not Holds.MOMENT

    def warm(self, customer: str, until_ms: int) -> None:
        """Folds what a customer did before that moment."""
        events = self._events.get(customer)
        if events is not None:
            known = self._known.setdefault(customer, _Known())
            self._state(customer, events, known, bisect_right(events.times, until_ms))

    def snapshot(self, customer: str, now_ms: int) -> CustomerSnapshot:
        """The customer as of that moment. Raises StateUnreadable, DecisionEngineError."""
        events = self._events.get(customer)
        if events is None:
            return UNKNOWN_CUSTOMER
        known = self._known.get(customer)
        if known is None:
            known = self._known[customer] = _Known()
        place = bisect_right(events.times, now_ms)
        moment = (place, now_ms // _HOUR_MS, self._features.day_of(now_ms)) if self._reusable else (place, now_ms, 0)
        if known.read_at != moment:
            state = self._state(customer, events, known, place)
            known.snapshot = read_snapshot(self._features, state, now_ms, known.record)
            known.read_at = moment
        return known.snapshot

    def _state(self, customer: str, events: CustomerEvents, known: _Known, place: int) -> bytes | None:
        """The state after the first `place` events."""
        at = bisect_right(known.marks, place) - 1
        state, mark = known.states[at], known.marks[at]
        if mark == place:
            return state
        found = [(number, events.events[number].update()) for number in range(mark, place)]
        updates = [PositionedUpdate(events.topics[n], n, update) for n, update in found if update is not None]
        if updates:
            state = fold(self._features, state, updates).value
        if customer not in self._again:
            known.marks.clear()
            known.states.clear()
            at = -1
        known.marks.insert(at + 1, place)
        known.states.insert(at + 1, state)
        return state


class CustomersThen:
    """The customers of one partition as one strategy knows them, with what their households and companies give.
    `events` may be shared with others."""

    def __init__(
        self, features: ReadFeatures, strategy: Strategy, events: Mapping[str, CustomerEvents], said: Sequence[SaidLink]
    ) -> None:
        self._strategy = strategy
        self._members: dict[tuple[str, str], list[SaidLink]] = {}
        self._said_by: dict[str, set[tuple[str, str]]] = {}
        for each in said:
            self._members.setdefault((each.link, each.value), []).append(each)
            self._said_by.setdefault(each.customer, set()).add((each.link, each.value))
        self._of_members = [each.attribute for each in strategy.linked if each.attribute is not None]
        self._linked: dict[str, _Linked] = {}
        self.own = PartedStates(features.own, events)
        self.others: MembersThen | None = None
        if features.members is not None:
            asked_again = {name for each in said for name in (each.customer, each.value)}
            topics = topics_of(features.members)
            theirs = {name: events[name].only(topics) for name in asked_again if name in events}
            self.others = MembersThen(features.members, theirs, asked_again)

    def warm(self, customer: str, until_ms: int) -> None:
        """Folds what a customer, and everybody linked to them by then, did before that moment."""
        self.own.warm(customer, until_ms)
        if self.others is None:
            return
        for place in self._said_by.get(customer, ()):
            others = {each.customer for each in self._members[place] if each.at_ms <= until_ms} - {customer}
            for other in (*others, place[1]):  # the latter is a customer itself where the link leads to one
                self.others.warm(other, until_ms)

    def snapshot(self, customer: str, now_ms: int, *, with_links: bool = True) -> CustomerSnapshot:
        """The customer as of that moment. Raises StateUnreadable, DecisionEngineError."""
        own, others = self.own.snapshot(customer, now_ms), self.others
        if others is None or not with_links or not own.known:
            return own
        known = self._linked.get(customer)
        same = known is not None and known.own is own
        refs = known.refs if known is not None and same else linked_refs(self._strategy, own)
        if not refs:
            return own
        found = [[others.snapshot(name, now_ms) for name in self._others(ref, customer, now_ms)] for ref in refs]
        if known is not None and same and _same(known.found, found):
            return known.snapshot
        values = self._values(known, own, refs, found)
        linked = CustomerSnapshot(
            known=True,
            attributes={**own.attributes, **values},
            holdings=own.holdings,
            consents=own.consents,
            newest_event_ms=own.newest_event_ms,
        )
        self._linked[customer] = _Linked(own, refs, found, values, linked)
        return linked

    def _values(
        self, known: "_Linked | None", own: CustomerSnapshot, refs: Sequence[LinkRef], found: Members
    ) -> Mapping[str, Value]:
        """The linked attributes, found anew when the customer's part in them or that of the others has changed."""
        if known is not None and known.refs == refs and _same(known.found, found):
            before, now = known.own.attributes, own.attributes
            if all(before.get(name) == now.get(name) for name in self._of_members):
                return known.values
        return linked_values(self._strategy, own, refs, found)

    def _others(self, ref: LinkRef, customer: str, now_ms: int) -> list[str]:
        if ref.link.kind is LinkKind.TO:
            return [ref.value]
        newest: dict[str, int] = {}
        for said in self._members.get((ref.link.name, ref.value), ()):
            if said.at_ms <= now_ms and said.customer != customer:
                newest[said.customer] = max(said.at_ms, newest.get(said.customer, 0))
        return sorted(newest, key=lambda other: (-newest[other], other))


class _Linked(NamedTuple):
    """A customer with what links gave last: as known alone, the links, whom they led to, their attributes, and all
    together."""

    own: CustomerSnapshot
    refs: Sequence[LinkRef]
    found: Members
    values: Mapping[str, Value]
    snapshot: CustomerSnapshot


def _same(known: Members, found: Members) -> bool:
    """Whether these are the very same snapshots; who has not changed is read once."""
    return len(known) == len(found) and all(
        len(ours) == len(theirs) and all(one is other for one, other in zip(ours, theirs, strict=True))
        for ours, theirs in zip(known, found, strict=True)
    )
