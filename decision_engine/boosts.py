"""Boosts: what a person lately did with an offer counts for it, or against it, and is forgotten by halves.

A contact whose outcome a rule names gives its offer (or every offer of its group) `weight` percent of context weight,
halved with every half-life since the outcome: `weight x 2^(-age / half_life)`. What one rule gives one offer adds up
to its `most` at the most, in either direction. Only the person's own contact records are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.contact_ledger import LOST_FLAG, ContactRecord, Scope
from decision_engine.contact_policy import ContactPlan
from decision_engine.rejections import Indexes
from decision_engine.strategy import Boost

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostPlan:
    """The rules, and the offers behind each key that a contact record may bear, by scope."""

    boosts: tuple[Boost, ...]
    members: Mapping[Scope, Mapping[int, Indexes]]
    offers: int


def plan_boosts(boosts: Sequence[Boost], contacts: ContactPlan) -> BoostPlan:
    """The rules over the offers of the contact plan."""
    return BoostPlan(boosts=tuple(boosts), members=contacts.members, offers=len(contacts.keys))


def boost_weights(plan: BoostPlan, records: Sequence[ContactRecord], now_ms: int) -> Numbers:
    """Per offer of the strategy the context weight, in percent, that the contacts give it now."""
    weights = np.zeros(plan.offers)
    for boost in plan.boosts:
        scope = Scope.GROUP if boost.of == "group" else Scope.OFFER
        for key, weight in _by_key(boost, scope, records, now_ms).items():
            members = plan.members[scope].get(key)
            if members is not None:
                weights[members] += min(max(weight, -boost.most), boost.most)
    return weights


def _by_key(boost: Boost, scope: Scope, records: Sequence[ContactRecord], now_ms: int) -> dict[int, float]:
    weights: dict[int, float] = {}
    for record in records:
        if record.status & boost.after and not record.flags & LOST_FLAG:
            age_seconds = max(0.0, now_ms - record.outcome_ms) / 1000
            key = record.key(scope)
            weights[key] = weights.get(key, 0.0) + boost.weight * 0.5 ** (age_seconds / boost.half_life_seconds)
    return weights
