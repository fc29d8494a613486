"""What the ledger may reserve: each offer as an alternative with its concrete rules, made once while these stay alike.

A rule of a rolling window says how far back it reaches, one of a calendar window when that began, so that an offer's
rules change with the calendar only. Offers share the rules that do not count the offer itself.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass

from decision_engine.contact_ledger import Alternative, ContactRule
from decision_engine.contact_policy import ContactMoment, ContactPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePlan:
    """The places of the limits with a calendar window, and by channel what held when it was last asked for (a memory,
    filled on use)."""

    calendar: tuple[int, ...]
    eras: MutableMapping[int, "_Era"]


@dataclass(frozen=True, slots=True)
class _Era:
    """While no calendar window moves: where they begin, the alternatives by offer, and each distinct rule (memories,
    filled on use)."""

    starts: tuple[int, ...]
    alternatives: MutableMapping[int, Alternative]
    rules: MutableMapping[ContactRule, ContactRule]


def plan_rules(contacts: ContactPlan) -> RulePlan:
    """Finds what moves with the calendar."""
    limits = enumerate(contacts.limits)
    return RulePlan(calendar=tuple(n for n, limit in limits if limit.limit.window.calendar is not None), eras={})


class MomentAlternatives:
    """The offers as alternatives at one moment in one channel, with the rules that `ContactMoment.rules_for` makes."""

    def __init__(self, plan: RulePlan, moment: ContactMoment) -> None:
        self._moment = moment
        starts = tuple([moment.starts[place] for place in plan.calendar])
        era = plan.eras.get(moment.channel)
        if era is None or era.starts != starts:
            era = plan.eras[moment.channel] = _Era(starts, {}, {})
        self._era = era

    def of(self, offer: int) -> Alternative:
        """One offer; the same value again and again, so that it can be known by its identity."""
        known = self._era.alternatives.get(offer)
        if known is None:
            known = self._era.alternatives[offer] = self._made(offer)
        return known

    def _made(self, offer: int) -> Alternative:
        plan, once = self._moment.plan, self._era.rules.setdefault
        keys = plan.keys[offer]
        return Alternative(
            offer=keys.offer,
            group=keys.group,
            issue=keys.issue,
            channel=self._moment.channel,
            mandatory=bool(plan.exempt[offer]),
            rules=tuple(once(rule, rule) for rule in self._moment.rules_for(offer)),
            outbound=self._moment.outbound,
        )
