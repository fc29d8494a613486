"""Propensities: what a model is given, and what happens when it is absent or fails."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from decision_engine.errors import StrategyInvalid
from decision_engine.offers import ContextWeight
from decision_engine.prepared import prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema

SCHEMA = FeatureSchema(
    (
        Column(name="age", source=ColumnSource.ATTRIBUTE),
        Column(name="city", source=ColumnSource.ATTRIBUTE, categories=("beijing", "shanghai")),
        Column(name="senior", source=ColumnSource.ATTRIBUTE),
        Column(name="rate", source=ColumnSource.ATTRIBUTE),
        Column(name="page", source=ColumnSource.CONTEXT, categories=("home", "cards")),
        Column(name="channel", source=ColumnSource.CONTEXT, categories=("sms", "mobile")),
        Column(name="hour", source=ColumnSource.CONTEXT),
        Column(name="weekday", source=ColumnSource.CONTEXT),
        Column(name="offer", source=ColumnSource.OFFER, categories=("b", "a")),
        Column(name="group", source=ColumnSource.OFFER, categories=("loans", "cards")),
        Column(name="value", source=ColumnSource.OFFER),
        Column(name="base_rate", source=ColumnSource.OFFER),
        Column(name="fee", source=ColumnSource.OFFER),
    )
)


def constant(probability: float) -> Callable[[Any], Any]:
    return lambda matrix: np.full(len(matrix), probability)


def test_model_sees_one_row_per_offer_with_the_columns_of_its_schema(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(
        bank.offer("a", attributes={"fee": 5.0}, value=700),
        bank.offer("b", attributes={"fee": "none"}, base_rate=0.2),
        bank.offer("never", eligibility=(bank.rule("age > 99"),)),
    )
    scorer = bank.scorer(constant(0.5), SCHEMA)
    customer = bank.customer(age=30, city="shanghai", senior=True)
    request = bank.request("banner:2", context={"page": "unheard of"})
    decision = bank.answer(strategy, request, customer, scorers={"cross_sell": scorer})
    nan = np.nan
    (matrix,) = scorer.seen
    np.testing.assert_array_equal(
        matrix,
        [
            [30, 1, 1, nan, nan, 1, 17, 5, 1, 1, 700, 0.1, 5],
            [30, 1, 1, nan, nan, 1, 17, 5, 0, 1, 1000, 0.2, nan],
        ],
    )
    assert decision.models == {"cross_sell": "m1"}
    assert bank.fate(decision, "a").propensity == 0.5


def test_integer_beyond_any_double_counts_as_missing(bank: SimpleNamespace) -> None:
    scorer = bank.scorer(constant(0.5), SCHEMA)
    bank.answer(bank.strategy(bank.offer("a")), customer=bank.customer(age=10**400), scorers={"cross_sell": scorer})
    assert np.isnan(scorer.seen[0][0, 0])


def test_same_schema_is_laid_out_once(bank: SimpleNamespace) -> None:
    prepared = prepare(bank.strategy(bank.offer("a")))
    equal = FeatureSchema(tuple(SCHEMA.columns))
    assert prepared.scoring.matrix_plan(SCHEMA, "cross_sell") is prepared.scoring.matrix_plan(equal, "cross_sell")


def test_swapped_model_with_other_columns_gets_its_own_matrix(bank: SimpleNamespace) -> None:
    prepared = prepare(bank.strategy(bank.offer("a")))
    narrow = FeatureSchema((Column(name="age", source=ColumnSource.ATTRIBUTE),))
    for schema in (SCHEMA, narrow, SCHEMA):
        scorer = bank.scorer(constant(0.5), schema)
        bank.answer(prepared, customer=bank.customer(age=3), scorers={"cross_sell": scorer})
        assert scorer.seen[0].shape == (1, len(schema.columns))


def test_each_model_scores_only_its_own_offers(bank: SimpleNamespace) -> None:
    strategy = bank.strategy(bank.offer("a"), bank.offer("b", model="churn"), bank.offer("c", model="churn"))
    scorers = {"cross_sell": bank.scorer(constant(0.3)), "churn": bank.scorer(constant(0.7), version="m2")}
    decision = bank.answer(strategy, bank.request("banner:3"), scorers=scorers)
    assert [bank.fate(decision, name).propensity for name in "abc"] == [0.3, 0.7, 0.7]
    assert decision.models == {"cross_sell": "m1", "churn": "m2"}
    assert [len(matrix) for matrix in scorers["churn"].seen] == [2]


def test_absent_model_gives_base_rates(bank: SimpleNamespace) -> None:
    decision = bank.answer(bank.strategy(bank.offer("a", base_rate=0.07)))
    assert bank.fate(decision, "a").propensity == 0.07
    assert decision.models == {"cross_sell": "prior"}
    assert decision.degraded_causes == ()


def test_absence_of_a_required_model_degrades(bank: SimpleNamespace) -> None:
    decision = bank.answer(bank.strategy(bank.offer("a"), required_models=frozenset({"cross_sell"})))
    assert decision.degraded_causes == ("model_missing",)
    assert bank.offered(decision) == [["a"]]


def test_required_model_nobody_needed_degrades_nothing(bank: SimpleNamespace) -> None:
    offer = bank.offer("a", eligibility=(bank.rule("age > 99"),))
    decision = bank.answer(bank.strategy(offer, required_models=frozenset({"cross_sell"})))
    assert (decision.degraded_causes, decision.models) == ((), {})


def broken(matrix: Any) -> Any:
    raise RuntimeError("no such leaf")


@pytest.mark.parametrize(
    "score",
    [
        broken,
        constant(float("nan")),
        constant(float("inf")),
        constant(1.0001),
        constant(-0.1),
        lambda matrix: np.array([0.5]),
        lambda matrix: np.full((len(matrix), 2), 0.5),
        lambda matrix: None,
        lambda matrix: ["high", "low"],
        lambda matrix: np.array([0.5, np.nan]),
    ],
)
def test_model_that_fails_is_replaced_by_base_rates(bank: SimpleNamespace, score: Callable[[Any], Any]) -> None:
    strategy = bank.strategy(bank.offer("a", base_rate=0.2), bank.offer("b", base_rate=0.1))
    decision = bank.answer(strategy, bank.request("banner:2"), scorers={"cross_sell": bank.scorer(score)})
    assert decision.degraded_causes == ("model_failed",)
    assert [bank.fate(decision, name).propensity for name in "ab"] == [0.2, 0.1]
    assert decision.models == {"cross_sell": "prior"}


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certainty_is_a_probability(bank: SimpleNamespace, probability: float) -> None:
    scorers = {"cross_sell": bank.scorer(constant(probability))}
    decision = bank.answer(bank.strategy(bank.offer("a")), scorers=scorers)
    assert (bank.fate(decision, "a").propensity, decision.degraded_causes) == (probability, ())


def test_refused_personalisation_leaves_only_what_is_not_about_the_person(bank: SimpleNamespace) -> None:
    weights = (
        bank.weight("age >= 18", 50),
        bank.weight('!has_product("gold_card")', 50),
        bank.weight('context.page == "cards"', 20),
    )
    offer = bank.offer("a", context_weights=weights, reasons=(bank.reason("age >= 18"),))
    scorer = bank.scorer(constant(0.9), SCHEMA)
    decision = bank.answer(
        bank.strategy(offer),
        bank.request(context={"page": "cards"}),
        bank.customer(age=40, balance=7, consents={"personalisation": False}),
        scorers={"cross_sell": scorer},
    )
    candidate = bank.fate(decision, "a")
    assert (candidate.propensity, candidate.context_weight) == (0.1, 20)
    assert decision.placements[0].options[0].reasons == ()
    assert decision.models == {"cross_sell": "prior"}
    assert decision.personalised is False
    assert decision.attributes == {}
    assert scorer.seen == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"lever": float("inf")},
        {"base_rate": float("nan")},
        {"context_weights": (ContextWeight(when="age > 1", weight=float("nan")),)},
    ],
)
def test_factor_that_is_not_finite_is_refused_with_the_strategy(
    bank: SimpleNamespace, overrides: dict[str, Any]
) -> None:
    with pytest.raises(StrategyInvalid, match=r"offers\.a"):
        prepare(bank.strategy(bank.offer("a", **overrides)))
