"""What every decision earned, by the arms its customer is in: the rows that experiments are analysed on.

A decision is a row once its attribution window is over, whatever came of it: also one that showed nothing counts, as
deciding not to offer is part of what an arm does. Its reward is whether any of its options was accepted within the
window after an impression, and the worth of those that were.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decision_log.examples import AttributionRule, LoggedDecision, OfferFacts
from models.errors import EvaluationRefused

Vector = NDArray[np.float64]
Numbers = NDArray[np.intp]

STANDING = "arms"
"""How the standing experiment is called beside the strategy's own."""
FULL = "full"
CONTROL = "control"
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRewards:
    """One experiment's decisions: per decision the customer's number, the day (counted from the first), the place of
    its arm in `arms`, accepted (0 or 1) and value (minor units). `arms` has the comparison arm first."""

    experiment: str
    arms: tuple[str, ...]
    customers: Numbers
    days: Numbers
    arm_of: Numbers
    accepted: Vector
    value: Vector


@dataclass(frozen=True, slots=True)
class _Row:
    customer: str
    day: int
    arms: Mapping[str, str]
    accepted: float
    value: float


def arm_rewards(
    decisions: Iterable[LoggedDecision],
    accepted: Mapping[str, bool],
    offers: Mapping[str, OfferFacts],
    rule: AttributionRule,
) -> list[ArmRewards]:
    """The rewards of every experiment in the log, the standing one first. `accepted` is by tracking id; repeated
    decisions count once. Raises EvaluationRefused when no decision has its window behind it."""
    rows = {
        decision.decision_id: _row(decision, accepted, offers)
        for decision in decisions
        if decision.decided_ms + rule.window_ms <= rule.log_end_ms
    }
    if not rows:
        raise EvaluationRefused("no decision has its attribution window behind it")
    kept = list(rows.values())
    names = dict.fromkeys(name for row in kept for name in row.arms)
    return [_rewards(name, [row for row in kept if name in row.arms]) for name in sorted(names, key=_standing_first)]


def _standing_first(name: str) -> tuple[bool, str]:
    return name != STANDING, name


def _row(decision: LoggedDecision, accepted: Mapping[str, bool], offers: Mapping[str, OfferFacts]) -> _Row:
    taken = [option.offer for option in decision.options if accepted.get(option.tracking_id, False)]
    return _Row(
        customer=decision.customer_id,
        day=decision.decided_ms // _DAY_MS,
        arms={STANDING: decision.arm, **decision.experiments},
        accepted=float(bool(taken)),
        value=sum(offers[offer].value for offer in taken if offer in offers),
    )


def _rewards(name: str, rows: list[_Row]) -> ArmRewards:
    found = {row.arms[name] for row in rows}
    comparison = FULL if name == STANDING else CONTROL
    arms = (comparison, *sorted(found - {comparison}))
    numbers: dict[str, int] = {}
    customers = [numbers.setdefault(row.customer, len(numbers)) for row in rows]
    first = min(row.day for row in rows)
    return ArmRewards(
        experiment=name,
        arms=arms,
        customers=np.array(customers, np.intp),
        days=np.array([row.day - first for row in rows], np.intp),
        arm_of=np.array([arms.index(row.arms[name]) for row in rows], np.intp),
        accepted=np.array([row.accepted for row in rows]),
        value=np.array([row.value for row in rows]),
    )
