"""Contact policy: frequency caps, cool-downs and suppressions of one person over all channels.

Every limit is counted once a decision over the person's records; what remains is to look up whose key is full.
The ledger runs the very same rules again, atomically, when it reserves.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from decision_engine.calendar_windows import DAY_MINUTES, first_moment_ms, local_time, window_start_ms
from decision_engine.contact_counting import TIME_OF, LiveRecords, MatchingRecords, live_records
from decision_engine.contact_ledger import (
    ContactClock,
    ContactRecord,
    ContactRule,
    Direction,
    Scope,
)
from decision_engine.identifiers import key32
from decision_engine.offers import Offer
from decision_engine.outcomes import Stage
from decision_engine.rejections import PASSED, EngineRejection, Falls, Indexes, Mask, Rejection
from decision_engine.strategy import AppliesTo, ContactLimit, ContactWindow

_NONE: Indexes = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferKeys:
    """An offer's name, group and issue as the ledger stores them."""

    offer: int
    group: int
    issue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLimit:
    """A limit made ready. It counts contacts whose key in the `scope` is `key` (None: each key by itself), and holds
    back the offers of `holds`, in one `channel` (its key) or in all of them. `window` is the place of its window among
    the distinct ones, `counting` that of what it counts: limits alike in it differ in window, scope and number only.
    `statuses` and `without` are the limit's, as plain numbers."""

    limit: ContactLimit
    scope: Scope
    key: int | None
    holds: Mask
    channel: int | None
    window: int
    counting: int
    statuses: int
    without: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPlan:
    """The limits in the order they are tried, and which offers stand behind each key of a scope. `held_by` are the
    offers that each kind of rule concerns, `exempt` the mandatory ones, `marketing` those that cannot be made without
    the ledger, `outbound` the keys of the channels in which the bank comes to the customer.
    """

    limits: tuple[PlannedLimit, ...]
    windows: tuple[ContactWindow, ...]
    backs: tuple[int | None, ...]
    """By window how far back it begins, in milliseconds below zero; None of a calendar window."""
    window_of: tuple[int, ...]
    """By limit the place of its window."""
    zone: ZoneInfo
    first_number: int
    keys: tuple[OfferKeys, ...]
    members: Mapping[Scope, Mapping[int, Indexes]]
    held_by: Mapping[AppliesTo, Mask]
    exempt: Mask
    marketing: Mask
    outbound: frozenset[int]
    calendar_starts: MutableMapping[str, tuple[int, int, int]]
    """By calendar window: its start, and the local day it holds for (a memory, filled on use)."""
    concerning: MutableMapping[int, tuple[int, ...]]
    """By channel the places of the limits that hold anything back in it, last first (a memory, filled on use)."""


def plan_contacts(
    offers: Sequence[Offer],
    limits: Sequence[ContactLimit],
    zone: ZoneInfo,
    first_number: int,
    outbound: Collection[str] = (),
) -> tuple[ContactPlan, tuple[Rejection, ...]]:
    """Prepares keys and memberships; the rejections, one a limit, are numbered from `first_number`. `outbound` names
    the channels in which the bank comes to the customer."""
    keys = tuple(OfferKeys(offer=key32(o.name), group=key32(o.group), issue=key32(o.issue)) for o in offers)
    windows = tuple(dict.fromkeys(limit.window for limit in limits))
    countings = list(dict.fromkeys(map(_counting, limits)))
    members = {
        Scope.OFFER: _members([key.offer for key in keys]),
        Scope.GROUP: _members([key.group for key in keys]),
        Scope.ISSUE: _members([key.issue for key in keys]),
    }
    mandatory = np.array([offer.mandatory for offer in offers], np.bool_)
    marketing = np.array([offer.purpose == "marketing" for offer in offers], np.bool_)
    held_by = {
        AppliesTo.MARKETING: marketing & ~mandatory,
        AppliesTo.OPTIONAL: ~mandatory,
        AppliesTo.ALL: np.ones(len(keys), np.bool_),
    }
    plan = ContactPlan(
        limits=tuple(
            _planned(limit, windows.index(limit.window), countings.index(_counting(limit)), members, held_by)
            for limit in limits
        ),
        windows=windows,
        backs=tuple(window_start_ms(each, 0, zone) if each.calendar is None else None for each in windows),
        window_of=tuple(windows.index(limit.window) for limit in limits),
        zone=zone,
        first_number=first_number,
        keys=keys,
        members=members,
        held_by=held_by,
        exempt=mandatory,
        marketing=marketing,
        outbound=frozenset(map(key32, outbound)),
        calendar_starts={},
        concerning={},
    )
    return plan, tuple(Rejection(Stage.CONTACT_POLICY, limit.id, limit.code) for limit in limits)


