"""Fairness between groups: who is offered anything, who accepts, whether probabilities are right for all, and value.

Groups come from attributes that no model reads, or bands of them. A rate of offers is of decisions, and a customer's
decisions resemble each other, so its interval is over customers. The four-fifths ratio is a group's rate of offers over
the highest one; below 0.8 the group is marked, as in the Uniform Guidelines on Employee Selection Procedures (29 CFR
1607.4 D, 1978). A mark is a reason to look, no proof of discrimination, and its absence is no proof of the opposite.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.clustered_ratio import ClusteredRatio, clustered_ratio
from models.evaluation.full_report.binomial_interval import rate_estimate
from models.evaluation.full_report.judged_rows import LEAST_ROWS, JudgedRows, Texts
from models.evaluation.full_report.score_stability import auc_or_none
from models.evaluation.intervals import Estimate, normal_estimate

Vector = NDArray[np.float64]
Numbers = NDArray[np.int64]

FOUR_FIFTHS = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedRows:
    """Decisions, one element each: the customer's number, whether an offer of the model was made, what its acceptances
    were worth (minor units), and by attribute the group; an empty group is not known."""

    customers: Numbers
    offered: Vector
    earned: Vector
    groups: Mapping[str, Texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFigures:
    """One group. `ratio` is its rate of offers over the highest group's, None for that group itself; `gap` predicted
    less observed acceptance, a row; `value` is a decision's, in minor units. None is where rows are too few."""

    group: str
    customers: int
    decisions: int
    offer_rate: Estimate
    ratio: Estimate | None
    below_four_fifths: bool
    rows: int
    acceptance: Estimate | None
    predicted: float | None
    gap: Estimate | None
    auc: Estimate | None
    value: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class FairnessTable:
    """One attribute's groups. `unknown` decisions are of customers whose group is not known, `suppressed` groups had
    too few customers to be shown. `statement` says what stands out."""

    attribute: str
    groups: tuple[GroupFigures, ...]
    unknown: int
    suppressed: int
    statement: str


def fairness_table(attribute: str, decided: DecidedRows, rows: JudgedRows, row_groups: Texts) -> FairnessTable:
    """The groups of one attribute; `row_groups` has the group of every judged row."""
    groups = decided.groups[attribute]
    shown: dict[str, ClusteredRatio] = {}
    suppressed = 0
    for group in np.unique(groups[groups != ""]).tolist():
        mine = groups == group
        found = _per_decision(decided.customers[mine], decided.offered[mine])
        if found.customers < LEAST_ROWS:
            suppressed += 1
        else:
            shown[group] = found
    best = max(shown, key=lambda group: shown[group].mean, default="")
    figures = tuple(
        _figures(group, shown[group], None if group == best else shown[best], (decided, groups), (rows, row_groups))
        for group in shown
    )
    return FairnessTable(
        attribute=attribute,
        groups=figures,
        unknown=int((groups == "").sum()),
        suppressed=suppressed,
        statement=_statement(figures),
    )


def rate_ratio(rate: ClusteredRatio, highest: ClusteredRatio) -> Estimate | None:
    """One rate over another, with an interval by the delta method on the log scale; None where a rate is 0."""
    if rate.mean <= 0.0 or highest.mean <= 0.0:
        return None
    ratio = rate.mean / highest.mean
    error = float(np.sqrt(rate.variance / rate.mean**2 + highest.variance / highest.mean**2))
    reach = normal_estimate(float(np.log(ratio)), error)
    return Estimate(value=ratio, low=float(np.exp(reach.low)), high=float(np.exp(reach.high)))


def _per_decision(customers: Numbers, amounts: Vector) -> ClusteredRatio:
    _, places = np.unique(customers, return_inverse=True)
    decisions = np.bincount(places).astype(np.float64)
    amounts_of = np.bincount(places, amounts).astype(np.float64)
    return clustered_ratio(amounts_of, decisions)


def _figures(
    group: str,
    offers: ClusteredRatio,
    highest: ClusteredRatio | None,
    decided: tuple[DecidedRows, Texts],
    judged: tuple[JudgedRows, Texts],
) -> GroupFigures:
    log, groups = decided
    mine = groups == group
    rows = judged[0].where(judged[1] == group)
    enough = rows.size >= LEAST_ROWS
    ratio = None if highest is None else rate_ratio(offers, highest)
    low = highest is not None and highest.mean > 0 and offers.mean / highest.mean < FOUR_FIFTHS
    return GroupFigures(
        group=group,
        customers=offers.customers,
        decisions=offers.decisions,
        offer_rate=offers.estimate,
        ratio=ratio,
        below_four_fifths=low,
        rows=rows.size if enough else 0,
        acceptance=rate_estimate(float(rows.labels.sum()), rows.size) if enough else None,
        predicted=float(rows.probabilities.mean()) if enough else None,
        gap=_per_decision(rows.customers, rows.probabilities - rows.labels).estimate if enough else None,
        auc=auc_or_none(rows.labels, rows.probabilities) if enough else None,
        value=_per_decision(log.customers[mine], log.earned[mine]).estimate,
    )


def _statement(figures: tuple[GroupFigures, ...]) -> str:
    if len(figures) < 2:
        return "fewer than two groups are large enough to be compared"
    low = [figure.group for figure in figures if figure.below_four_fifths]
    certain = [f.group for f in figures if f.below_four_fifths and f.ratio is not None and f.ratio.high < FOUR_FIFTHS]
    gaps = [f.group for f in figures if f.gap is not None and (f.gap.low > 0 or f.gap.high < 0)]
    said = [f"below four fifths of the highest rate of offers: {', '.join(low)}" if low else ""]
    said.append(f"beyond chance: {', '.join(certain)}" if certain else "")
    said.append(f"probabilities are off beyond chance for: {', '.join(gaps)}" if gaps else "")
    return "; ".join(part for part in said if part) or "no group stands out"
