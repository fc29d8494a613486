"""Arbitration: priority = propensity x (1 + context weight/100) x value x (1 + lever/100) - resource cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from decision_engine.condition_bits import ConditionBits
from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.offers import Offer
from decision_engine.rejections import Indexes, Mask

Numbers = NDArray[np.float64]
RESOURCE_COST = 0.0
"""Nothing is scarce until volume constraints give a resource its price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbitrationPlan:
    """The factors offers bring. Weight i counts for offer `weight_offers[i]` while condition `weight_places[i]` holds;
    `neutral_weights` is the same with those zero that read anything about the customer."""

    values: Numbers
    lever_factors: Numbers
    mandatory: Mask
    weight_places: Indexes
    weight_offers: Indexes
    weights: Numbers
    neutral_weights: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """`order` is the offers still alive, best first; weights and priorities are per offer of the strategy."""

    order: Indexes
    context_weights: Numbers
    priorities: Numbers


def plan_arbitration(offers: Sequence[Offer], conditions: ConditionBits) -> ArbitrationPlan:
    """Lines the factors up; raises StrategyInvalid where one is not finite, as no order could be made of it."""
    _require_finite(offers)
    weights = [(number, weight) for number, offer in enumerate(offers) for weight in offer.context_weights]
    places = np.array([conditions.places[weight.when] for _, weight in weights], np.intp)
    sizes = np.array([weight.weight for _, weight in weights], np.float64)
    return ArbitrationPlan(
        values=np.array([offer.value for offer in offers], np.float64),
        lever_factors=np.array([1 + offer.lever / 100 for offer in offers], np.float64),
        mandatory=np.array([offer.mandatory for offer in offers], np.bool_),
        weight_places=places,
        weight_offers=np.array([number for number, _ in weights], np.intp),
        weights=sizes,
        neutral_weights=np.where(conditions.neutral[places], sizes, 0.0) if len(places) else sizes,
    )


def context_weights(plan: ArbitrationPlan, truth: Mask, weights: Numbers) -> Numbers:
    """Per offer the sum of the weights that hold, in percent."""
    held = weights * truth[plan.weight_places]
    return np.bincount(plan.weight_offers, held, len(plan.values)).astype(np.float64)


def rank_offers(plan: ArbitrationPlan, rows: Indexes, propensity: Numbers, weights: Numbers) -> Ranking:
    """The order of the offers in `rows`: mandatory first, then by priority; ties by name, the order of the offers."""
    priorities = propensity * (1 + weights / 100) * plan.values * plan.lever_factors - RESOURCE_COST
    best_first = rows[np.argsort(-priorities[rows], kind="stable")]
    mandatory = plan.mandatory[best_first]
    order = np.concatenate([best_first[mandatory], best_first[~mandatory]])
    return Ranking(order=order, context_weights=weights, priorities=priorities)


def _require_finite(offers: Sequence[Offer]) -> None:
    problems = [
        Problem(file="strategy", line=0, path=f"offers.{offer.name}", message=f"{what} must be a finite number")
        for offer in offers
        for what, number in _factors_of(offer)
        if not isfinite(number)
    ]
    if problems:
        raise StrategyInvalid(problems)


def _factors_of(offer: Offer) -> list[tuple[str, float]]:
    weights = [("a context weight", weight.weight) for weight in offer.context_weights]
    return [("value", offer.value), ("base_rate", offer.base_rate), ("lever", offer.lever), *weights]
