"""What can go wrong around a decision, by name, and how much of its time is left.

A cause either says what the decision had to do without (`state_unavailable`, `ledger_unavailable`, `model_missing`,
`model_failed`, `volumes_rebuilding`, `store_unavailable`, `publish_delayed`, `unaudited`) or, beside it, why
(`state_slow`, `state_unreadable`, `state_rebuilding`, `ledger_slow`, `ledger_unreadable`, `model_slow`, `store_slow`,
`deadline`).
Without a reason the dependency was gone.
"""

from time import perf_counter

from decision_engine.engine import LEDGER_UNAVAILABLE
from services.use_cases.decision_command import DecisionCommand

__all__ = ["LEDGER_UNAVAILABLE", "Budget"]

STATE_UNAVAILABLE = "state_unavailable"
STATE_SLOW = "state_slow"
"""The store did not answer within its share of the budget."""
STATE_UNREADABLE = "state_unreadable"
STATE_REBUILDING = "state_rebuilding"
"""The states do not hold the whole log yet: they are new, or the store has lost them and they are being read again."""
VOLUMES_REBUILDING = "volumes_rebuilding"
"""The store has lost what was handed out of the volumes; until that is read again nothing limited is offered."""
LEDGER_SLOW = "ledger_slow"
LEDGER_UNREADABLE = "ledger_unreadable"
"""The ledger's records, or its answer to a reservation, make no sense."""
LINKS_UNAVAILABLE = "links_unavailable"
"""The household's or company's states were not read in time: what rests on them is missing."""
MODEL_SLOW = "model_slow"
"""A model took more than its share, now or so often before that it is left out for a while."""
DEADLINE = "deadline"
"""The budget was used up before this stage: it was left out, or its end was not waited for."""
PUBLISH_DELAYED = "publish_delayed"
"""The way onto the bus is full: the record is in the store alone."""
STORE_UNAVAILABLE = "store_unavailable"
"""The record is on the bus alone; a response to its options will not be recognised."""
STORE_SLOW = "store_slow"
"""The record was still being kept when the answer left."""
UNAUDITED = "unaudited"
"""Neither bus nor store took the record, so nothing is offered."""

READ_SHARE = 0.6
"""Of the budget; what a slow read leaves must suffice to decide and answer."""
RESERVE_SHARE = 0.9
KEEP_SHARE = 0.95
"""Until the record is waited for: what is left gets the answer out in time, and the record is kept behind it."""


class Budget:
    """The time one decision has, from its request's arrival."""

    __slots__ = ("_seconds", "_started_s")

    def __init__(self, command: DecisionCommand) -> None:
        self._started_s = command.started_s
        self._seconds = command.timeout_ms / 1000

    @property
    def seconds(self) -> float:
        """All of it."""
        return self._seconds

    def moment(self, share: float) -> float:
        """When this share is used up, on the performance counter."""
        return self._started_s + self._seconds * share

    def left(self, share: float) -> float:
        """Seconds until this share is used up; 0 when it is."""
        return max(0.0, self.moment(share) - perf_counter())

    def is_spent(self, share: float = 1.0) -> bool:
        """Whether this share is used up."""
        return perf_counter() >= self.moment(share)
