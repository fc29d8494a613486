"""Availability: an offer is made only between its dates."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.offers import Offer
from decision_engine.rejections import PASSED, EngineRejection, Falls

_ALWAYS = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class AvailabilityPlan:
    """The dates of all offers, epoch milliseconds; `until` is exclusive."""

    since: NDArray[np.int64]
    until: NDArray[np.int64]
    rejected: Falls
    """Every offer rejected, to choose from."""


def plan_availability(offers: Sequence[Offer]) -> AvailabilityPlan:
    """Lines the dates up by offer."""
    since = [_ALWAYS.min if o.available_from_ms is None else o.available_from_ms for o in offers]
    until = [_ALWAYS.max if o.available_until_ms is None else o.available_until_ms for o in offers]
    rejected = np.full(len(offers), EngineRejection.NOT_AVAILABLE, np.int16)
    return AvailabilityPlan(np.array(since, np.int64), np.array(until, np.int64), rejected)


def screen_availability(plan: AvailabilityPlan, now_ms: int) -> Falls:
    """Which offers are outside their dates."""
    available = (plan.since <= now_ms) & (now_ms < plan.until)
    return np.where(available, np.int16(PASSED), plan.rejected)
