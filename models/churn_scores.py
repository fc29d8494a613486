"""Scores of a churn model for everybody of a snapshot who may be profiled."""

from dataclasses import dataclass

import numpy as np

from decision_engine.propensity import Scorer
from models.decision_log.state_snapshots import StateSnapshot
from models.snapshot_matrix import snapshot_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class ChurnScore:
    """The chance that a customer has left at the end of the horizon; None of who refused personalisation."""

    customer_id: str
    chance: float | None

    @property
    def percent(self) -> int:
        """The chance as the strategy reads it, 0 to 100; 0 for who is not to be scored."""
        return 0 if self.chance is None else round(100 * self.chance)


def churn_scores(scorer: Scorer, snapshot: StateSnapshot) -> list[ChurnScore]:
    """One score a customer, in the snapshot's order."""
    rows = [row for row, allowed in enumerate(snapshot.personalised) if allowed]
    chances: list[float | None] = [None] * len(snapshot.customers)
    scores = scorer.score(snapshot_matrix(snapshot, scorer.schema, rows)) if rows else np.empty(0)
    for row, chance in zip(rows, scores.tolist(), strict=True):
        chances[row] = chance
    return [
        ChurnScore(customer_id=customer, chance=chance)
        for customer, chance in zip(snapshot.customers, chances, strict=True)
    ]
