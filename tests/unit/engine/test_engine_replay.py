"""Replay: the record of a decision is enough to make it again."""

from types import SimpleNamespace

import numpy as np

from decision_engine.decision import Decision
from decision_engine.engine import decide, settle
from decision_engine.prepared import prepare
from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from decision_engine.replay import attributes_used, snapshot_of
from decision_engine.strategy import Exploration, SuitabilityGate

SCHEMA = FeatureSchema(
    (
        Column(name="rate", source=ColumnSource.ATTRIBUTE),
        Column(name="page", source=ColumnSource.CONTEXT),
        Column(name="value", source=ColumnSource.OFFER),
    )
)


def strategy_reading_everything(bank: SimpleNamespace) -> object:
    fund = bank.offer(
        "fund",
        risk_level=2,
        eligibility=(bank.rule("age >= 18"),),
        reasons=(bank.reason("balance >= 100"),),
        context_weights=(bank.weight('has_product("savings")', 30),),
    )
    return bank.strategy(
        fund,
        bank.offer("card"),
        suitability=SuitabilityGate(level_attribute="risk_level", assessed_attribute="risk_assessed_at", valid_days=9),
        exploration=Exploration(kind="epsilon_greedy", epsilon=0.5),
    )


def rich_customer(bank: SimpleNamespace, **overrides: object) -> object:
    attributes = {
        "age": 40, "balance": 500, "rate": 0.25, "city": "beijing", "risk_level": "C4", "risk_assessed_at": bank.NOW,
    }  # fmt: skip
    return bank.customer(holdings=frozenset({"savings", "card"}), **(attributes | overrides))


def test_record_keeps_the_attributes_something_could_read_and_no_others(bank: SimpleNamespace) -> None:
    scorer = bank.scorer(lambda matrix: np.full(len(matrix), 0.5), SCHEMA)
    decision = bank.answer(
        strategy_reading_everything(bank), customer=rich_customer(bank), scorers={"cross_sell": scorer}
    )
    assert set(decision.attributes) == {"age", "balance", "rate", "risk_level", "risk_assessed_at"}
    assert decision.holdings == ("card", "savings")
    assert (decision.known, decision.newest_event_ms) == (True, bank.NOW - 500)


def test_refused_personalisation_records_only_what_the_gates_read(bank: SimpleNamespace) -> None:
    customer = rich_customer(bank, consents={"personalisation": False})
    decision = bank.answer(strategy_reading_everything(bank), customer=customer)
    assert set(decision.attributes) == {"age", "risk_level", "risk_assessed_at"}
    assert decision.consents == {"personalisation": False}


def test_attributes_used_are_those_of_rules_reasons_gates_and_models(bank: SimpleNamespace) -> None:
    prepared = prepare(strategy_reading_everything(bank))
    rules = {"age", "balance", "risk_level", "risk_assessed_at"}
    assert attributes_used(prepared, ()) == rules
    assert attributes_used(prepared, (SCHEMA,)) == rules | {"rate"}


def test_decision_made_again_from_its_record_is_equal(bank: SimpleNamespace) -> None:
    prepared = prepare(strategy_reading_everything(bank))
    scorers = {"cross_sell": bank.scorer(lambda matrix: matrix[:, 0], SCHEMA)}
    seen: set[str] = set()
    for number in range(40):
        request = bank.request("banner", "tile", decision_id=f"d{number}")
        first = decide(prepared, request, rich_customer(bank), (), scorers)
        taken = [len(seats) - 1 for seats in first.reservation.positions]
        decision = settle(prepared, first, taken)
        again = settle(prepared, decide(prepared, request, snapshot_of(decision), (), scorers), decision.taken)
        assert isinstance(again, Decision)
        assert again == decision
        assert list(again.attributes) == list(decision.attributes)
        seen.add(decision.placements[0].options[0].candidate.offer)
    assert seen == {"fund", "card"}
