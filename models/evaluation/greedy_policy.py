"""The value of ranking by a given scorer, estimated from the logged first choices of each placement.

The judged policy shows the candidate with the highest `propensity * boost - cost`. Only first ranks count: their
selection probability is the chance of that very choice. An option without an impression earned nothing. Candidates
that another model scores keep the propensity they had.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np

from decision_engine.propensity import Scorer
from models.decision_log.design_matrix import build_matrix
from models.decision_log.examples import LoggedCandidate, LoggedDecision, LoggedOption, OfferFacts
from models.errors import EvaluationRefused
from models.evaluation.policy_value import PolicyValue, importance_weights, policy_value


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyComparison:
    """What was earned by the log, and what the judged policy would have earned; accepted options a choice."""

    logged: PolicyValue
    greedy: PolicyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRanking:
    """The scorer, the offers it scores, and the bank's time zone."""

    scorer: Scorer
    offers: Mapping[str, OfferFacts]
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class _Choice:
    decision: LoggedDecision
    option: LoggedOption
    rivals: tuple[LoggedCandidate, ...]


def compare_policies(
    decisions: Iterable[LoggedDecision], accepted: Mapping[str, bool], ranking: JudgedRanking
) -> PolicyComparison:
    """Both values over all first choices that had a lottery's selection probability.

    `accepted` holds tracking ids with an impression and a closed window. Raises EvaluationRefused.
    """
    rewards, logged, agrees = [], [], []
    for decision in decisions:
        for choice in _choices(decision):
            rewards.append(float(accepted.get(choice.option.tracking_id, False)))
            logged.append(choice.option.selection_probability or 0.0)
            agrees.append(float(_first_choice(choice, ranking) == choice.option.treatment))
    if not rewards:
        raise EvaluationRefused("no decision in this period logged a choice with a selection probability")
    earned = np.array(rewards)
    return PolicyComparison(
        logged=policy_value(earned, np.ones_like(earned)),
        greedy=policy_value(earned, importance_weights(np.array(agrees), np.array(logged))),
    )


def _choices(decision: LoggedDecision) -> Iterator[_Choice]:
    for option in decision.options:
        probability = option.selection_probability
        if option.rank != 1 or option.mandatory or probability is None or not 0 < probability <= 1:
            continue
        rivals = tuple(c for c in decision.candidates if c.placement == option.placement)
        if any(rival.treatment == option.treatment for rival in rivals):
            yield _Choice(decision, option, rivals)


def _first_choice(choice: _Choice, ranking: JudgedRanking) -> str:
    """The treatment the judged policy shows; ties go to the first in order of candidates."""
    scored = [i for i, rival in enumerate(choice.rivals) if rival.offer in ranking.offers]
    propensities = [rival.propensity for rival in choice.rivals]
    if scored:
        rows = [(choice.decision, ranking.offers[choice.rivals[i].offer]) for i in scored]
        scores = ranking.scorer.score(build_matrix(rows, ranking.scorer.schema, ranking.zone))
        for i, score in zip(scored, scores.tolist(), strict=True):
            propensities[i] = score
    priorities = [p * rival.boost - rival.cost for p, rival in zip(propensities, choice.rivals, strict=True)]
    return choice.rivals[priorities.index(max(priorities))].treatment
