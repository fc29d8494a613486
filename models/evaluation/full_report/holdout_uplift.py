"""What the offers added: customers served by the model against those who were not, as the experiment dealt them.

Everyone is a row once, at the first judged decision: with the score the model gives its best offer at that moment, the
arm, and what came from then on. Two kinds of outcome can be compared:

- *products opened*, from the bank's own events, the same measure in a holdout that is shown nothing as outside it. Only
  this says what would have happened anyway.
- *offers accepted* and their value, from the responses, for arms that are shown offers too
  (`random_eligible`, `prior`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decision_log.examples import LoggedDecision
from models.errors import EvaluationRefused
from models.evaluation.full_report.judged_rows import Texts
from models.evaluation.full_report.qini import REPLICATES, QiniCurve, Trial, qini_curve
from models.evaluation.intervals import Estimate

Vector = NDArray[np.float64]

SERVED_ARMS = ("full", "no_levers", "propensity_only")
"""Arms of the standing experiment that are ranked by the model's propensities."""
CONTROL_ARMS = ("random_eligible", "prior")
HOLDOUT = "holdout"
OPENED, ACCEPTED, EARNED = "products opened", "offers accepted", "value of accepted offers, minor units"
SLICE_REPLICATES = 200

NO_HOLDOUT = (
    "no customer in this log is in a holdout, so what would have been taken without any offer is not known; give the "
    "strategy's `experiment` a share of `holdout`"
)
NO_BOOKS = (
    "there are customers in a holdout, but the archive has no product opened for the offers of this model "
    "(bank.product.opened): what they took without an offer is not known, and no uplift against them is given"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftPopulation:
    """Customers, one element each: score and first decision, outcomes, and the parts they are in by title."""

    scores: Vector
    decisions: Sequence[LoggedDecision]
    accepted: Vector
    earned: Vector
    opened: Vector | None
    parts: Mapping[str, Texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftSlice:
    """One part of the customers."""

    title: str
    part: str
    customers: int
    treated: int
    control: int
    uplift: Estimate
    coefficient: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftComparison:
    """One control against the served; `slices` are the parts with thirty customers in each arm, the others are only
    counted."""

    against: str
    outcome: str
    curve: QiniCurve
    slices: tuple[UpliftSlice, ...]
    suppressed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpliftSection:
    """All comparisons the log allows, and in words those it does not."""

    comparisons: tuple[UpliftComparison, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Contrast:
    """`layer` None is the standing experiment, and `arm` its control; otherwise the holdout of an issue."""

    against: str
    outcome: str
    layer: str | None
    arm: str

    def side(self, decision: LoggedDecision) -> int:
        """1 for the treated, 0 for the control, -1 for who is neither."""
        served = decision.arm in SERVED_ARMS
        if self.layer is None:
            return 1 if served else 0 if decision.arm == self.arm else -1
        place = decision.experiments.get(self.layer)
        if place is None or not served:
            return -1
        return 0 if place == self.arm else 1


def uplift_section(people: UpliftPopulation, seed: int) -> UpliftSection:
    """Every comparison with thirty customers on both sides."""
    comparisons: list[UpliftComparison] = []
    statements: list[str] = []
    contrasts = list(_contrasts(people.decisions))
    held_out = [contrast for contrast in contrasts if contrast.outcome == OPENED]
    if not held_out:
        statements.append(NO_HOLDOUT)
    elif people.opened is None:
        statements.append(NO_BOOKS)
    for contrast in contrasts:
        outcomes = {OPENED: people.opened, ACCEPTED: people.accepted, EARNED: people.earned}[contrast.outcome]
        if outcomes is None:
            continue
        try:
            comparisons.append(_compared(people, contrast, outcomes, seed))
        except EvaluationRefused as refusal:
            said = f"against {contrast.against}: {refusal}"
            statements += [said] * (said not in statements)
    return UpliftSection(comparisons=tuple(comparisons), statements=tuple(statements))


def _contrasts(decisions: Sequence[LoggedDecision]) -> Iterator[_Contrast]:
    arms = {decision.arm for decision in decisions}
    if HOLDOUT in arms:
        yield _Contrast("the holdout", OPENED, None, HOLDOUT)
    for layer in sorted({name for d in decisions for name, arm in d.experiments.items() if arm == HOLDOUT}):
        yield _Contrast(f"the holdout {layer}", OPENED, layer, HOLDOUT)
    for arm in CONTROL_ARMS:
        if arm in arms:
            yield _Contrast(f"the arm {arm}", ACCEPTED, None, arm)
            yield _Contrast(f"the arm {arm}", EARNED, None, arm)


def _compared(people: UpliftPopulation, contrast: _Contrast, outcomes: Vector, seed: int) -> UpliftComparison:
    sides = np.array([contrast.side(decision) for decision in people.decisions])
    inside = sides >= 0
    trial = Trial(scores=people.scores, treated=sides == 1, outcomes=outcomes).where(inside)
    slices: list[UpliftSlice] = []
    suppressed = 0
    for title, parts in people.parts.items():
        mine = parts[inside]
        for part in np.unique(mine[mine != ""]).tolist():
            try:
                curve = qini_curve(trial.where(mine == part), seed, SLICE_REPLICATES)
            except EvaluationRefused:
                suppressed += 1
                continue
            slices.append(_slice(title, part, curve))
    return UpliftComparison(
        against=contrast.against,
        outcome=contrast.outcome,
        curve=qini_curve(trial, seed, REPLICATES),
        slices=tuple(slices),
        suppressed=suppressed,
    )


def _slice(title: str, part: str, curve: QiniCurve) -> UpliftSlice:
    return UpliftSlice(
        title=title,
        part=part,
        customers=curve.customers,
        treated=curve.treated,
        control=curve.control,
        uplift=curve.uplift,
        coefficient=curve.coefficient,
    )
