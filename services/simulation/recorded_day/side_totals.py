"""What one side did on the day, added up while it decides: offers, customers, channels, and who fell where."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from decision_engine.candidates import PlacementPlan
from decision_engine.draft import Draft
from decision_engine.prepared import PreparedStrategy
from decision_engine.rejections import HELD_BACK, HOLDOUT, PASSED, Rejection
from decision_engine.seating import PlacementSeating
from decision_engine.slate import PlacementSlate

Counts = NDArray[np.int64]

DECISIONS, ANSWERED, OPTIONS, ACCEPTS, VALUE = range(5)
"""The columns of every breakdown: decisions, those with an option, options, expected acceptances, expected value."""
COLUMNS = 5
OFFER_COLUMNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelLine:
    """Candidates that one rule of one stage dropped."""

    stage: str
    rule: str
    code: str
    candidates: int


@dataclass(slots=True)
class SideTotals:
    """The sums of one side over some decisions; sums of several partitions are merged in their order."""

    customers: dict[str, list[float]] = field(default_factory=dict)
    offers: dict[str, list[float]] = field(default_factory=dict)
    """By offer how often it was offered, how often first, expected acceptances, expected value."""
    groups: dict[str, str] = field(default_factory=dict)
    channels: dict[str, list[float]] = field(default_factory=dict)
    dropped: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Candidates by stage, rule and code."""
    candidates: int = 0
    offered: int = 0
    fallbacks: int = 0
    degraded: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "SideTotals") -> None:
        """Adds the sums of another partition."""
        for mine, theirs in (
            (self.customers, other.customers),
            (self.offers, other.offers),
            (self.channels, other.channels),
        ):
            for name, row in theirs.items():
                known = mine.get(name)
                mine[name] = list(row) if known is None else [a + b for a, b in zip(known, row, strict=True)]
        self.groups |= other.groups
        self.dropped += other.dropped
        self.candidates += other.candidates
        self.offered += other.offered
        self.fallbacks += other.fallbacks
        self.degraded += other.degraded

    def funnel(self) -> list[FunnelLine]:
        """Every rule that dropped candidates."""
        return [FunnelLine(stage=s, rule=r, code=c, candidates=n) for (s, r, c), n in sorted(self.dropped.items())]


class SideTally:
    """Adds up the decisions of one side."""

    def __init__(self, prepared: PreparedStrategy) -> None:
        self.totals = SideTotals()
        self._prepared = prepared
        self._names = [str(offer.name) for offer in prepared.offers]
        self._values = [float(offer.value) for offer in prepared.offers]
        self._falls: dict[int, tuple[PlacementPlan, Counts]] = {}
        self._late: Counter[Rejection] = Counter()

    def add_falls(self, drafts: Sequence[Draft]) -> None:
        """Counts what the gates dropped, for many decisions at once."""
        width = len(self._prepared.rejections) + 1
        by_plan: dict[int, tuple[PlacementPlan, list[Draft]]] = {}
        for draft in drafts:
            for slate in draft.slate:
                if slate.asked.plan is not None:
                    by_plan.setdefault(id(slate.asked.plan), (slate.asked.plan, []))[1].append(draft)
        for key, (plan, mine) in by_plan.items():
            falls = np.stack([draft.falls for draft in mine]).astype(np.int64) + 1  # PASSED is -1
            cells = falls + np.arange(falls.shape[1]) * width
            counts = np.bincount(cells.ravel(), minlength=falls.shape[1] * width).reshape(-1, width)
            known = self._falls.get(key)
            self._falls[key] = (plan, counts if known is None else known[1] + counts)

    def add(self, draft: Draft, seatings: Sequence[PlacementSeating]) -> list[str]:
        """Counts one decision; answers the treatments that are offered, in order."""
        propensity, totals, shown = draft.scores.propensity, self.totals, list[str]()
        accepts, value = 0.0, 0.0
        for slate, seating in zip(draft.slate, seatings, strict=True):
            self._count_late(draft, slate, seating)
            plan = slate.asked.plan
            if plan is None or not seating.seated:
                totals.fallbacks += 1
                continue
            for rank, (_, seat) in enumerate(seating.seated):
                chance = float(propensity[seat.offer])
                worth = chance * self._values[seat.offer]
                row = _row(totals.offers, self._names[seat.offer], OFFER_COLUMNS)
                row[0] += 1
                row[1] += rank == 0
                row[2] += chance
                row[3] += worth
                accepts, value = accepts + chance, value + worth
                shown.append(plan.treatments[seat.candidate].name)
        totals.offered += len(shown)
        request = draft.request
        for row in (_row(totals.customers, request.customer_id), _row(totals.channels, request.channel)):
            row[DECISIONS] += 1
            row[ANSWERED] += len(shown) > 0
            row[OPTIONS] += len(shown)
            row[ACCEPTS] += accepts
            row[VALUE] += value
        if request.degraded_causes or draft.scores.causes:
            totals.degraded.update({*request.degraded_causes, *draft.scores.causes})
        return shown

    def finished(self) -> SideTotals:
        """The sums, with the falls by their rules."""
        totals, rejections = self.totals, self._prepared.rejections
        for plan, counts in self._falls.values():
            treatments = np.array(plan.counts, np.int64)
            totals.candidates += int((counts.sum(axis=1) * treatments).sum())
            weighted = counts * treatments[:, None]
            for offer, number in np.argwhere(weighted[:, 1:]).tolist():
                rejection = rejections[offer, number]
                key = (rejection.stage.value, rejection.rule, rejection.code)
                totals.dropped[key] += int(weighted[offer, number + 1])
        for rejection, count in self._late.items():
            totals.dropped[rejection.stage.value, rejection.rule, rejection.code] += count
        totals.groups = {str(offer.name): str(offer.group) for offer in self._prepared.offers}
        self._falls, self._late = {}, Counter()
        return totals

    def _count_late(self, draft: Draft, slate: PlacementSlate, seating: PlacementSeating) -> None:
        """What befell candidates that passed every gate, as a record says it."""
        plan = slate.asked.plan
        if plan is None or slate.lottery is None:
            return
        fates: dict[int, Rejection] = {}
        if draft.held_back is not None:
            fates |= _withheld(plan, draft, draft.held_back, HELD_BACK)
        if draft.held_out is not self._prepared.nothing:
            fates |= _withheld(plan, draft, draft.held_out, HOLDOUT)
        fates.update(slate.kept_out())
        fates.update(seating.refused)
        if fates:
            for _, seat in seating.seated:
                fates.pop(seat.candidate, None)
            self._late.update(fates.values())


def _row(table: dict[str, list[float]], name: str, columns: int = COLUMNS) -> list[float]:
    """The row of that name, begun where there is none."""
    row = table.get(name)
    if row is None:
        row = table[name] = [0.0] * columns
    return row


def _withheld(plan: PlacementPlan, draft: Draft, mask: NDArray[np.bool_], why: Rejection) -> Mapping[int, Rejection]:
    withheld = np.flatnonzero(((draft.falls == PASSED) & mask)[plan.offer_of])
    return dict.fromkeys(withheld.tolist(), why)
