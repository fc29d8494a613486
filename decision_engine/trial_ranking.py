"""Ranking and exploring as the customer's experiment arms want it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from decision_engine.arbitration import ArbitrationPlan, Ranking, rank_offers
from decision_engine.decision import DecisionRequest
from decision_engine.experiment import Arm
from decision_engine.experiment_layers import Trial
from decision_engine.exploration import Explorer, Stakes
from decision_engine.identifiers import TreatmentName
from decision_engine.prepared import PreparedStrategy
from decision_engine.propensity import Scorers
from decision_engine.ramp import active_floors
from decision_engine.rejections import Indexes
from decision_engine.scoring import Scores
from decision_engine.thompson import Counts, Evidence

Numbers = NDArray[np.float64]


def rank_in_trial(
    trial: Trial,
    plan: ArbitrationPlan,
    rows: Indexes,
    propensity: Numbers,
    weights: Numbers,
    resource_costs: Numbers | None = None,
) -> Ranking:
    """The order of the offers in `rows` by what the customer's arms rank by; arguments as of `rank_offers`.

    The context weights and costs of the ranking are those that hold, also in the arm that does not rank by them.
    """
    levers, plan = plan.levers, trial.arbitration(plan)
    if trial.arm is not Arm.PROPENSITY_ONLY:
        return rank_offers(plan, rows, propensity, weights, resource_costs)
    ranking = rank_offers(plan, rows, propensity, np.zeros_like(weights))
    costs = ranking.resource_costs if resource_costs is None else resource_costs
    return ranking._replace(context_weights=weights, levers=levers, resource_costs=costs)


def explorer_of(
    prepared: PreparedStrategy,
    trial: Trial,
    request: DecisionRequest,
    ranking: Ranking,
    scores: Scores,
    scorers: Scorers,
) -> Explorer:
    """How this customer's decision explores. A random order knows no ramp: it treats all alike."""
    floors: Mapping[int, float] = {}
    if prepared.ramped and trial.arm is not Arm.RANDOM_ELIGIBLE:
        floors = active_floors(prepared.offers, prepared.ramped, request.now_ms)
    return Explorer(
        scheme=trial.exploration,
        seed=request.decision_id,
        stakes=Stakes(priorities=ranking.priorities, propensity=scores.propensity, worths=ranking.worths),
        floors=floors,
        evidence=_evidence(scores, scorers) if trial.exploration.kind == "thompson" and scores.online is None else {},
        online=scores.online,
    )


def _evidence(scores: Scores, scorers: Scorers) -> Evidence:
    """What the models that scored here, and learn online, have counted, by treatment. Of others the record would not
    name the version, and the draw could not be made again."""
    counted: dict[TreatmentName, Counts] = {}
    for name, scorer in scorers.items():
        if scores.versions.get(name) == scorer.version:
            counted |= getattr(scorer, "evidence", {})
    return counted
