"""Availability: an offer is made only between its dates, a trigger decides among its own offers, and what stands before
the customer already is not offered once more."""

from bisect import bisect_right
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.features.definitions import Value
from decision_engine.offers import Offer
from decision_engine.rejections import PASSED, EngineRejection, Falls
from decision_engine.triggers.definitions import Trigger

_ALWAYS = np.iinfo(np.int64)


@dataclass(frozen=True, slots=True)
class AvailabilityPlan:
    """The dates of all offers, epoch milliseconds; `until` is exclusive. Between two of the `changes`, which ascend,
    nothing changes, so the falls there are found once (`known`, a memory, filled on use). `of_trigger` is by name of
    the trigger what is not among its offers."""

    since: NDArray[np.int64]
    until: NDArray[np.int64]
    changes: tuple[int, ...]
    known: MutableMapping[int, Falls]
    of_trigger: Mapping[str, Falls]
    names: tuple[str, ...] = ()


def plan_availability(offers: Sequence[Offer], triggers: Sequence[Trigger] = ()) -> AvailabilityPlan:
    """Lines the dates up by offer, and the offers by trigger."""
    since = [_ALWAYS.min if o.available_from_ms is None else o.available_from_ms for o in offers]
    until = [_ALWAYS.max if o.available_until_ms is None else o.available_until_ms for o in offers]
    dates = (date for offer in offers for date in (offer.available_from_ms, offer.available_until_ms))
    changes = {date for date in dates if date is not None}
    of_trigger = {trigger.name: _others(offers, trigger) for trigger in triggers}
    return AvailabilityPlan(
        np.array(since, np.int64),
        np.array(until, np.int64),
        tuple(sorted(changes)),
        {},
        of_trigger,
        tuple(offer.name for offer in offers),
    )


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


def screen_trigger(plan: AvailabilityPlan, trigger: Value) -> Falls | None:
    """Which offers are not those of the trigger that decides (the request's `context.trigger`); a name that is not a
    trigger's leaves nothing. Without triggers in the strategy the name means nothing."""
    if not plan.of_trigger:
        return None
    others = plan.of_trigger.get(str(trigger))
    return np.full(len(plan.since), np.int16(EngineRejection.NOT_FOR_THIS_TRIGGER)) if others is None else others


def screen_shown(plan: AvailabilityPlan, shown: Collection[str]) -> Falls | None:
    """Which offers stand before the customer already; None where the request names none."""
    if not shown:
        return None
    standing = [name in shown for name in plan.names]
    return np.where(standing, np.int16(EngineRejection.ALREADY_SHOWN), np.int16(PASSED))


def _others(offers: Sequence[Offer], trigger: Trigger) -> Falls:
    """Every offer but the trigger's; no names are all offers."""
    own = [not trigger.offers or offer.name in trigger.offers for offer in offers]
    return np.where(own, np.int16(PASSED), np.int16(EngineRejection.NOT_FOR_THIS_TRIGGER))
