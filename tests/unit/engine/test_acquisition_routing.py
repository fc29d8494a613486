"""Who holds nothing of a group is scored by its acquisition model, everybody else by the offers' own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from decision_engine.customer import CustomerSnapshot
from decision_engine.deciding_together import Question, decide_together
from decision_engine.engine import decide
from decision_engine.model_training import Family, ModelTraining
from decision_engine.prepared import PreparedStrategy, prepare
from decision_engine.replay import snapshot_of


@pytest.fixture
def cards(bank: SimpleNamespace) -> PreparedStrategy:
    """Two cards and a loan; the cards have a model for newcomers."""
    strategy = bank.strategy(
        bank.offer("gold", product="gold_card"),
        bank.offer("silver", product="silver_card"),
        bank.offer("loan", group="loans", product="loan"),
        trainings=(ModelTraining(name="newcomers", family=Family.ACQUISITION, groups=("cards",)),),
        models=("cross_sell", "newcomers"),
    )
    return prepare(strategy)


@pytest.fixture
def live(bank: SimpleNamespace) -> dict[str, object]:
    own = bank.scorer(lambda matrix: np.full(len(matrix), 0.2), version="own")
    new = bank.scorer(lambda matrix: np.full(len(matrix), 0.7), version="new")
    return {"cross_sell": own, "newcomers": new}


def scored(bank: SimpleNamespace, prepared: PreparedStrategy, live: object, customer: CustomerSnapshot) -> dict:  # type: ignore[type-arg]
    decision = bank.answer(prepared, bank.request("banner:3"), customer, scorers=live)
    return {name: bank.fate(decision, name).propensity for name in ("gold", "silver", "loan")} | dict(decision.models)


def test_newcomers_to_the_group_have_a_model_of_their_own(
    bank: SimpleNamespace, cards: PreparedStrategy, live: dict[str, object]
) -> None:
    newcomer = bank.customer(holdings=frozenset({"loan", "current_account"}))
    assert scored(bank, cards, live, newcomer) == {
        "gold": 0.7, "silver": 0.7, "loan": 0.2, "cross_sell": "own", "newcomers": "new",
    }  # fmt: skip


def test_a_holder_of_one_product_of_the_group_is_no_newcomer(
    bank: SimpleNamespace, cards: PreparedStrategy, live: dict[str, object]
) -> None:
    holder = bank.customer(holdings=frozenset({"silver_card"}))
    assert scored(bank, cards, live, holder) == {"gold": 0.2, "silver": 0.2, "loan": 0.2, "cross_sell": "own"}


def test_until_one_is_promoted_the_groups_own_model_stands_in(
    bank: SimpleNamespace, cards: PreparedStrategy, live: dict[str, object]
) -> None:
    without = {"cross_sell": live["cross_sell"]}
    assert scored(bank, cards, without, bank.customer())["gold"] == 0.2
    assert scored(bank, cards, {}, bank.customer()) == {"gold": 0.1, "silver": 0.1, "loan": 0.1, "cross_sell": "prior"}


def test_an_acquisition_model_that_fails_leaves_base_rates_and_says_so(
    bank: SimpleNamespace, cards: PreparedStrategy, live: dict[str, object]
) -> None:
    broken = {**live, "newcomers": bank.scorer(lambda matrix: np.full(len(matrix), np.nan), version="new")}
    decision = bank.answer(cards, bank.request("banner:3"), bank.customer(), scorers=broken)
    assert bank.fate(decision, "gold").propensity == 0.1
    assert decision.models["newcomers"] == "prior" and "model_failed" in decision.degraded_causes


def test_without_personalisation_nobody_is_routed_by_what_they_hold(
    bank: SimpleNamespace, cards: PreparedStrategy, live: dict[str, object]
) -> None:
    quiet = bank.customer(consents={"personalisation": False})
    assert scored(bank, cards, live, quiet) == {"gold": 0.1, "silver": 0.1, "loan": 0.1, "cross_sell": "prior"}


def test_deciding_together_and_again_from_the_record_give_the_same(
    bank: SimpleNamespace, cards: PreparedStrategy, live: dict[str, object]
) -> None:
    people = [bank.customer(holdings=held) for held in (frozenset(), frozenset({"gold_card"}), frozenset({"loan"}))]
    requests = [bank.request("banner:3", customer_id=f"retail:{number}") for number in range(3)]
    questions = [Question(r, p, (), live) for r, p in zip(requests, people, strict=True)]
    for request, person, together in zip(requests, people, decide_together(cards, questions), strict=True):
        alone = decide(cards, request, person, (), live)
        assert (alone.scores.propensity == together.scores.propensity).all()
        assert alone.scores.versions == together.scores.versions
        decision = bank.answer(cards, request, person, scorers=live)
        again = bank.answer(cards, request, snapshot_of(decision), scorers=live)
        assert replace(again, attributes=decision.attributes) == decision