class ContactMoment:
    """The limits at one moment in one channel (its 32-bit key): window starts are found once."""

    def __init__(self, plan: ContactPlan, channel: int, now_ms: int) -> None:
        self.plan = plan
        self.channel = channel
        self.now_ms = now_ms
        self.outbound = channel in plan.outbound
        starts = [
            _calendar_start_ms(plan, window, now_ms) if back is None else now_ms + back
            for window, back in zip(plan.windows, plan.backs, strict=True)
        ]
        self.starts = [starts[place] for place in plan.window_of]

    def rules_for(self, offer: int) -> tuple[ContactRule, ...]:
        """The limits made concrete for one offer; none for an offer exempt from all."""
        keys = self.plan.keys[offer]
        by_scope = (0, keys.offer, keys.group, keys.issue, self.channel)
        return tuple(
            self.make_rule(place, by_scope[planned.scope] if planned.key is None else planned.key)
            for place, planned in enumerate(self.plan.limits)
            if planned.holds[offer] and self.concerns(planned)
        )

    def concerns(self, planned: PlannedLimit) -> bool:
        """Whether the limit holds anything back in this channel and its direction."""
        direction = Direction.OUTBOUND if self.outbound else Direction.INBOUND
        return planned.channel in (None, self.channel) and planned.limit.direction in (Direction.ANY, direction)

    def make_rule(self, place: int, key: int) -> ContactRule:
        """The limit at that place made concrete for the key it counts; a rolling window as how far it reaches back."""
        planned = self.plan.limits[place]
        limit, start = planned.limit, self.starts[place]
        return ContactRule(
            limit.id,
            planned.scope,
            key,
            planned.statuses,
            limit.clock,
            start if limit.window.rolling_seconds is None else start - self.now_ms,
            limit.limit,
            limit.code,
            planned.without,
            limit.direction,
        )


def _calendar_start_ms(plan: ContactPlan, window: ContactWindow, now_ms: int) -> int:
    """Where a calendar window begins, found once for each local day."""
    start, since, until = plan.calendar_starts.get(str(window.calendar), (0, 0, 0))
    if not since <= now_ms < until:
        today = local_time(now_ms, plan.zone).date()
        start = window_start_ms(window, now_ms, plan.zone)
        since, until = (first_moment_ms(today, minute, plan.zone) for minute in (0, DAY_MINUTES))
        plan.calendar_starts[str(window.calendar)] = start, since, until
    return start


def screen_contacts(moment: ContactMoment, records: Sequence[ContactRecord]) -> Falls | None:
    """Which offers are at a limit now; None when none is."""
    plan = moment.plan
    live = live_records(records, moment.now_ms)
    if not live.records and not live.lost:
        return None
    falls: Falls | None = None
    matching: dict[int, MatchingRecords] = {}
    for place in _concerning(moment):  # the first limit that refuses is the one that counts
        if not live.lost and not _enough(plan.limits[place], live, matching):
            continue
        full = _offers_at_limit(moment, place, live, matching)
        if full is not None and not len(full):
            continue
        if falls is None:
            falls = np.full(len(plan.keys), PASSED, np.int16)
        held = plan.limits[place].holds
        falls[held if full is None else full[held[full]]] = plan.first_number + place
    return falls


