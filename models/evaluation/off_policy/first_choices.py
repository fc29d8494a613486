"""The first choices of recorded decisions as arrays, ready for a policy to be judged on.

A choice is what stood first in a placement, drawn with a selection probability that the record holds; mandatory options
are no choice. Its reward is whether it was accepted in its attribution window, or what an acceptance is worth; what was
never seen earned nothing. Predictions are the propensities that were recorded before anybody could respond.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.decision_log.examples import AttributionRule, LoggedCandidate, LoggedDecision, LoggedOption, OfferFacts
from models.errors import EvaluationRefused
from models.evaluation.off_policy.recorded_choices import JudgedPolicy, Predictions, RecordedChoices

Chances = Mapping[str, float]
"""A policy's chance of putting each treatment first; what is left of 1 is the chance of offering nothing."""
PolicyOf = Callable[["FirstChoice"], Chances]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstChoice:
    """What stood first in a placement, and the candidates it was chosen among, itself included."""

    decision: LoggedDecision
    option: LoggedOption
    rivals: tuple[LoggedCandidate, ...]

    @property
    def logged(self) -> float:
        """Its selection probability."""
        return self.option.selection_probability or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRule:
    """What a choice earned: `accepted` holds the tracking ids with an impression and a closed window. With `values` an
    acceptance earns the offer's value in minor units, without them 1."""

    accepted: Mapping[str, bool]
    values: Mapping[str, OfferFacts] | None = None

    def worth(self, offer: str) -> float:
        """What an acceptance of the offer earns."""
        if self.values is None:
            return 1.0
        return self.values[offer].value if offer in self.values else 0.0

    def earned(self, option: LoggedOption) -> float:
        """What the option did earn."""
        return self.worth(option.offer) * self.accepted.get(option.tracking_id, False)


def first_choices(decisions: Iterable[LoggedDecision], window: AttributionRule | None = None) -> Iterator[FirstChoice]:
    """The choices of all placements. Left out are mandatory options, those without a lottery's chance, decisions whose
    candidates are not known, and those whose attribution window is still open; a repeated decision counts once."""
    seen: set[str] = set()
    for decision in decisions:
        is_open = window is not None and decision.decided_ms + window.window_ms > window.log_end_ms
        if is_open or decision.decision_id in seen:
            continue
        seen.add(decision.decision_id)
        for option in decision.options:
            probability = option.selection_probability
            if option.rank != 1 or option.mandatory or probability is None or not 0 < probability <= 1:
                continue
            rivals = tuple(c for c in decision.candidates if c.placement == option.placement)
            if any(rival.treatment == option.treatment for rival in rivals):
                yield FirstChoice(decision=decision, option=option, rivals=rivals)


def recorded_choices(choices: Sequence[FirstChoice], rule: RewardRule) -> RecordedChoices:
    """The log as arrays, a customer's choices in one cluster. Raises EvaluationRefused without choices."""
    if not choices:
        raise EvaluationRefused("no decision in this period logged a choice with a selection probability")
    numbers: dict[str, int] = {}
    clusters = [numbers.setdefault(choice.decision.customer_id, len(numbers)) for choice in choices]
    return RecordedChoices(
        rewards=np.array([rule.earned(choice.option) for choice in choices], dtype=np.float64),
        logged=np.array([choice.logged for choice in choices]),
        clusters=np.array(clusters, np.intp),
    )


def judged_policy(choices: Sequence[FirstChoice], policy_of: PolicyOf, rule: RewardRule) -> JudgedPolicy:
    """A policy on these choices. A treatment that the record knows the log could not show, or that was no candidate
    at all, is unsupported."""
    rows = [_row(choice, policy_of(choice), rule) for choice in choices]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
    return JudgedPolicy(
        chances=table[:, 0],
        idle=np.clip(table[:, 1], 0.0, 1.0),
        unsupported=np.clip(table[:, 2], 0.0, 1.0),
        predictions=Predictions(chosen=table[:, 3], expected=table[:, 4]),
    )


def _row(choice: FirstChoice, chances: Chances, rule: RewardRule) -> tuple[float, float, float, float, float]:
    rivals = {rival.treatment: rival for rival in choice.rivals}
    predicted = {name: rival.propensity * rule.worth(rival.offer) for name, rival in rivals.items()}
    unsupported = sum(chance for name, chance in chances.items() if not _could_show(choice, rivals.get(name)))
    return (
        min(1.0, chances.get(choice.option.treatment, 0.0)),
        1.0 - sum(chances.values()),
        unsupported,
        predicted[choice.option.treatment],
        sum(chance * predicted.get(name, 0.0) for name, chance in chances.items()),
    )


def _could_show(choice: FirstChoice, rival: LoggedCandidate | None) -> bool:
    """Whether the log had, or may have had, a chance to show it first. For one that was not offered the record holds
    its chance to stand at any of the places asked for, which is no less than that of standing first."""
    if rival is None:
        return False
    return rival.treatment == choice.option.treatment or rival.selection_probability != 0.0
