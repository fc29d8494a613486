"""The contact limits made concrete for the offers of a reservation, many at once.

Offers of one group and issue that the same limits hold share all their rules but those that count the offer itself.
What does not depend on the moment is lined up once a channel, so that a decision only fills in when windows began.
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
    """The kind of each offer, by number among the distinct ones; and what each kind is held by in the channels met so
    far (a memory, filled on first use): pairs of a limit's place and the key it counts, `OWN` for the offer's."""

    kind_of: tuple[int, ...]
    kinds: tuple[_Kind, ...]
    held_in: MutableMapping[int, tuple[tuple[tuple[int, int], ...], ...]]


def plan_rules(contacts: ContactPlan) -> RulePlan:
    """Sorts the offers into kinds."""
    held = [limit.holds.tolist() for limit in contacts.limits]
    kinds = [
        _Kind(keys.group, keys.issue, tuple(place for place, holds in enumerate(held) if holds[offer]))
        for offer, keys in enumerate(contacts.keys)
    ]
    distinct = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    return RulePlan(kind_of=tuple(distinct[kind] for kind in kinds), kinds=tuple(distinct), held_in={})


class MomentRules:
    """The rules at one moment in one channel, the same as `ContactMoment.rules_for` makes one by one."""

    def __init__(self, plan: RulePlan, moment: ContactMoment) -> None:
        self._plan = plan
        self._moment = moment
        self._held = plan.held_in.get(moment.channel) or _held_in(plan, moment)
        self._templates: dict[int, _Template] = {}
        self._made: dict[tuple[int, int], ContactRule] = {}

    def of(self, offer: int) -> tuple[ContactRule, ...]:
        """The rules of one offer, in the order of the limits."""
        kind = self._plan.kind_of[offer]
        template = self._templates.get(kind)
        if template is None:
            template = self._templates[kind] = self._template(kind)
        if not template.own:
            return tuple(template.rules)
        rules, key = template.rules.copy(), self._moment.plan.keys[offer].offer
        for index, (id_, scope, _, statuses, clock, since_ms, limit, code, without, direction) in template.own:
            # Made as a plain tuple is: this is the innermost loop of a decision's reservation.
            rules[index] = _new(
                ContactRule, (id_, scope, key, statuses, clock, since_ms, limit, code, without, direction)
            )
        return tuple(rules)

    def _template(self, kind: int) -> "_Template":
        """The rules of a kind, with a stand-in where the offer's own go."""
        made = self._made
        rules: list[ContactRule] = []
        own: list[tuple[int, ContactRule]] = []
        for held in self._held[kind]:
            rule = made.get(held)
            if rule is None:
                rule = made[held] = self._moment.make_rule(*held)
            if held[1] == OWN:
                own.append((len(rules), rule))
            rules.append(rule)
        return _Template(rules, own)


@dataclass(frozen=True, slots=True)
class _Template:
    """The rules of a kind; `own` are those that count the offer itself, with their index, for want of its key."""

    rules: list[ContactRule]
    own: list[tuple[int, ContactRule]]


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
