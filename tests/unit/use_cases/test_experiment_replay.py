"""Decisions in every arm and under every exploration are in the record whole, and replay byte for byte."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from decision_engine.experiment import Arm
from decision_engine.propensity import FeatureSchema
from decision_engine.strategy import (
    Experiment,
    ExperimentLayer,
    Exploration,
    IssueHoldout,
    LayerArm,
    LeverChange,
)
from decision_engine.thompson import Counts
from services.use_cases.decision_replay import replay_decision
from services.use_cases.make_decision import DecisionPorts, MakeDecision

LAYERS = (
    ExperimentLayer(
        name="push", salt="push-1", arms=(LayerArm(name="up", share=1.0, room=1.0, levers=(LeverChange(add=33.3),)),)
    ),
)
HOLDOUTS = (IssueHoldout(name="holdout_retain", issue="retain", share=0.5, salt="retain-1"),)
SCHEMES = {
    "off": Exploration(),
    "epsilon_greedy": Exploration(kind="epsilon_greedy", epsilon=0.5, max_regret=90.0),
    "inverse_gap": Exploration(kind="inverse_gap", gamma=3.0, share=0.7),
    "thompson": Exploration(kind="thompson", prior_strength=5.0, rounds=50),
}


class CountingScorer:
    """A model that also counts."""

    version, schema = "m1", FeatureSchema(())

    def __init__(self, treatments: list[str]) -> None:
        self.evidence = {name: Counts(10.0 * number, float(number)) for number, name in enumerate(treatments)}

    def score(self, matrix: Any) -> Any:
        return np.linspace(0.1, 0.2, len(matrix))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("arm", list(Arm))
async def test_every_arm_and_scheme_replays(small_bank: Any, command: Any, arm: Arm, scheme: str) -> None:
    bank = small_bank.Bank()
    shares = {} if arm is Arm.FULL else {arm.value: 1.0}
    live = small_bank.live(
        experiment=Experiment(salt="s", shares=shares), exploration=SCHEMES[scheme], experiments=LAYERS,
        holdouts=HOLDOUTS,
    )  # fmt: skip
    treatments = [treatment.name for offer in live.prepared.offers for treatment in offer.treatments]
    scorers = {"cross_sell": CountingScorer(treatments)}
    bank.live = replace(live, scorers=scorers)
    bank.store.states["retail:1"] = small_bank.state(live.features)
    make = MakeDecision(
        DecisionPorts(
            live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics,
        )
    )  # fmt: skip
    for _ in range(5):
        await make(command("home_banner:2", "card_page_tile:1", request_id=None))
        bank.clock.moment += 86_400_000
    for event in bank.bus.events:
        data = orjson.loads(event.value)["data"]
        assert (data["arm"], data["experiments"]["push"]) == (arm.value, "up")
        assert data["experiments"]["holdout_retain"] in ("control", "holdout")
        used = {name: scorer for name, scorer in scorers.items() if data["models"].get(name) == scorer.version}
        assert replay_decision(event.value, live.prepared, live.wording, used) == event.value
