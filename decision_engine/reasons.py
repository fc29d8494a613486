"""Reasons: why an offer fits this person, in words people can read."""

from collections.abc import Sequence
from dataclasses import dataclass

from decision_engine.condition_bits import ConditionBits
from decision_engine.offers import LocalText, Offer
from decision_engine.rejections import Mask

MOST_REASONS = 3
"""More than three reasons convince nobody."""

Reasons = tuple[tuple[str, str], ...]
"""Pairs of reason code and text."""


@dataclass(frozen=True, slots=True)
class PlannedReason:
    """A reason with the place of its condition."""

    place: int
    code: str
    text: LocalText


@dataclass(frozen=True, slots=True)
class ReasonPlan:
    """The reasons of each offer, in the order declared, and the locale that stands in for a missing one."""

    of_offer: tuple[tuple[PlannedReason, ...], ...]
    first_locale: str


def plan_reasons(offers: Sequence[Offer], conditions: ConditionBits, first_locale: str) -> ReasonPlan:
    """Finds the condition of every reason."""
    return ReasonPlan(
        tuple(tuple(PlannedReason(conditions.places[r.when], r.code, r.text) for r in o.reasons) for o in offers),
        first_locale,
    )


def reasons_for(plan: ReasonPlan, offer: int, truth: Mask, locale: str) -> Reasons:
    """The first reasons that hold, in the locale asked for or else the strategy's first."""
    held = [
        (reason.code, reason.text.get(locale) or reason.text.get(plan.first_locale, reason.code))
        for reason in plan.of_offer[offer]
        if truth.item(reason.place)
    ]
    return tuple(held[:MOST_REASONS])
