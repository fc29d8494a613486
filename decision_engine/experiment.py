"""The standing experiment: which way of deciding a customer gets, the same one every time."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from decision_engine.arbitration import ArbitrationPlan
from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.experiment_arms import TOLERANCE, Allotment, allot, equal_rooms
from decision_engine.identifiers import CustomerId
from decision_engine.strategy import Experiment


class Arm(StrEnum):
    """The ways of deciding that are compared."""

    FULL = "full"
    """All of arbitration: propensity, context weight, value, lever, resource cost."""
    RANDOM_ELIGIBLE = "random_eligible"
    """The order of marketing offers is drawn, not arbitrated: what arbitration is measured against."""
    PROPENSITY_ONLY = "propensity_only"
    """Ranked by propensity alone: what values, weights and levers are measured against."""
    NO_LEVERS = "no_levers"
    """Full arbitration with all levers at 0: what the levers cost or bring."""
    PRIOR = "prior"
    """Full arbitration on base rates instead of models: what the models are measured against."""
    HOLDOUT = "holdout"
    """No marketing offers at all: what the whole programme is measured against."""


CONTROL_ARMS = tuple(arm for arm in Arm if arm is not Arm.FULL)
"""In the order of their rooms; a new one goes to the end of what strategies declare rooms for, never between."""


def plan_experiment(experiment: Experiment) -> Allotment:
    """Who is in which arm beside `full`; raises StrategyInvalid for an unknown arm or impossible shares."""
    problems = share_problems(experiment)
    if problems:
        raise StrategyInvalid(
            [Problem(file="strategy", line=0, path="experiment.shares", message=text) for text in problems]
        )
    return allot(experiment.shares, equal_rooms([arm.value for arm in CONTROL_ARMS], experiment.rooms))


def share_problems(experiment: Experiment) -> Sequence[str]:
    """What is wrong with the shares and rooms, in words."""
    known = {arm.value for arm in CONTROL_ARMS}
    named = (*experiment.shares, *experiment.rooms)
    problems = [f"unknown arm {name!r}; known are {sorted(known)}" for name in named if name not in known]
    impossible = [
        any(not 0 <= share <= 1 for share in numbers.values()) or sum(numbers.values()) > 1 + TOLERANCE
        for numbers in (experiment.shares, experiment.rooms)
    ]
    return problems + ["each share must be from 0 to 1, and all of them together at most 1"] * any(impossible)


def assign_arm(salt: str, arms: Allotment, customer: CustomerId) -> Arm:
    """The customer's arm: sticky, and independent of any experiment with another salt."""
    return Arm(arms.arm_of(salt, customer) or Arm.FULL)


def arm_arbitration(plan: ArbitrationPlan, arm: Arm) -> ArbitrationPlan:
    """What the arm ranks by."""
    if arm is Arm.NO_LEVERS:
        return replace(plan, levers=np.zeros_like(plan.levers))
    if arm is Arm.PROPENSITY_ONLY:
        return replace(plan, values=np.ones_like(plan.values), levers=np.zeros_like(plan.levers))
    return plan
