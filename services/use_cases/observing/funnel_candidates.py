"""What became of the candidates of many decisions, counted from the records' columns without writing each one out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.errors import DecisionEngineError
from decision_engine.identifiers import PlacementId
from decision_engine.outcomes import Fate, Stage
from decision_engine.prepared import PreparedStrategy
from decision_engine.small_integers import decode_column, decode_flags

Numbers = NDArray[np.int64]
STAGES: tuple[str, ...] = tuple(stage.value for stage in Stage)
"""In the order in which candidates pass them."""
_PLACE = {stage: place for place, stage in enumerate(STAGES)}


class End(NamedTuple):
    """How candidates ended: `offered` or `ranked_lower`, else the stage that refused them, and by which rule with which
    reason code. Rules of an offer's own are counted together, with neither."""

    fate: str
    stage: str = ""
    rule: str = ""
    code: str = ""


class EndsUnreadable(Exception):
    """The record's candidates do not fit the strategy they are read with."""


@dataclass(frozen=True, slots=True)
class Ends:
    """One decision's candidates: the ways in which they ended, and by offer of the strategy and such way how many."""

    ways: tuple[End, ...]
    offers: Sequence[str]
    counts: Numbers
    """A row an offer, a column a way."""

    def furthest(self) -> End | None:
        """Of the stages that refused something the last, and there what refused most; None where nothing was."""
        totals = self.counts.sum(axis=0)
        refused = [n for n, way in enumerate(self.ways) if way.stage and totals[n]]
        best = max(refused, key=lambda n: (_PLACE.get(self.ways[n].stage, -1), totals[n]), default=None)
        return None if best is None else self.ways[best]


def coded_ends(coded: Mapping[str, object], prepared: PreparedStrategy, names: Sequence[str]) -> Ends:
    """Of a record that has its candidates as columns. `prepared` is the strategy that decided, `names` those of its
    offers in their order: the same object each time. Raises EndsUnreadable."""
    try:
        return _coded_ends(coded, prepared, names)
    except (DecisionEngineError, KeyError, TypeError, ValueError, IndexError) as error:
        raise EndsUnreadable(f"the candidates do not fit strategy {prepared.strategy.version}") from error


def _coded_ends(coded: Mapping[str, object], prepared: PreparedStrategy, names: Sequence[str]) -> Ends:
    ways = tuple(_way(outcome) for outcome in _entries(coded["outcomes"]))
    size = len(names)
    factors = coded["factors"]
    if not isinstance(factors, Mapping):
        raise TypeError("factors are an object")
    passed = decode_flags(str(factors["offers"]), size)
    gates = decode_column(str(coded["offers"]), size)
    cells = np.zeros(size * len(ways), np.int64)
    for placement in _entries(coded["placements"]):
        offers = prepared.placements[PlacementId(str(placement["placement"]))].offer_of
        scored = passed[offers]
        ended = gates[offers]
        ended[scored] = decode_column(str(placement["fates"]), int(scored.sum()))
        if ended.size and int(ended.max()) >= len(ways):
            raise IndexError("an outcome is not among the decision's")
        cells += np.bincount(offers * len(ways) + ended, minlength=cells.size)
    return Ends(ways, names, cells.reshape(size, len(ways)))


def listed_ends(candidates: Sequence[object]) -> Ends:
    """Of a record of an earlier release, which has them one by one. Raises EndsUnreadable."""
    found: Counter[tuple[str, End]] = Counter()
    for candidate in candidates:
        if not isinstance(candidate, Mapping) or "offer" not in candidate or "outcome" not in candidate:
            raise EndsUnreadable("a candidate has no offer or no outcome")
        found[str(candidate["offer"]), _way(candidate)] += 1
    offers = sorted({offer for offer, _ in found})
    ways = sorted({way for _, way in found})
    counts = np.zeros((len(offers), len(ways)), np.int64)
    for (offer, way), number in found.items():
        counts[offers.index(offer), ways.index(way)] = number
    return Ends(tuple(ways), offers, counts)


def _way(outcome: Mapping[str, object]) -> End:
    fate = str(Fate(str(outcome["outcome"])))
    if fate != Fate.REJECTED:
        return End(fate)
    return End(fate, *(str(outcome.get(name) or "") for name in ("stage", "rule", "reason")))


def _entries(found: object) -> Iterator[Mapping[str, object]]:
    if not isinstance(found, list | tuple):
        raise TypeError("a list is missing")
    for entry in found:
        if not isinstance(entry, Mapping):
            raise TypeError("an object is missing")
        yield entry


@dataclass(slots=True)
class CandidateTally:
    """Adds up candidates by channel, offer and end, and requests in which each end befell any."""

    candidates: dict[tuple[str, str, End], int] = field(default_factory=dict)
    requests: Counter[tuple[str, End]] = field(default_factory=Counter)
    _open: dict[tuple[str, int, tuple[End, ...]], tuple[Sequence[str], Numbers]] = field(default_factory=dict)

    def add(self, channel: str, ends: Ends) -> None:
        """Counts one decision's. Those of decisions with the same ways to end are summed as matrices first."""
        key = (channel, len(ends.offers), ends.ways)
        known = self._open.get(key)
        if known is not None and known[0] is ends.offers:
            counts = known[1]
            counts += ends.counts
        else:
            if known is not None:
                self._note(channel, ends.ways, *known)
            self._open[key] = (ends.offers, ends.counts.copy())
        if len(self._open) > _OPEN_MOST:
            self.settle()
        for number in np.flatnonzero(ends.counts.any(axis=0)).tolist():
            self.requests[channel, ends.ways[number]] += 1

    def settle(self) -> None:
        """Brings the sums up to date."""
        for (channel, _, ways), (offers, counts) in self._open.items():
            self._note(channel, ways, offers, counts)
        self._open.clear()

    def _note(self, channel: str, ways: tuple[End, ...], offers: Sequence[str], counts: Numbers) -> None:
        for offer, way in zip(*map(np.ndarray.tolist, np.nonzero(counts)), strict=True):
            key = (channel, offers[offer], ways[way])
            self.candidates[key] = self.candidates.get(key, 0) + int(counts[offer, way])


_OPEN_MOST = 256
"""Matrices held open: as many ways of ending as a bank's decisions mostly have."""
