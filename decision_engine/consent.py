"""Consent: what this person allowed, and which offers need more than that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from decision_engine.customer import CustomerSnapshot
from decision_engine.offers import Offer
from decision_engine.outcomes import Stage
from decision_engine.rejections import PASSED, Falls, Indexes, Rejection
from decision_engine.strategy import ConsentPurpose

MARKETING = "marketing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentPlan:
    """Offers that need the same purposes share a requirement.

    `rejections` maps every purpose an offer or a channel can lack to the number of its rejection.
    """

    declared: Mapping[str, ConsentPurpose]
    requirements: tuple[tuple[str, ...], ...]
    requirement_of: Indexes
    rejections: Mapping[str, int]


def plan_consent(
    offers: Sequence[Offer], declared: Mapping[str, ConsentPurpose], first_number: int
) -> tuple[ConsentPlan, tuple[Rejection, ...]]:
    """Groups offers by the purposes they need; the rejections are numbered from `first_number`."""
    needs = [purposes_of(offer) for offer in offers]
    requirements = tuple(dict.fromkeys(needs))
    place = {need: index for index, need in enumerate(requirements)}
    purposes = tuple(dict.fromkeys([purpose for need in requirements for purpose in need] + list(declared)))
    plan = ConsentPlan(
        declared=declared,
        requirements=requirements,
        requirement_of=np.array([place[need] for need in needs], np.intp),
        rejections={purpose: first_number + index for index, purpose in enumerate(purposes)},
    )
    return plan, tuple(_rejection(purpose) for purpose in purposes)


def is_granted(purpose: str, declared: Mapping[str, ConsentPurpose], snapshot: CustomerSnapshot) -> bool:
    """What the person said; for a known one who said nothing the strategy's default; otherwise no.

    A purpose nobody declared is refused until somebody records a grant.
    """
    recorded = snapshot.consents.get(purpose)
    if recorded is not None:
        return recorded
    return snapshot.known and purpose in declared and declared[purpose].granted_by_default


def screen_consent(plan: ConsentPlan, snapshot: CustomerSnapshot, channel: str) -> Falls | None:
    """Which offers lack a purpose; None when none does. A channel with a purpose of its own name (`sms`) needs that one
    for every offer, service messages included: refusing a channel means the channel."""
    channel_purposes = (channel,) if channel in plan.declared else ()
    outcome = [_refusal(plan, need + channel_purposes, snapshot) for need in plan.requirements]
    if all(number == PASSED for number in outcome):
        return None
    return np.array(outcome, np.int16)[plan.requirement_of]


def purposes_of(offer: Offer) -> tuple[str, ...]:
    marketing = (MARKETING,) if offer.purpose == MARKETING else ()
    return tuple(dict.fromkeys(marketing + offer.consents))


def _rejection(purpose: str) -> Rejection:
    code = "NO_MARKETING" if purpose == MARKETING else f"CONSENT_{purpose.upper()}"
    return Rejection(Stage.CONSENT, f"consent.{purpose}", code)


def _refusal(plan: ConsentPlan, purposes: tuple[str, ...], snapshot: CustomerSnapshot) -> int:
    for purpose in purposes:
        if not is_granted(purpose, plan.declared, snapshot):
            return plan.rejections[purpose]
    return PASSED
