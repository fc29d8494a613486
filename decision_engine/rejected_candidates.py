"""The records of rejected candidates: the same candidate rejected by the same rule is the same value, made once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decision_engine.candidates import PlacementPlan
from decision_engine.decision import Candidate
from decision_engine.offers import Offer
from decision_engine.outcomes import Fate
from decision_engine.rejections import LATE_REJECTIONS, PASSED, Falls, Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionTable:
    """What each rejection number means: the `fixed` ones for all, then one number a column of an offer's rules, then
    those that come after the gates, again for all."""

    fixed: tuple[Rejection, ...]
    rules: tuple[tuple[Rejection | None, ...], ...]
    columns: int

    @property
    def gates(self) -> int:
        """How many numbers gates give; those from here on befall candidates that passed every gate."""
        return len(self.fixed) + self.columns

    def __len__(self) -> int:
        return self.gates + len(LATE_REJECTIONS)

    def late(self, rejection: Rejection) -> int:
        """The number of a rejection that comes after the gates."""
        return self.gates + LATE_REJECTIONS.index(rejection)

    def is_shared(self, number: int) -> bool:
        """Whether the number means the same for every offer."""
        return number < len(self.fixed) or number >= self.gates

    def __getitem__(self, key: tuple[int, int]) -> Rejection:
        """The rejection behind an offer and a number."""
        offer, number = key
        if number < len(self.fixed):
            return self.fixed[number]
        if number >= self.gates:
            return LATE_REJECTIONS[number - self.gates]
        rejection = self.rules[offer][number - len(self.fixed)]
        if rejection is None:
            raise KeyError(f"rejection {number} of offer {offer} is the risk match, which has numbers of its own")
        return rejection


class RejectedCandidates:
    """One placement's rejected candidates by candidate and rejection number; a memory, filled on first use.

    A decision rejects thousands of candidates for a handful of reasons; making each value anew would cost more
    than all the rest of the decision.
    """

    def __init__(self, plan: PlacementPlan, offers: Sequence[Offer], rejections: RejectionTable) -> None:
        self._plan = plan
        self._offers = offers
        self._rejections = rejections
        # One column more than there are numbers: PASSED (-1) finds it, and it stays empty.
        self._width = rejections.gates + 1
        self._made = np.full(len(plan.treatments) * self._width, None, np.object_)
        self._is_made = np.zeros(len(self._made), np.bool_)
        self._is_made[self._width - 1 :: self._width] = True
        self._row_starts = np.arange(len(plan.treatments)) * self._width

    def among(self, numbers: Falls) -> list[Candidate]:
        """Per candidate of the placement the record of its rejection by a gate, `numbers` being the rejections by
        candidate. The places of those that passed every gate are left for the caller to fill."""
        cells = self._row_starts + np.where(numbers < self._width - 1, numbers, PASSED) % self._width
        for place in np.flatnonzero(~self._is_made[cells]).tolist():
            self._make(place, int(numbers[place]), int(cells[place]))
        found: list[Candidate] = self._made[cells].tolist()
        return found

    def _make(self, place: int, number: int, cell: int) -> None:
        offer = int(self._plan.offer_of[place])
        rejection = self._rejections[offer, number]
        self._made[cell] = Candidate(
            placement=self._plan.placement.id,
            offer=self._offers[offer].name,
            treatment=self._plan.treatments[place].name,
            fate=Fate.REJECTED,
            stage=rejection.stage,
            rule=rejection.rule,
            code=rejection.code,
        )
        self._is_made[cell] = True
