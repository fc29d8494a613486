"""What the recorded responses say of both sides: the day's first choices as rows for off-policy evaluation.

Judged are the choices of the active strategy's own records, for one placement, drawn with a recorded chance. The chance
that a side would have made the same choice is that of its simulated decision. Predictions are the active strategy's
propensities, made without knowing the response; an option is supported by the log where the active strategy, simulated,
could have put it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from decision_engine.draft import Draft
from decision_engine.prepared import PreparedStrategy
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Predictions, RecordedChoices
from services.simulation.recorded_day.recorded_requests import RecordedOption

Numbers = NDArray[np.float64]


@dataclass(slots=True)
class ChoiceRows:
    """Choice by choice: whose, the chance it was drawn with, whether it was accepted, what an acceptance is worth; and
    per side its chances (of the same, of nothing, of what the log could not show) and its expected acceptance and
    value."""

    customers: list[str] = field(default_factory=list)
    logged: list[float] = field(default_factory=list)
    accepted: list[bool] = field(default_factory=list)
    worth: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    sides: dict[str, list[tuple[float, float, float, float, float]]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str) -> None:
        """Counts a decision that cannot be judged."""
        self.left_out[why] = self.left_out.get(why, 0) + 1

    def merge(self, other: "ChoiceRows") -> None:
        """Adds another partition's."""
        self.customers += other.customers
        self.logged += other.logged
        self.accepted += other.accepted
        self.worth += other.worth
        self.predicted += other.predicted
        for name, rows in other.sides.items():
            self.sides.setdefault(name, []).extend(rows)
        for why, count in other.left_out.items():
            self.left_out[why] = self.left_out.get(why, 0) + count

    def recorded(self, *, value: bool) -> RecordedChoices:
        """The log; a choice earned an acceptance, or with `value` what that is worth."""
        numbers: dict[str, int] = {}
        clusters = [numbers.setdefault(customer, len(numbers)) for customer in self.customers]
        rewards = np.array(self.accepted, np.float64) * (np.array(self.worth) if value else 1.0)
        return RecordedChoices(
            rewards=rewards, logged=np.array(self.logged, np.float64), clusters=np.array(clusters, np.intp)
        )

    def policy(self, side: str, *, value: bool) -> JudgedPolicy:
        """One side on these choices."""
        table = np.array(self.sides[side], np.float64).reshape(len(self.logged), 5)
        chosen = np.array(self.predicted) * (np.array(self.worth) if value else 1.0)
        return JudgedPolicy(
            chances=np.minimum(1.0, table[:, 0]),
            idle=np.clip(table[:, 1], 0.0, 1.0),
            unsupported=np.clip(table[:, 2], 0.0, 1.0),
            predictions=Predictions(chosen=chosen, expected=table[:, 4 if value else 3]),
        )


def add_choice(
    rows: ChoiceRows,
    option: RecordedOption,
    accepted: bool,  # noqa: FBT001 - a column
    sides: Mapping[str, tuple[PreparedStrategy, Draft]],
    active: str,
    numbers: Mapping[str, int],
) -> None:
    """Adds one choice. `sides` holds how each decides the same request, `active` names the one that made the log, whose
    offers have these `numbers`."""
    prepared, draft = sides[active]
    chances = {name: first_chances(*side) for name, side in sides.items()}
    offers = {option.offer, *(offer for found in chances.values() for offer, _ in found.values())} & numbers.keys()
    predictions = {offer: float(draft.scores.propensity[numbers[offer]]) for offer in offers}
    values = {offer: float(prepared.offers[numbers[offer]].value) for offer in offers}
    rows.customers.append(draft.request.customer_id)
    rows.logged.append(option.chance or 0.0)
    rows.accepted.append(accepted)
    rows.worth.append(values.get(option.offer, 0.0))
    rows.predicted.append(predictions.get(option.offer, option.propensity or 0.0))
    possible = {treatment for treatment, (_, chance) in chances[active].items() if chance > 0} | {option.treatment}
    for name, found in chances.items():
        same = found.get(option.treatment, ("", 0.0))[1]
        idle = 1.0 - sum(chance for _, chance in found.values())
        unsupported = sum(chance for treatment, (_, chance) in found.items() if treatment not in possible)
        expected = [(chance * predictions.get(offer, 0.0), values.get(offer, 0.0)) for offer, chance in found.values()]
        accepts, worth = sum(p for p, _ in expected), sum(p * value for p, value in expected)
        rows.sides.setdefault(name, []).append((same, idle, unsupported, accepts, worth))


def first_chances(prepared: PreparedStrategy, draft: Draft) -> dict[str, tuple[str, float]]:
    """By treatment its offer and its chance to stand first in the request's first placement."""
    slate = draft.slate[0]
    plan, lottery = slate.asked.plan, slate.lottery
    if plan is None or lottery is None or not slate.places:
        return {}
    # Who stands in the order passed every gate; whoever does not has no chance.
    chances = lottery.among_first(1, np.arange(len(plan.treatments)))
    found = np.flatnonzero(chances)
    return {
        plan.treatments[candidate].name: (str(prepared.offers[plan.offer_of[candidate]].name), chance)
        for candidate, chance in zip(found.tolist(), chances[found].tolist(), strict=True)
    }


def choice_of(options: Sequence[RecordedOption], placements: int) -> RecordedOption | str:
    """The choice that a record's options are judged by, or why there is none."""
    if placements > 1:
        return "that were asked for several placements at once, whose chances depend on each other"
    if not options:
        return "that offered nothing: what a policy would have earned by offering there is not known"
    first = min(options, key=lambda option: option.rank)
    if first.mandatory or first.chance is None or not 0 < first.chance <= 1:
        return "with a mandatory option in front, which is no choice"
    return first
