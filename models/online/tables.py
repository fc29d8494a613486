"""From the evidence of all partitions to the table that decisions look things up in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from decision_engine.offers import Offer
from decision_engine.online import EVERYBODY, OnlinePlan, OnlineTable, Row
from decision_engine.propensity import ColumnSource, FeatureSchema, Scorer
from models.online.evidence import Cell, CellKey, merged
from models.online.posterior import Beliefs, Hierarchy, believe, delay_shares

Numbers = NDArray[np.float64]
Cells = Mapping[CellKey, Cell]
NOTHING_SAID: Mapping[str, frozenset[str]] = MappingProxyType({})

DIGITS = 6
"""Significant digits of multipliers and shapes: what is recorded is what was used, and short."""


def online_table(
    plan: OnlinePlan,
    offers: Sequence[Offer],
    parts: Iterable[Cells],
    now_ms: int,
    taught: Mapping[str, frozenset[str]] = NOTHING_SAID,
) -> OnlineTable:
    """What is believed as of now. `offers` are those of the plan, `parts` the cells of each partition; `taught` says by
    model version which offers it was fitted with, where that is known."""
    half_life_ms = 1000.0 * plan.terms.half_life_seconds
    together: dict[CellKey, list[Cell]] = {}
    newest = 0
    for cells in parts:
        for key, cell in cells.items():
            together.setdefault(key, []).append(cell)
            newest = max(newest, cell.at_ms)
    sums = {key: total for key, found in together.items() if (total := merged(found, now_ms, half_life_ms))}
    segments = (*plan.terms.segments, EVERYBODY)
    shares = _delays(sums.values(), len(plan.terms.steps))
    hierarchy = _hierarchy(plan, offers)
    rows: dict[tuple[str, str], Row] = {}
    for version in sorted({key.version for key in sums}):
        accepted, exposed = _by_place(plan, segments, {k: c for k, c in sums.items() if k.version == version}, shares)
        knowing = replace(hierarchy, untaught=_untaught(offers, taught.get(version)))
        beliefs = believe(accepted, exposed, knowing, plan.terms.prior_strength)
        rows |= {(version, segment): _row(beliefs, place) for place, segment in enumerate(segments)}
    nothing = np.zeros((len(plan.treatments), 1))
    unseen = _row(believe(nothing, nothing, hierarchy, plan.terms.prior_strength), 0)
    return OnlineTable(treatments=plan.treatments, unseen=unseen, rows=rows, as_of_ms=newest)


def taught_offers(schema: FeatureSchema) -> frozenset[str] | None:
    """The offers a model of these columns was fitted with; None where it does not tell offers apart."""
    column = next((c for c in schema.columns if (c.source, c.name) == (ColumnSource.OFFER, "offer")), None)
    return None if column is None or column.categories is None else frozenset(column.categories)


def taught_by_version(scorers: Iterable[Scorer]) -> dict[str, frozenset[str]]:
    """Which offers each version was fitted with, of those that tell."""
    found = {scorer.version: taught_offers(scorer.schema) for scorer in scorers}
    return {version: offers for version, offers in found.items() if offers is not None}


def exposure_of(base: float, multiplier: float) -> float:
    """What is expected of an impression per unit of the multiplier, served with that multiplier: p'(m) / m."""
    return base / (1.0 - base + multiplier * base)


def _delays(cells: Iterable[Cell], steps: int) -> Numbers:
    accepted, exposed = np.zeros(steps), np.zeros(steps)
    for cell in cells:
        accepted += cell.accepted
        exposed += cell.exposed
    return delay_shares(accepted, exposed)


def _hierarchy(plan: OnlinePlan, offers: Sequence[Offer]) -> Hierarchy:
    groups = sorted({offer.group for offer in offers})
    return Hierarchy(
        offer_of=plan.offer_of, group_of=np.array([groups.index(offer.group) for offer in offers], np.intp)
    )


def _untaught(offers: Sequence[Offer], taught: frozenset[str] | None) -> NDArray[np.bool_] | None:
    return None if taught is None else np.array([offer.name not in taught for offer in offers], np.bool_)


def _by_place(plan: OnlinePlan, segments: Sequence[str], cells: Cells, shares: Numbers) -> tuple[Numbers, Numbers]:
    """By treatment and segment; treatments and segments that the strategy no longer has are left out."""
    accepted = np.zeros((len(plan.treatments), len(segments)))
    exposed = np.zeros_like(accepted)
    numbers = {str(name): number for name, number in plan.numbers.items()}
    for key, cell in cells.items():
        if key.treatment in numbers and key.segment in segments:
            place = numbers[key.treatment], segments.index(key.segment)
            accepted[place] += max(0.0, sum(cell.accepted))
            exposed[place] += max(0.0, float(shares @ np.asarray(cell.exposed)))
    return accepted, exposed


def _row(beliefs: Beliefs, segment: int) -> Row:
    return Row(
        multipliers=_rounded(beliefs.multipliers[:, segment]),
        shapes=_rounded(beliefs.shapes[:, segment]),
    )


def _rounded(numbers: Numbers) -> Numbers:
    return np.array([float(f"{number:.{DIGITS}g}") for number in numbers.tolist()], np.float64)
