"""Contact policy: frequency caps, cool-downs and suppressions of one person over all channels.

Every limit is counted once a decision over the person's records; what remains is to look up whose key is full.
The ledger runs the very same rules again, atomically, when it reserves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from zoneinfo import ZoneInfo

import numpy as np

from decision_engine.calendar_windows import window_start_ms
from decision_engine.contact_ledger import ContactClock, ContactRecord, ContactRule, Scope
from decision_engine.identifiers import key32
from decision_engine.offers import Offer
from decision_engine.outcomes import ContactStatus, Stage
from decision_engine.rejections import PASSED, EngineRejection, Falls, Indexes, Mask, Rejection
from decision_engine.strategy import ContactLimit, ContactWindow

_RESERVED = int(ContactStatus.RESERVED)
_ANY_RESPONSE = int(ContactStatus.ANY_RESPONSE)
_KEY_OF: Mapping[Scope, Callable[[ContactRecord], int]] = {
    Scope.OFFER: attrgetter("offer"),
    Scope.GROUP: attrgetter("group"),
    Scope.ISSUE: attrgetter("issue"),
    Scope.CHANNEL: attrgetter("channel"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferKeys:
    """An offer's name, group and issue as the ledger stores them."""

    offer: int
    group: int
    issue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPlan:
    """The limits, with the one key each speaks of (None: each key by itself) and the place of its window among the
    distinct ones; and which offers stand behind each key of a scope. `exempt` are the mandatory offers, `marketing`
    those that cannot be made without the ledger.
    """

    limits: tuple[ContactLimit, ...]
    only_keys: tuple[int | None, ...]
    windows: tuple[ContactWindow, ...]
    window_of: tuple[int, ...]
    zone: ZoneInfo
    first_number: int
    keys: tuple[OfferKeys, ...]
    members: Mapping[Scope, Mapping[int, Indexes]]
    exempt: Mask
    marketing: Mask


def plan_contacts(
    offers: Sequence[Offer], limits: Sequence[ContactLimit], zone: ZoneInfo, first_number: int
) -> tuple[ContactPlan, tuple[Rejection, ...]]:
    """Prepares keys and memberships; the rejections, one a limit, are numbered from `first_number`."""
    keys = tuple(OfferKeys(offer=key32(o.name), group=key32(o.group), issue=key32(o.issue)) for o in offers)
    windows = tuple(dict.fromkeys(limit.window for limit in limits))
    plan = ContactPlan(
        limits=tuple(limits),
        only_keys=tuple(None if limit.of is None or limit.scope is Scope.ALL else key32(limit.of) for limit in limits),
        windows=windows,
        window_of=tuple(windows.index(limit.window) for limit in limits),
        zone=zone,
        first_number=first_number,
        keys=keys,
        members={
            Scope.OFFER: _members([key.offer for key in keys]),
            Scope.GROUP: _members([key.group for key in keys]),
            Scope.ISSUE: _members([key.issue for key in keys]),
        },
        exempt=np.array([offer.mandatory for offer in offers], np.bool_),
        marketing=np.array([offer.purpose == "marketing" for offer in offers], np.bool_),
    )
    return plan, tuple(Rejection(Stage.CONTACT_POLICY, limit.id, limit.code) for limit in limits)


class ContactMoment:
    """The limits at one moment in one channel (its 32-bit key): window starts are found once, rules made once."""

    def __init__(self, plan: ContactPlan, channel: int, now_ms: int) -> None:
        self.plan = plan
        self.channel = channel
        self.now_ms = now_ms
        starts = [window_start_ms(window, now_ms, plan.zone) for window in plan.windows]
        self.starts = [starts[place] for place in plan.window_of]
        self._rules: dict[tuple[int, int], ContactRule] = {}

    def rules_for(self, offer: int) -> tuple[ContactRule, ...]:
        """The limits made concrete for one offer; none for a mandatory offer."""
        if self.plan.exempt[offer]:
            return ()
        keys = self.plan.keys[offer]
        by_scope = (0, keys.offer, keys.group, keys.issue, self.channel)
        return tuple(
            self._rule(place, by_scope[limit.scope])
            for place, limit in enumerate(self.plan.limits)
            if self.plan.only_keys[place] in (None, by_scope[limit.scope])
        )

    def _rule(self, place: int, key: int) -> ContactRule:
        rule = self._rules.get((place, key))
        if rule is None:
            limit = self.plan.limits[place]
            rule = self._rules[place, key] = ContactRule(
                id=limit.id,
                scope=limit.scope,
                key=key,
                statuses=int(limit.statuses),
                clock=limit.clock,
                since_ms=self.starts[place],
                limit=limit.limit,
                code=limit.code,
            )
        return rule


def screen_contacts(moment: ContactMoment, records: Sequence[ContactRecord]) -> Falls:
    """Which offers are at a limit now."""
    plan = moment.plan
    falls = np.full(len(plan.keys), PASSED, np.int16)
    live = _live(records, moment.now_ms)
    if live:
        for place in reversed(range(len(plan.limits))):  # the first limit that refuses is the one that counts
            falls[_offers_at_limit(moment, place, live)] = plan.first_number + place
        falls[plan.exempt] = PASSED
    return falls


def screen_without_ledger(plan: ContactPlan) -> Falls:
    """With the ledger out of reach no cap can be kept, so only service and mandatory offers may be made."""
    refused = plan.marketing & ~plan.exempt
    return np.where(refused, np.int16(EngineRejection.LEDGER_UNAVAILABLE), np.int16(PASSED))


def _members(keys: Sequence[int]) -> dict[int, Indexes]:
    members: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    return {key: np.array(indexes, np.intp) for key, indexes in members.items()}


_Live = list[tuple[int, ContactRecord]]


def _live(records: Sequence[ContactRecord], now_ms: int) -> _Live:
    """The records that can count, each with the status it counts as; a lapsed reservation is none."""
    live: _Live = []
    for record in records:
        if record.status != _RESERVED:
            live.append((record.status & _ANY_RESPONSE, record))
        elif record.expires_ms > now_ms:
            live.append((_RESERVED, record))
    return live


def _offers_at_limit(moment: ContactMoment, place: int, live: _Live) -> Indexes | slice:
    """The offers a limit refuses, as an index into the offers."""
    plan, limit, since = moment.plan, moment.plan.limits[place], moment.starts[place]
    statuses = int(limit.statuses)
    if limit.clock is ContactClock.CONTACT:
        matching = [r for status, r in live if status & statuses and r.contact_ms >= since]
    else:
        matching = [r for status, r in live if status & statuses and r.outcome_ms >= since]
    everything, nothing = slice(None), slice(0, 0)
    if len(matching) < limit.limit:
        return nothing
    if limit.scope is Scope.ALL:
        return everything
    only = plan.only_keys[place]
    counts: dict[int, int] = {}
    for key in map(_KEY_OF[limit.scope], matching):
        counts[key] = counts.get(key, 0) + 1
    full = [key for key, count in counts.items() if count >= limit.limit and only in (None, key)]
    if limit.scope is Scope.CHANNEL:
        return everything if moment.channel in full else nothing
    members = plan.members[limit.scope]
    return np.concatenate([members[key] for key in full if key in members] or [np.empty(0, np.intp)])
