"""Availability: an offer is made only between its dates."""

from bisect import bisect_right
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.offers import Offer
from decision_engine.rejections import PASSED, EngineRejection, Falls

_ALWAYS = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class AvailabilityPlan:
    """The dates of all offers, epoch milliseconds; `until` is exclusive. Between two of the `changes`, which ascend,
    nothing changes, so the falls there are found once (`known`, a memory, filled on use)."""

    since: NDArray[np.int64]
    until: NDArray[np.int64]
    changes: tuple[int, ...]
    known: MutableMapping[int, Falls]


def plan_availability(offers: Sequence[Offer]) -> AvailabilityPlan:
    """Lines the dates up by offer."""
    since = [_ALWAYS.min if o.available_from_ms is None else o.available_from_ms for o in offers]
    until = [_ALWAYS.max if o.available_until_ms is None else o.available_until_ms for o in offers]
    dates = (date for offer in offers for date in (offer.available_from_ms, offer.available_until_ms))
    changes = {date for date in dates if date is not None}
    return AvailabilityPlan(np.array(since, np.int64), np.array(until, np.int64), tuple(sorted(changes)), {})


def screen_availability(plan: AvailabilityPlan, now_ms: int) -> Falls | None:
    """Which offers are outside their dates, not to be written to; None where no offer has any."""
    if not plan.changes:
        return None
    period = bisect_right(plan.changes, now_ms)
    falls = plan.known.get(period)
    if falls is None:
        available = (plan.since <= now_ms) & (now_ms < plan.until)
        falls = np.where(available, np.int16(PASSED), np.int16(EngineRejection.NOT_AVAILABLE))
        falls.flags.writeable = False
        plan.known[period] = falls
    return falls
