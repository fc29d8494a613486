"""What came of a partition of the day; partitions are merged in their order, so sums do not depend on who ran them."""

from collections import Counter
from dataclasses import dataclass, field
from time import process_time

from services.simulation.recorded_day.group_rules import Label
from services.simulation.recorded_day.off_policy_rows import ChoiceRows
from services.simulation.recorded_day.side_totals import SideTotals

EXAMPLES = 5
"""Changed decisions that are named a partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedDecision:
    """A decision that the draft makes differently: what stands first on either side, None for a fallback."""

    decision_id: str
    customer_id: str
    channel: str
    active: str | None
    draft: str | None


@dataclass(slots=True)
class PartitionTotals:
    """The sums. `labels` are the segments and declared groups of every customer; `compared` are the decisions that the
    active strategy itself recorded, `same_choice` those of them that the active side makes again as recorded,
    `same_score` those with the very same propensities."""

    requests: int = 0
    sides: dict[str, SideTotals] = field(default_factory=dict)
    labels: dict[str, tuple[Label, ...]] = field(default_factory=dict)
    changed: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[ChangedDecision] = field(default_factory=list)
    compared: int = 0
    same_choice: int = 0
    same_score: int = 0
    choices: ChoiceRows = field(default_factory=ChoiceRows)
    events: int = 0
    unreadable: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Processor seconds by stage."""

    def merge(self, other: "PartitionTotals") -> None:
        """Adds the next partition."""
        for name, totals in other.sides.items():
            self.sides.setdefault(name, SideTotals()).merge(totals)
        self.labels |= other.labels
        self.changes += other.changes
        self.examples += other.examples
        self.choices.merge(other.choices)
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        for name in ("requests", "changed", "compared", "same_choice", "same_score", "events", "unreadable"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class StageWatch:
    """Processor time by stage."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._since = process_time()

    def start(self) -> None:
        """Leaves out what was done until now."""
        self._since = process_time()

    def mark(self, stage: str) -> None:
        """A stage ends here, and the next one begins."""
        now = process_time()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._since
        self._since = now