def screen_without_ledger(plan: ContactPlan) -> Falls:
    """With the ledger out of reach no cap can be kept, so only service and mandatory offers may be made."""
    refused = plan.marketing & ~plan.exempt
    return np.where(refused, np.int16(EngineRejection.LEDGER_UNAVAILABLE), np.int16(PASSED))


def _concerning(moment: ContactMoment) -> tuple[int, ...]:
    places = moment.plan.concerning.get(moment.channel)
    if places is None:
        limits = moment.plan.limits
        places = tuple(place for place in reversed(range(len(limits))) if moment.concerns(limits[place]))
        moment.plan.concerning[moment.channel] = places
    return places


def _members(keys: Sequence[int]) -> dict[int, Indexes]:
    members: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    return {key: np.array(indexes, np.intp) for key, indexes in members.items()}


def _counting(limit: ContactLimit) -> tuple[int, int, Direction, ContactClock]:
    """What a limit counts, wherever and since whenever it does."""
    return int(limit.statuses), int(limit.without), limit.direction, limit.clock


def _planned(
    limit: ContactLimit,
    window: int,
    counting: int,
    members: Mapping[Scope, Mapping[int, Indexes]],
    held_by: Mapping[AppliesTo, Mask],
) -> PlannedLimit:
    of = None if limit.of is None or limit.scope is Scope.ALL else key32(limit.of)
    holds = held_by[limit.applies_to].copy()
    if of is not None and limit.scope is not Scope.CHANNEL:
        named = np.zeros(len(holds), np.bool_)
        named[members[limit.scope].get(of, np.empty(0, np.intp))] = True
        holds &= named
    return PlannedLimit(
        limit=limit,
        scope=limit.scope if limit.related is None else limit.related.scope,
        key=of if limit.related is None else key32(limit.related.name),
        holds=holds,
        channel=of if limit.scope is Scope.CHANNEL else None,
        window=window,
        counting=counting,
        statuses=int(limit.statuses),
        without=int(limit.without),
    )


def _enough(planned: PlannedLimit, live: LiveRecords, known: Mapping[int, MatchingRecords]) -> bool:
    """Whether there may be as many records as the limit takes, as far as is known without looking for them."""
    most, matching = planned.limit.limit, known.get(planned.counting)
    return len(live.records) >= most and (matching is None or len(matching.times) >= most)


def _offers_at_limit(
    moment: ContactMoment, place: int, live: LiveRecords, known: MutableMapping[int, MatchingRecords]
) -> Indexes | None:
    """The offers whose key is full, as an index into the offers; None for all of them."""
    plan, planned, since = moment.plan, moment.plan.limits[place], moment.starts[place]
    limit = planned.limit
    if live.lost and any(r.status & planned.statuses and TIME_OF[limit.clock](r) >= since for r in live.lost):
        return None
    matching = known.get(planned.counting)
    if matching is None:
        matching = known[planned.counting] = MatchingRecords(limit, live, outbound=moment.outbound)
    first = bisect_left(matching.times, since)
    if len(matching.times) - first < limit.limit:
        return _NONE
    if planned.scope is Scope.ALL:
        return None
    keys = matching.keys(planned.scope)[first:]
    key = moment.channel if planned.key is None and planned.scope is Scope.CHANNEL else planned.key
    if key is not None:
        return None if keys.count(key) >= limit.limit else _NONE
    members = plan.members[planned.scope]
    if len(keys) - len(set(keys)) < limit.limit - 1:  # no key stands so often
        return _NONE
    counted = Counter(keys).items() if limit.limit > 1 else [(key, 1) for key in set(keys)]
    full = [members[found] for found, count in counted if count >= limit.limit and found in members]
    return np.concatenate(full) if full else _NONE
