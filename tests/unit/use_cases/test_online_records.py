"""A strategy that learns online: what it used is in the record, and the decision made again has the same bytes."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from decision_engine.online import OnlineLearning, OnlineTable, Row, unknown_table
from decision_engine.prepared import prepare
from decision_engine.strategy import ConsentPurpose, Exploration
from event_schemas.codec import decode
from event_schemas.decisions import DecisionMade
from services.ports import Delivery
from services.use_cases.decision_replay import replay_decision
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.workers.online_facts import Offered, OnlineFactUnreadable, read_fact

TERMS = OnlineLearning(half_life_seconds=86_400, window_seconds=3_600, steps=(60, 3_600))


def learning(bank: Any, exploration: Exploration) -> Any:
    """The bank's strategy, learning online, and a table that says something of everything."""
    strategy = replace(bank.live.prepared.strategy, online=TERMS, exploration=exploration)
    prepared = prepare(strategy)
    assert prepared.online is not None
    draws, size = np.random.default_rng(7), len(prepared.online.treatments)
    row = Row(multipliers=draws.uniform(0.3, 3.0, size), shapes=draws.uniform(1.0, 40.0, size))
    bank.live = replace(bank.live, prepared=prepared)
    for number in range(20):
        bank.store.states[f"retail:{number}"] = bank.store.states["retail:1"]
    unseen = unknown_table(prepared.online).unseen
    return OnlineTable(
        treatments=prepared.online.treatments, unseen=unseen, rows={("prior", ""): row}, as_of_ms=bank.clock.now_ms()
    )


def maker(bank: Any, table: OnlineTable | None) -> MakeDecision:
    return MakeDecision(
        DecisionPorts(
            live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics, online=lambda: table,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "exploration", [Exploration(), Exploration(kind="thompson", rounds=50), Exploration(kind="inverse_gap", gamma=5.0)]
)
async def test_a_record_replays_byte_for_byte_without_the_table(
    bank: Any, command: Any, exploration: Exploration
) -> None:
    make = maker(bank, learning(bank, exploration))
    for number in range(20):
        await make(command("home_banner:2", customer_id=f"retail:{number}", request_id=None))
    for event in bank.bus.events:
        again = replay_decision(event.value, bank.live.prepared, bank.live.wording, {})
        assert again == event.value
        assert isinstance(decode(event.value), DecisionMade)
    used = orjson.loads(bank.bus.events[0].value)["data"]["online"]
    assert used["base"] == dict.fromkeys(used["base"], 0.1)
    assert set(used["versions"].values()) == {"prior"}


async def test_the_recorded_propensity_is_the_base_with_the_multiplier_on_its_odds(bank: Any, command: Any) -> None:
    make = maker(bank, learning(bank, Exploration()))
    await make(command("home_banner:2"))
    data = orjson.loads(bank.bus.events[0].value)["data"]
    multipliers = dict(zip(data["online"]["treatments"], data["online"]["multipliers"], strict=True))
    for option in data["placements"][0]["options"]:
        multiplier, base = multipliers[option["treatment"]], data["online"]["base"][option["offer"]]
        assert option["propensity"] == pytest.approx(multiplier * base / (1 - base + multiplier * base), rel=1e-12)


async def test_a_strategy_that_does_not_learn_online_takes_no_notice_of_beliefs(bank: Any, command: Any) -> None:
    plain = bank.live
    table = learning(bank, Exploration())
    bank.live = plain
    await maker(bank, None)(command("home_banner:2", customer_id="retail:1", request_id=None))
    await maker(bank, table)(command("home_banner:2", customer_id="retail:2", request_id=None))
    first, second = (orjson.loads(event.value)["data"] for event in bank.bus.events)
    assert "online" not in first
    assert "online" not in second
    assert [o["propensity"] for o in first["placements"][0]["options"]] == [
        o["propensity"] for o in second["placements"][0]["options"]
    ]


async def test_before_anything_was_read_the_models_decide_alone(bank: Any, command: Any) -> None:
    learning(bank, Exploration())
    await maker(bank, None)(command("home_banner:2"))
    data = orjson.loads(bank.bus.events[0].value)["data"]
    assert "online" not in data
    assert {option["propensity"] for option in data["placements"][0]["options"]} == {0.1}


async def test_who_refuses_personalisation_is_neither_scored_by_beliefs_nor_learnt_from(
    bank: Any, command: Any
) -> None:
    make = maker(bank, learning(bank, Exploration()))
    refused = ConsentPurpose(name="personalisation", granted_by_default=False, text={"en": "x"})
    consents = {**bank.live.prepared.strategy.consents, "personalisation": refused}
    bank.live = replace(bank.live, prepared=prepare(replace(bank.live.prepared.strategy, consents=consents)))
    await make(command("home_banner:2"))
    data = orjson.loads(bank.bus.events[0].value)["data"]
    assert not data["personalised"]
    assert "online" not in data


async def test_the_learner_reads_from_the_record_what_it_was_served_with(bank: Any, command: Any) -> None:
    make = maker(bank, learning(bank, Exploration()))
    await make(command("home_banner:2"))
    (event,) = bank.bus.events
    fact = read_fact(Delivery(event.topic, 0, 0, event.key.encode(), event.value, ()))
    data = orjson.loads(event.value)["data"]
    options = data["placements"][0]["options"]
    assert isinstance(fact, Offered)
    assert [option.tracking_id for option in fact.options] == [option["tracking_id"] for option in options]
    multipliers = dict(zip(data["online"]["treatments"], data["online"]["multipliers"], strict=True))
    for found, option in zip(fact.options, options, strict=True):
        assert found.cell == ("prior", option["treatment"], "")
        expected = option["propensity"] / multipliers[option["treatment"]]
        assert found.exposure == pytest.approx(expected, rel=1e-12)
    broken = event.value.replace(b'"versions":', b'"verses":')
    with pytest.raises(OnlineFactUnreadable):
        read_fact(Delivery(event.topic, 0, 0, event.key.encode(), broken, ()))


async def test_a_table_of_another_strategy_is_read_by_name(bank: Any, command: Any) -> None:
    table = learning(bank, Exploration())
    (key, row), *_ = table.rows.items()
    turned = Row(multipliers=row.multipliers[::-1], shapes=row.shapes[::-1])
    other = OnlineTable(treatments=table.treatments[::-1], unseen=table.unseen, rows={key: turned})
    await maker(bank, table)(command("home_banner:2", customer_id="retail:1", request_id=None))
    await maker(bank, other)(command("home_banner:2", customer_id="retail:2", request_id=None))
    first, second = (orjson.loads(event.value)["data"] for event in bank.bus.events)
    assert first["online"]["multipliers"] == second["online"]["multipliers"]
