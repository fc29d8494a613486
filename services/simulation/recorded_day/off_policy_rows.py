"""What the recorded responses say of both sides: the day's first choices as rows for off-policy evaluation.

Judged are the choices of the active strategy's own records, for one placement, drawn with a recorded chance. The chance
that a side would have made the same choice is that of its simulated decision. Predictions are the active strategy's
propensities, made without knowing the response; an option is supported by the log where the active strategy, simulated,
could have put it first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decision_engine.candidates import PlacementPlan
from decision_engine.draft import Draft
from decision_engine.lottery import leading_chances
from decision_engine.prepared import PreparedStrategy
from decision_engine.rejections import Indexes
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


class JudgedChoice(NamedTuple):
    """A choice of the log, whether it was accepted, and by side how the same request is decided."""

    option: RecordedOption
    accepted: bool
    drafts: Mapping[str, Draft]


class _View(NamedTuple):
    """A placement as one side has it, in the numbers of the side that made the log: for each candidate its offer and
    itself there, for those that the log does not know one past the last; and candidates by treatment."""

    plan: PlacementPlan | None
    offers: Indexes
    candidates: Indexes
    by_name: Mapping[str, int]


class ChoiceJudge:
    """Makes rows of choices, many at once. `active` names the side that made the log."""

    def __init__(self, sides: Mapping[str, PreparedStrategy], active: str) -> None:
        self._sides, self._active = sides, active
        self._numbers = {str(offer.name): number for number, offer in enumerate(sides[active].offers)}
        self._values = np.array([*(float(offer.value) for offer in sides[active].offers), 0.0])
        self._views: dict[tuple[str, int, int], _View] = {}

    def add(self, rows: ChoiceRows, choices: Sequence[JudgedChoice]) -> None:
        """Adds the choices in their order."""
        tables = {name: np.empty((len(choices), 5)) for name in self._sides}
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, choice in enumerate(choices):
            plans = [choice.drafts[name].slate[0].asked.plan for name in self._sides]
            alike.setdefault(tuple(map(id, plans)), []).append(place)
            self._log(rows, choice)
        for places in alike.values():
            for name, table in self._judged([choices[place] for place in places]).items():
                tables[name][places] = table
        for name, table in tables.items():
            rows.sides.setdefault(name, []).extend([(a, b, c, d, e) for a, b, c, d, e in table.tolist()])

    def _log(self, rows: ChoiceRows, choice: JudgedChoice) -> None:
        option, draft = choice.option, choice.drafts[self._active]
        number = self._numbers.get(option.offer)
        rows.customers.append(draft.request.customer_id)
        rows.logged.append(option.chance or 0.0)
        rows.accepted.append(choice.accepted)
        rows.worth.append(0.0 if number is None else float(self._values[number]))
        known = option.propensity or 0.0
        rows.predicted.append(known if number is None else float(draft.scores.propensity[number]))

    def _judged(self, choices: Sequence[JudgedChoice]) -> dict[str, Numbers]:
        """By side its columns, for choices of one placement."""
        drafts = {name: [choice.drafts[name] for choice in choices] for name in self._sides}
        chances = {name: _first_chances(mine) for name, mine in drafts.items()}
        log = drafts[self._active][0].slate[0].asked.plan
        possible = np.zeros((len(choices), 1 if log is None else len(log.treatments) + 1), np.bool_)
        possible[:, :-1] = chances[self._active] > 0
        propensity = np.stack([draft.scores.propensity for draft in drafts[self._active]])
        predictions = np.pad(propensity, ((0, 0), (0, 1)))
        found = {}
        for name, mine in chances.items():
            view = self._view(name, drafts[name][0].slate[0].asked.plan, log)
            chosen = [view.by_name.get(choice.option.treatment) for choice in choices]
            supported = possible[:, view.candidates]
            same = np.zeros(len(choices))
            for row, candidate in enumerate(chosen):
                if candidate is not None:
                    same[row], supported[row, candidate] = mine[row, candidate], True
            accepts = mine * predictions[:, view.offers]
            worths = accepts * self._values[view.offers]
            columns = (1.0 - _sums(mine), _sums(np.where(supported, 0.0, mine)), _sums(accepts), _sums(worths))
            found[name] = np.stack([same, *columns], axis=1)
        return found

    def _view(self, name: str, plan: PlacementPlan | None, log: PlacementPlan | None) -> _View:
        key = name, id(plan), id(log)
        view = self._views.get(key)
        if view is None:
            treatments = () if plan is None else plan.treatments
            theirs = {} if log is None else {each.name: number for number, each in enumerate(log.treatments)}
            offers = () if plan is None else [str(self._sides[name].offers[offer].name) for offer in plan.offer_of]
            view = self._views[key] = _View(
                plan=plan,
                offers=np.array([self._numbers.get(offer, len(self._numbers)) for offer in offers], np.intp),
                candidates=np.array([theirs.get(each.name, len(theirs)) for each in treatments], np.intp),
                by_name={each.name: number for number, each in enumerate(treatments)},
            )
        return view


def _first_chances(drafts: Sequence[Draft]) -> Numbers:
    """For each draft the chance of every candidate of the same first placement to stand first there."""
    slates = [draft.slate[0] for draft in drafts]
    plan = slates[0].asked.plan
    chances = np.zeros((len(drafts), 0 if plan is None else len(plan.treatments)))
    # Who stands in the order passed every gate; whoever does not has no chance.
    showing = [row for row, slate in enumerate(slates) if slate.lottery is not None and slate.places]
    if showing:
        chances[showing] = leading_chances([lottery for row in showing if (lottery := slates[row].lottery) is not None])
    return chances


def _sums(numbers: Numbers) -> Numbers:
    """Of each row, added up from the left."""
    if not numbers.shape[1]:
        return np.zeros(len(numbers))
    return np.asarray(np.add.accumulate(numbers, axis=1)[:, -1], np.float64)


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
