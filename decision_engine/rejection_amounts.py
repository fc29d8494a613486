"""How many candidates each rule rejected, counted over arrays: for whoever sums it up over many decisions."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from decision_engine.candidate_records import CandidateRecords, PlacementColumns
from decision_engine.identifiers import PlacementId
from decision_engine.rejected_candidates import RejectionTable
from decision_engine.rejections import PASSED, Indexes, Rejection

Amounts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RejectionKinds:
    """The distinct rejections that a strategy can give. `kind_of` has, offer by offer, the place in `kinds` of each of
    its `width` rejection numbers; the last column stands for no rejection: `PASSED` finds that of the row before.
    `starts` remembers by placement where the rows of its candidates' offers begin."""

    rejections: RejectionTable
    kinds: tuple[Rejection, ...]
    kind_of: Indexes
    width: int
    starts: MutableMapping[PlacementId, Indexes]

    @classmethod
    def of(cls, table: RejectionTable) -> "RejectionKinds":
        """Lines them up, once a strategy."""
        width = len(table) + 1
        places: dict[Rejection, int] = {}
        kind_of = np.zeros((len(table.rules), width), np.intp)
        for number in (*range(len(table.fixed)), *range(table.gates, len(table))):
            rejection = table[0, number]
            kind_of[:, number] = places.setdefault(rejection, len(places))
        for offer, rules in enumerate(table.rules):
            for number, rule in enumerate(rules, len(table.fixed)):
                if rule is not None:
                    kind_of[offer, number] = places.setdefault(rule, len(places))
        kind_of[:, PASSED] = len(places)
        return cls(table, tuple(places), kind_of.ravel(), width, {})

    def amounts(self, records: CandidateRecords) -> Amounts:
        """Per kind how many candidates of the decision it rejected."""
        none = np.zeros(0, np.intp)
        found = [self._kinds_of(columns) for columns in records.placements]
        kinds = found[0] if len(found) == 1 else np.concatenate(found or (none,))
        return np.bincount(kinds, minlength=len(self.kinds) + 1)[:-1]

    def _kinds_of(self, columns: PlacementColumns) -> Indexes:
        starts = self.starts.get(columns.plan.placement.id)
        if starts is None:
            starts = self.starts[columns.plan.placement.id] = columns.plan.offer_of * self.width
        return self.kind_of.take(columns.rejections + starts)


def labels_of(kinds: Sequence[Rejection]) -> tuple[tuple[str, str], ...]:
    """Stage and rule of each, as measurements name them."""
    return tuple((kind.stage.value, kind.rule) for kind in kinds)
