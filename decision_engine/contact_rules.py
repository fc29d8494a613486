"""The contact limits made concrete for the offers of a reservation, many at once.

Offers of one group and issue that the same limits hold share all their rules but those that count the offer itself.
What does not depend on the moment is lined up once a channel, and what moves with the calendar once a day, so that a
decision only makes the rules of rolling windows, and those that count the offer itself.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass

from decision_engine.contact_ledger import ContactRule, Scope
from decision_engine.contact_policy import ContactMoment, ContactPlan

_new = tuple.__new__
OWN = -1
"""Stands for the key of the offer itself; keys are not negative."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Offers with the same rules but for the offer's own: their group and issue, and the limits that hold them."""

    group: int
    issue: int
    limits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePlan:
    """The kind of each offer, by number among the distinct ones; the places of the limits with a calendar window; and
    what each kind is held by in the channels met so far (a memory, filled on first use): pairs of a limit's place and
    the key it counts, `OWN` for the offer's. `eras` is by channel what held when it was last asked for."""

    kind_of: tuple[int, ...]
    kinds: tuple[_Kind, ...]
    calendar: tuple[int, ...]
    held_in: MutableMapping[int, tuple[tuple[tuple[int, int], ...], ...]]
    eras: MutableMapping[int, "_Era"]


@dataclass(frozen=True, slots=True)
class _Template:
    """The rules of a kind. Still to be made are the `rolling` ones, each with its index and what it counts, and the
    offer's `own`, with index and place among the limits, for want of when the window begins and of the key."""

    rules: tuple[ContactRule, ...]
    rolling: tuple[tuple[int, tuple[int, int]], ...]
    own: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Era:
    """While no calendar window moves: where they begin, and the templates by kind (a memory, filled on use)."""

    starts: tuple[float, ...]
    templates: MutableMapping[int, _Template]
    rules: MutableMapping[tuple[int, int], ContactRule]
    """One of each limit and key, of whatever moment of the era."""


def plan_rules(contacts: ContactPlan) -> RulePlan:
    """Sorts the offers into kinds."""
    held = [limit.holds.tolist() for limit in contacts.limits]
    kinds = [
        _Kind(keys.group, keys.issue, tuple(place for place, holds in enumerate(held) if holds[offer]))
        for offer, keys in enumerate(contacts.keys)
    ]
    distinct = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    return RulePlan(
        kind_of=tuple(distinct[kind] for kind in kinds),
        kinds=tuple(distinct),
        calendar=tuple(n for n, limit in enumerate(contacts.limits) if limit.limit.window.calendar is not None),
        held_in={},
        eras={},
    )


class MomentRules:
    """The rules at one moment in one channel, the same as `ContactMoment.rules_for` makes one by one."""

    def __init__(self, plan: RulePlan, moment: ContactMoment) -> None:
        self._plan = plan
        self._moment = moment
        starts = tuple([moment.starts[place] for place in plan.calendar])
        era = plan.eras.get(moment.channel)
        if era is None or era.starts != starts:
            era = plan.eras[moment.channel] = _Era(starts, {}, {})
        self._era = era
        self._shared: dict[int, list[ContactRule]] = {}
        self._made: dict[tuple[int, int], ContactRule] = {}

    def of(self, offer: int) -> tuple[ContactRule, ...]:
        """The rules of one offer, in the order of the limits."""
        kind = self._plan.kind_of[offer]
        template = self._era.templates.get(kind) or self._template(kind)
        shared = self._shared.get(kind)
        if shared is None:
            shared = self._shared[kind] = self._now(template)
        if not template.own:
            return tuple(shared)
        rules, key, starts = shared.copy(), self._moment.plan.keys[offer].offer, self._moment.starts
        for index, place in template.own:
            id_, scope, _, statuses, clock, _, limit, code, without, direction = template.rules[index]
            # Made as a plain tuple is: this is the innermost loop of a decision's reservation.
            rules[index] = _new(
                ContactRule, (id_, scope, key, statuses, clock, starts[place], limit, code, without, direction)
            )
        return tuple(rules)

    def _now(self, template: _Template) -> list[ContactRule]:
        """The template's rules at this moment; the offer's own still stand for themselves."""
        rules, made, starts = list(template.rules), self._made, self._moment.starts
        for index, held in template.rolling:
            rule = made.get(held)
            if rule is None:
                id_, scope, key, statuses, clock, _, limit, code, without, direction = rules[index]
                rule = made[held] = _new(
                    ContactRule, (id_, scope, key, statuses, clock, starts[held[0]], limit, code, without, direction)
                )
            rules[index] = rule
        return rules

    def _template(self, kind: int) -> _Template:
        """The rules of a kind, with a stand-in where the offer's own go."""
        known, calendar = self._era.rules, self._plan.calendar
        held = (self._plan.held_in.get(self._moment.channel) or _held_in(self._plan, self._moment))[kind]
        for each in held:
            if each not in known:
                known[each] = self._moment.make_rule(*each)
        template = self._era.templates[kind] = _Template(
            rules=tuple(known[each] for each in held),
            rolling=tuple((n, each) for n, each in enumerate(held) if each[1] != OWN and each[0] not in calendar),
            own=tuple((n, place) for n, (place, key) in enumerate(held) if key == OWN),
        )
        return template


def _held_in(plan: RulePlan, moment: ContactMoment) -> tuple[tuple[tuple[int, int], ...], ...]:
    concerning = {place for place, limit in enumerate(moment.plan.limits) if moment.concerns(limit)}
    held = tuple(
        tuple((place, _key(moment, kind, place)) for place in kind.limits if place in concerning) for kind in plan.kinds
    )
    plan.held_in[moment.channel] = held
    return held


def _key(moment: ContactMoment, kind: _Kind, place: int) -> int:
    limit = moment.plan.limits[place]
    if limit.key is not None:
        return limit.key
    if limit.scope is Scope.OFFER:
        return OWN
    return {Scope.ALL: 0, Scope.GROUP: kind.group, Scope.ISSUE: kind.issue, Scope.CHANNEL: moment.channel}[limit.scope]
