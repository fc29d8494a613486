"""Arbitration: priority = propensity x (1 + context weight/100) x value x (1 + lever/100) - resource cost."""

from bisect import bisect_right
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.condition_bits import ConditionBits
from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.offers import ContextWeight, Offer
from decision_engine.rejections import Indexes, Mask
from decision_engine.strategy import DatedLever

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbitrationPlan:
    """The factors offers bring. Weight i counts for offer `weight_offers[i]` while condition `weight_places[i]` holds;
    `neutral_weights` is the same with those zero that read anything about the customer."""

    values: Numbers
    levers: Numbers
    """In percent."""
    mandatory: Mask
    any_mandatory: bool
    no_costs: Numbers
    weight_places: Indexes
    weight_offers: Indexes
    weights: Numbers
    neutral_weights: Numbers
    dated: "DatedFactors"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedFactors:
    """What holds for a time only: lever changes with the offers each concerns, and from when until when each context
    weight counts. Between two of the `moments`, which ascend, nothing changes, so the plan that holds there is made
    once (`known`, a memory, filled on use)."""

    levers: tuple[tuple[DatedLever, Mask], ...]
    weights: tuple[ContextWeight, ...]
    moments: tuple[int, ...]
    known: MutableMapping[int, ArbitrationPlan]


class Ranking(NamedTuple):  # every decision makes one, and a tuple is made twice as fast
    """`order` is the offers still alive, best first; all else is per offer of the strategy. `worths` is what the
    priority gains by per unit of propensity."""

    order: Indexes
    context_weights: Numbers
    levers: Numbers
    worths: Numbers
    resource_costs: Numbers
    priorities: Numbers


def plan_arbitration(
    offers: Sequence[Offer], conditions: ConditionBits, changes: Sequence[DatedLever] = ()
) -> ArbitrationPlan:
    """Lines the factors up; raises StrategyInvalid where one is not finite, as no order could be made of it."""
    _require_finite(offers)
    weights = [(number, weight) for number, offer in enumerate(offers) for weight in offer.context_weights]
    places = np.array([conditions.places[weight.when] for _, weight in weights], np.intp)
    sizes = np.array([weight.weight for _, weight in weights], np.float64)
    return ArbitrationPlan(
        values=np.array([offer.value for offer in offers], np.float64),
        levers=np.array([offer.lever for offer in offers], np.float64),
        mandatory=np.array([offer.mandatory for offer in offers], np.bool_),
        any_mandatory=any(offer.mandatory for offer in offers),
        no_costs=np.zeros(len(offers)),
        weight_places=places,
        weight_offers=np.array([number for number, _ in weights], np.intp),
        weights=sizes,
        neutral_weights=np.where(conditions.neutral[places], sizes, 0.0) if len(places) else sizes,
        dated=_dated([weight for _, weight in weights], changes, offers),
    )


def plan_at(plan: ArbitrationPlan, now_ms: int) -> ArbitrationPlan:
    """The plan with the levers and weights that hold now."""
    dated = plan.dated
    if not dated.moments and not dated.levers:
        return plan
    period = bisect_right(dated.moments, now_ms)
    known = dated.known.get(period)
    if known is None:
        levers = plan.levers.copy()
        for change, concerned in dated.levers:
            if _holds(change, now_ms):
                levers[concerned] += change.lever
        counts = np.array([_holds(weight, now_ms) for weight in dated.weights], np.bool_)
        known = replace(
            plan, levers=levers, weights=plan.weights * counts, neutral_weights=plan.neutral_weights * counts
        )
        dated.known[period] = known
    return known


def context_weights(plan: ArbitrationPlan, truth: Mask, weights: Numbers) -> Numbers:
    """Per offer the sum of the weights that hold, in percent."""
    held = weights * truth.take(plan.weight_places)
    return np.bincount(plan.weight_offers, held, len(plan.values)).astype(np.float64, copy=False)


def rank_offers(
    plan: ArbitrationPlan, rows: Indexes, propensity: Numbers, weights: Numbers, resource_costs: Numbers | None = None
) -> Ranking:
    """The order of the offers in `rows`: mandatory first, then by priority; ties by name, the order of the offers.

    `resource_costs` is per offer the dual price of the scarce resources one acceptance uses up; None: nothing is.
    """
    worths = (1 + weights / 100) * plan.values * (1 + plan.levers / 100)
    priorities = propensity * worths
    if resource_costs is not None:
        priorities -= resource_costs
    order = rows[np.argsort(-priorities[rows], kind="stable")]
    if plan.any_mandatory:
        mandatory = plan.mandatory[order]
        order = np.concatenate([order[mandatory], order[~mandatory]])
    return Ranking(
        order=order,
        context_weights=weights,
        levers=plan.levers,
        worths=worths,
        resource_costs=plan.no_costs if resource_costs is None else resource_costs,
        priorities=priorities,
    )


def _dated(weights: Sequence[ContextWeight], changes: Sequence[DatedLever], offers: Sequence[Offer]) -> DatedFactors:
    dated: tuple[ContextWeight | DatedLever, ...] = (*weights, *changes)
    bounds = ((one.from_ms, one.until_ms) for one in dated)
    moments = {moment for both in bounds for moment in both if moment is not None}
    return DatedFactors(
        levers=tuple((change, np.array([change.concerns(offer) for offer in offers], np.bool_)) for change in changes),
        weights=tuple(weights),
        moments=tuple(sorted(moments)),
        known={},
    )


def _holds(dated: ContextWeight | DatedLever, now_ms: int) -> bool:
    since, until = dated.from_ms, dated.until_ms
    return (since is None or since <= now_ms) and (until is None or now_ms < until)


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
