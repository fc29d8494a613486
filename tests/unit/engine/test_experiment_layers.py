"""Overlapping experiments: independent of each other, sticky, and without interference."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.experiment_layers import assign_trial
from decision_engine.identifiers import CustomerId
from decision_engine.offers import Ramp
from decision_engine.outcomes import Stage
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.strategy import (
    Experiment,
    ExperimentLayer,
    Exploration,
    IssueHoldout,
    LayerArm,
    LeverChange,
)

CUSTOMERS = [CustomerId(f"retail:{number}") for number in range(8000)]


def layer(name: str, *arms: LayerArm, salt: str = "") -> ExperimentLayer:
    return ExperimentLayer(name=name, salt=salt or f"salt of {name}", arms=arms)


def arm(name: str, share: float = 1.0, **changes: Any) -> LayerArm:
    return LayerArm(name=name, share=share, room=share, **changes)


def everything(bank: SimpleNamespace) -> PreparedStrategy:
    """The standing experiment, a holdout of an issue, and two layers."""
    return prepare(
        bank.strategy(
            bank.offer("card"),
            bank.offer("saver", issue="retain"),
            experiment=Experiment(salt="standing", shares={"random_eligible": 0.3, "holdout": 0.2}),
            holdouts=(IssueHoldout(name="holdout_retain", issue="retain", share=0.25, salt="retain"),),
            experiments=(
                layer("levers", arm("up", 0.4, levers=(LeverChange(add=20.0),))),
                layer("shelf", arm("no_card", 0.5, withhold=("card",))),
            ),
        )
    )


def test_arms_of_different_experiments_are_independent(bank: SimpleNamespace) -> None:
    """Every pair of experiments: the customers fall into the table of their arms as the products of the shares say."""
    plan = everything(bank).experiments
    trials = [assign_trial(plan, customer) for customer in CUSTOMERS]
    arms = [{"standing": trial.arm.value, **trial.experiments} for trial in trials]
    assert set(arms[0]) == {"standing", "holdout_retain", "levers", "shelf"}
    for first in arms[0]:
        for second in arms[0]:
            if first < second:
                table = Counter((one[first], one[second]) for one in arms)
                rows, columns = Counter(one[first] for one in arms), Counter(one[second] for one in arms)
                expected = {(r, c): rows[r] * columns[c] / len(arms) for r in rows for c in columns}
                statistic = sum((table[cell] - share) ** 2 / share for cell, share in expected.items())
                assert statistic < 18.5  # 99.99 % of a chi-squared with two degrees, the most there are


def test_changing_one_experiment_moves_nobody_in_the_others(bank: SimpleNamespace) -> None:
    before = everything(bank)
    changed = before.strategy.experiments[0].arms[0]
    layers = (layer("levers", arm("up", 0.9, levers=changed.levers)), before.strategy.experiments[1])
    after = prepare(bank.strategy(*before.strategy.offers, experiment=before.strategy.experiment, experiments=layers))
    for customer in CUSTOMERS[:2000]:
        old, new = assign_trial(before.experiments, customer), assign_trial(after.experiments, customer)
        assert (old.arm, old.experiments["shelf"]) == (new.arm, new.experiments["shelf"])
        assert old.experiments["levers"] == "control" or new.experiments["levers"] == "up"


def test_arms_of_all_experiments_are_in_the_decision(bank: SimpleNamespace) -> None:
    decision = bank.answer(everything(bank))
    assert set(decision.experiments) == {"holdout_retain", "levers", "shelf"}
    assert bank.answer(bank.strategy(bank.offer("card"))).experiments == {}


def test_lever_changes_of_several_experiments_add_up(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("card", lever=10.0),
        bank.offer("loan", group="loans"),
        experiments=(
            layer("one", arm("up", levers=(LeverChange(add=30.0, group="cards"),))),
            layer("two", arm("up", levers=(LeverChange(add=10.0), LeverChange(add=-5.0, offer="loan")))),
        ),
    )
    decision = bank.answer(strategy, bank.request("banner:2"))
    assert (bank.fate(decision, "card").lever, bank.fate(decision, "loan").lever) == (50.0, 5.0)
    assert bank.fate(decision, "card").priority == pytest.approx(150.0)


def test_offer_withheld_by_an_experiment_says_so(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("card"), bank.offer("loan"), experiments=(layer("shelf", arm("no_card", withhold=("card",))),)
    )
    decision = bank.answer(strategy, bank.request("banner:2"))
    assert bank.offered(decision) == [["loan"]]
    assert bank.why(decision, "card") == (Stage.EXPERIMENT, "experiment.holdout", "HOLDOUT")
    assert decision.experiments == {"shelf": "no_card"}


def test_holdout_of_an_issue_withholds_its_marketing_and_nothing_else(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("saver", issue="retain"),
        bank.offer("notice", issue="retain", purpose="service"),
        bank.offer("card"),
        holdouts=(IssueHoldout(name="holdout_retain", issue="retain", share=1.0, salt="retain"),),
    )
    decision = bank.answer(strategy, bank.request("banner:3"))
    assert sorted(bank.offered(decision)[0]) == ["card", "notice"]
    assert decision.experiments == {"holdout_retain": "holdout"}


def test_exploration_of_an_arm_replaces_the_strategys(bank: SimpleNamespace) -> None:
    off = layer("calm", arm("off", exploration=Exploration()))
    ramp = Ramp(from_ms=0, until_ms=bank.NOW * 2, share=0.2)
    offers = (bank.offer("a", value=2000), bank.offer("b"), bank.offer("new", value=1, ramp=ramp))
    scheme = Exploration(kind="epsilon_greedy", epsilon=1.0)
    exploring = bank.answer(bank.strategy(*offers, exploration=scheme))
    calm = bank.answer(bank.strategy(*offers, exploration=scheme, experiments=(off,)))
    assert bank.fate(exploring, "b").selection_probability == pytest.approx(1 / 3)
    assert bank.fate(calm, "b").selection_probability == 0.0
    assert bank.fate(calm, "new").selection_probability == pytest.approx(0.2)


def test_decision_in_many_arms_is_repeated_exactly(bank: SimpleNamespace) -> None:
    prepared = everything(bank)
    for customer in CUSTOMERS[:50]:
        request = bank.request("banner:2", customer_id=customer)
        assert bank.answer(prepared, request) == bank.answer(prepared, request)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"experiments": (layer("a", arm("up"), salt="s"),)}, "salt 's' is used twice"),
        ({"experiments": (layer("a", arm("up"), salt="x"), layer("a", arm("up"), salt="y"))}, "name a is used twice"),
        (
            {"experiments": tuple(layer(name, arm("x", exploration=Exploration())) for name in "ab")},
            "only one experiment may change the exploration",
        ),
        (
            {"experiments": tuple(layer(name, arm("x", levers=(LeverChange(add=-50.0),))) for name in "ab")},
            "could fall to -100",
        ),
    ],
)
def test_experiments_that_would_interfere_are_refused(
    bank: SimpleNamespace, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(StrategyInvalid, match=message):
        prepare(bank.strategy(bank.offer("card"), **overrides))
