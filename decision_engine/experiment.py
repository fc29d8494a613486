"""Experiment arms: which way of deciding a customer gets, the same one every time."""

from collections.abc import Mapping
from enum import StrEnum

from decision_engine.draws import draw_fraction
from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.identifiers import CustomerId
from decision_engine.strategy import Experiment


class Arm(StrEnum):
    """The ways of deciding that are compared."""

    FULL = "full"
    RANDOM_ELIGIBLE = "random_eligible"
    """The order of marketing offers is drawn, not arbitrated: what arbitration is measured against."""
    HOLDOUT = "holdout"
    """No marketing offers at all: what the whole programme is measured against."""


Shares = Mapping[Arm, float]


def plan_experiment(experiment: Experiment) -> Shares:
    """The shares of the arms beside `full`; raises StrategyInvalid for an unknown arm or impossible shares."""
    known = {arm.value for arm in Arm} - {Arm.FULL.value}
    problems = [f"unknown arm {name!r}; known are {sorted(known)}" for name in experiment.shares if name not in known]
    if any(not 0 <= share <= 1 for share in experiment.shares.values()) or sum(experiment.shares.values()) > 1:
        problems.append("each share must be from 0 to 1, and all of them together at most 1")
    if problems:
        raise StrategyInvalid(
            [Problem(file="strategy", line=0, path="experiment.shares", message=text) for text in problems]
        )
    return {Arm(name): experiment.shares[name] for name in sorted(experiment.shares)}


def assign_arm(salt: str, shares: Shares, customer: CustomerId) -> Arm:
    """The customer's arm: sticky, and independent of any experiment with another salt."""
    if not shares:
        return Arm.FULL
    point = draw_fraction(salt, customer)
    for arm, share in shares.items():
        if point < share:
            return arm
        point -= share
    return Arm.FULL
