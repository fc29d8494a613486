"""Overlapping experiments: the standing one, holdouts of issues, and the strategy's own layers, all independent.

Each has its own salt, so that which arm of one a customer is in says nothing about the others, and the effect of one is
measured over the same mix of all others in each of its arms. Effects of different layers add up: lever changes are
summed, offers withheld by any are withheld. Only one layer may change the exploration.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from decision_engine.arbitration import ArbitrationPlan
from decision_engine.errors import Problem, StrategyInvalid
from decision_engine.experiment import Arm, arm_arbitration, assign_arm, plan_experiment
from decision_engine.experiment_arms import Allotment, allot
from decision_engine.exploration import RANDOM_ORDER
from decision_engine.identifiers import CustomerId
from decision_engine.offers import Offer
from decision_engine.rejections import Mask
from decision_engine.strategy import ExperimentLayer, Exploration, IssueHoldout, LayerArm, Strategy

Numbers = NDArray[np.float64]

CONTROL = "control"
"""The arm of a layer that changes nothing, and of an issue's holdout everyone who is not held out."""
HELD_OUT = "holdout"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEffect:
    """What an arm changes: percentage points added to the levers and the offers withheld, both by offer; or the
    exploration. None: as it is."""

    levers: Numbers | None = None
    withheld: Mask | None = None
    exploration: Exploration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """One layer: who is in which arm, and what the arms change."""

    name: str
    salt: str
    allotment: Allotment
    effects: Mapping[str, ArmEffect]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """All experiments of a strategy. `marketing` are the offers a holdout withholds, `nothing` no offers. `known`
    is the trial by arm where there are no layers (a memory, filled on use)."""

    salt: str
    standing: Allotment
    layers: tuple[LayerPlan, ...]
    exploration: Exploration
    marketing: Mask
    nothing: Mask
    known: MutableMapping[Arm, "Trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What all experiments together mean for one customer. `experiments` is the arm by layer; `levers` what is added
    to the levers, by offer (None: nothing); `held_out` the offers withheld."""

    arm: Arm
    experiments: Mapping[str, str] = field(default_factory=dict)
    levers: Numbers | None = None
    held_out: Mask
    exploration: Exploration

    def arbitration(self, plan: ArbitrationPlan) -> ArbitrationPlan:
        """The arbitration of this customer's arms. Propensity only and no levers know no lever to change."""
        if self.levers is not None:
            plan = replace(plan, levers=plan.levers + self.levers)
        return arm_arbitration(plan, self.arm)


def plan_experiments(
    strategy: Strategy, offers: Sequence[Offer], *, marketing: Mask, nothing: Mask
) -> ExperimentPlan:  # fmt: skip
    """Plans all experiments over offers in this order. Raises
    StrategyInvalid for impossible shares, for salts or names used twice, and for levers that could reach -100."""
    _require_independence(strategy)
    holdouts = [_holdout_layer(holdout, offers, marketing) for holdout in strategy.holdouts]
    layers = [_layer(layer, offers) for layer in strategy.experiments]
    return ExperimentPlan(
        salt=strategy.experiment.salt,
        standing=plan_experiment(strategy.experiment),
        layers=(*holdouts, *layers),
        exploration=strategy.exploration,
        marketing=marketing,
        nothing=nothing,
        known={},
    )


def assign_trial(plan: ExperimentPlan, customer: CustomerId, arm: Arm | None = None) -> Trial:
    """The customer's arms in all experiments, and what they mean together; `arm` is that of the standing one, for who
    knows it already."""
    if arm is None:
        arm = assign_arm(plan.salt, plan.standing, customer)
    if plan.layers:
        return _trial(plan, arm, customer)
    trial = plan.known.get(arm)
    if trial is None:
        trial = plan.known[arm] = _trial(plan, arm, customer)
    return trial


def layer_problems(strategy: Strategy) -> list[str]:
    """What keeps the experiments from being independent of each other, in words."""
    names = [holdout.name for holdout in strategy.holdouts] + [layer.name for layer in strategy.experiments]
    salts = [holdout.salt for holdout in strategy.holdouts] + [layer.salt for layer in strategy.experiments]
    salts.append(strategy.experiment.salt)
    problems = [f"the name {name} is used twice" for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [
        f"the salt {salt!r} is used twice: the same customers would be in both"
        for salt in sorted({salt for salt in salts if salts.count(salt) > 1})
    ]
    exploring = [layer.name for layer in strategy.experiments if any(arm.exploration for arm in layer.arms)]
    if len(exploring) > 1:
        problems.append(f"only one experiment may change the exploration; these do: {', '.join(exploring)}")
    return problems + _lever_problems(strategy)


def _trial(plan: ExperimentPlan, arm: Arm, customer: CustomerId) -> Trial:
    arms = {layer.name: layer.allotment.arm_of(layer.salt, customer) or CONTROL for layer in plan.layers}
    effects = [layer.effects[arms[layer.name]] for layer in plan.layers if arms[layer.name] != CONTROL]
    levers = [effect.levers for effect in effects if effect.levers is not None]
    withheld = [effect.withheld for effect in effects if effect.withheld is not None]
    if arm is Arm.HOLDOUT:
        withheld.append(plan.marketing)
    changed = [effect.exploration for effect in effects if effect.exploration is not None]
    return Trial(
        arm=arm,
        experiments=arms,
        levers=sum(levers[1:], levers[0]) if levers else None,
        held_out=np.logical_or.reduce(withheld) if withheld else plan.nothing,
        exploration=RANDOM_ORDER if arm is Arm.RANDOM_ELIGIBLE else changed[0] if changed else plan.exploration,
    )


def _require_independence(strategy: Strategy) -> None:
    problems = layer_problems(strategy)
    if problems:
        raise StrategyInvalid([Problem(file="strategy", line=0, path="experiments", message=text) for text in problems])


def _lever_problems(strategy: Strategy) -> list[str]:
    """Offers whose lever could fall to -100 or below in the least favourable arms together."""
    if not strategy.experiments:
        return []
    problems = []
    for offer in strategy.offers:
        worst = offer.lever + sum(min(0.0, change.lever) for change in strategy.levers if change.concerns(offer))
        worst += sum(min((0.0, *(arm.added(offer) for arm in layer.arms))) for layer in strategy.experiments)
        if worst <= -100:
            problems.append(f"the lever of {offer.name} could fall to {worst:g}; it must stay above -100")
    return problems


def _holdout_layer(holdout: IssueHoldout, offers: Sequence[Offer], marketing: Mask) -> LayerPlan:
    mine = np.array([offer.issue == holdout.issue for offer in offers], np.bool_) & marketing
    return LayerPlan(
        name=holdout.name,
        salt=holdout.salt,
        allotment=allot({HELD_OUT: holdout.share}, {HELD_OUT: 1.0}),
        effects={HELD_OUT: ArmEffect(withheld=mine)},
    )


def _layer(layer: ExperimentLayer, offers: Sequence[Offer]) -> LayerPlan:
    return LayerPlan(
        name=layer.name,
        salt=layer.salt,
        allotment=allot({arm.name: arm.share for arm in layer.arms}, {arm.name: arm.room for arm in layer.arms}),
        effects={arm.name: _effect(arm, offers) for arm in layer.arms},
    )


def _effect(arm: LayerArm, offers: Sequence[Offer]) -> ArmEffect:
    levers = [arm.added(offer) for offer in offers]
    withheld = [offer.name in arm.withhold for offer in offers]
    return ArmEffect(
        levers=np.array(levers, np.float64) if arm.levers else None,
        withheld=np.array(withheld, np.bool_) if arm.withhold else None,
        exploration=arm.exploration,
    )
