"""Engagement policy: eligibility (may we), applicability (does it make sense), suitability (is it right for them).

All rules of all offers stand in one table, an offer a row, in the order in which they are asked; the first that
does not hold removes the offer. The regulated risk match is one column of that table, before an offer's own
suitability rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decision_engine.condition_bits import ConditionBits
from decision_engine.offers import Offer
from decision_engine.outcomes import Stage
from decision_engine.rejections import PASSED, Falls, Indexes, Mask, Rejection
from decision_engine.suitability import RISK_LEVELS, SuitabilityStanding


@dataclass(frozen=True, slots=True, kw_only=True)
class EngagementPlan:
    """`table` holds, per offer and column, the place of a condition in the extended truth vector: the conditions,
    then one place that always holds (padding), one per risk level, and one that never holds. That one fills the last
    column, so the first column that fails is the last one exactly when an offer passes. `numbers` are the rejection
    numbers by column, `PASSED` for the last; `risk_column` is where an offer's risk match stands, -1 for none.
    """

    table: Indexes
    risk_column: Indexes
    any_risk: bool
    numbers: Falls
    rules: tuple[tuple[Rejection | None, ...], ...]
    """Per offer the rejection of each column; None for the risk match, whose code depends on the customer."""

    @property
    def columns(self) -> int:
        """How many rules the longest offer has; each column is one rejection number."""
        return len(self.numbers) - 1


def plan_engagement(offers: Sequence[Offer], conditions: ConditionBits, first_number: int) -> EngagementPlan:
    """Lines the rules up in columns; rejections are numbered from `first_number` by column."""
    rows = [_columns_of(offer, conditions) for offer in offers]
    width = max((len(row) for row in rows), default=0)
    always = len(conditions)
    never = always + 1 + len(RISK_LEVELS)
    table = np.full((len(rows), width + 1), always, np.intp)
    table[:, width] = never
    risk_column = np.full(len(rows), -1, np.intp)
    for number, row in enumerate(rows):
        for column, (place, rejection) in enumerate(row):
            table[number, column] = place
            if rejection is None:
                risk_column[number] = column
    rules = tuple(tuple(rejection for _, rejection in row) for row in rows)
    numbers = np.array([*range(first_number, first_number + width), PASSED], np.int16)
    any_risk = bool((risk_column >= 0).any())
    return EngagementPlan(table=table, risk_column=risk_column, any_risk=any_risk, numbers=numbers, rules=rules)


def screen_engagement(plan: EngagementPlan, truth: Mask, standing: SuitabilityStanding) -> Falls:
    """Which offers break a rule, and the first one each breaks."""
    suits = [level <= standing.level for level in RISK_LEVELS]
    held = np.concatenate([truth, np.array([True, *suits, False])]).take(plan.table)
    first = held.argmin(axis=1)
    falls: Falls = plan.numbers.take(first)
    if plan.any_risk:
        falls[first == plan.risk_column] = standing.refusal
    return falls


def _columns_of(offer: Offer, conditions: ConditionBits) -> list[tuple[int, Rejection | None]]:
    """Per column the place of its condition and its rejection, in the order of asking."""
    columns: list[tuple[int, Rejection | None]] = []
    layers = (
        (Stage.ELIGIBILITY, offer.eligibility),
        (Stage.APPLICABILITY, offer.applicability),
        (Stage.SUITABILITY, offer.suitability),
    )
    for stage, rules in layers:
        if stage is Stage.SUITABILITY and offer.risk_level is not None:
            columns.append((len(conditions) + offer.risk_level, None))
        columns += [(conditions.places[rule.when], Rejection(stage, rule.id, rule.code)) for rule in rules]
    return columns
