"""Every way in which a decision can lack something has a name, keeps the answer valid and lets nothing ungated by."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import orjson
import pytest

from decision_engine.propensity import Column, ColumnSource, FeatureSchema
from event_schemas.codec import decode
from services.ports import StoreSlow
from services.use_cases import record_keeping
from services.use_cases.decision_record import record_data
from services.use_cases.decision_replay import replay_decision
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.scorer_watch import REST_SECONDS, STRIKES, ScorerWatch


class Model:
    """Scores everybody 0.5, or does what it is told."""

    version = "m1"
    schema = FeatureSchema((Column(name="age", source=ColumnSource.ATTRIBUTE),))

    def __init__(self, act: Callable[[int], Any] = lambda rows: np.full(rows, 0.5)) -> None:
        self.act = act
        self.calls = 0

    def score(self, matrix: Any) -> Any:
        self.calls += 1
        return self.act(len(matrix))


def raising(rows: int) -> Any:
    raise MemoryError


def with_model(bank: Any, model: Model) -> None:
    bank.live = replace(bank.live, scorers={"cross_sell": model})


def offers(answer: dict[str, Any]) -> list[str]:
    return [option["offer"] for place in answer["placements"] for option in place.get("options", [])]


def used_up(milliseconds: float = 1_000) -> float:
    """The arrival of a request that has waited so long already."""
    return perf_counter() - milliseconds / 1000


@pytest.fixture
def ask(make_decision: Any, command: Any, bank: Any) -> Any:
    """The answer; what was published of it must replay to the same bytes and read as an event."""

    async def asked(*places: str, **overrides: Any) -> dict[str, Any]:
        before = len(bank.bus.events)
        answer = orjson.loads(await make_decision(command(*places, **overrides)))
        for placement in answer["placements"]:
            assert ("options" in placement) != ("fallback" in placement)
        for event in bank.bus.events[before:]:
            live = bank.live
            assert decode(event.value).data.decision_id == answer["decision_id"]
            assert replay_decision(event.value, live.prepared, live.wording, live.scorers) == event.value
        return answer

    return asked


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (raising, "model_failed"),
        (lambda rows: np.full(rows, np.nan), "model_failed"),
        (lambda rows: np.full(rows, 1.5), "model_failed"),
        (lambda rows: np.full(rows, -0.1), "model_failed"),
        (lambda rows: np.full(rows + 1, 0.5), "model_failed"),
        (lambda rows: "half", "model_failed"),
    ],
    ids=["raises", "nan", "above one", "below zero", "wrong count", "no numbers"],
)
async def test_a_model_that_gives_no_probabilities_is_replaced_by_base_rates(
    bank: Any, ask: Any, act: Any, cause: str
) -> None:
    with_model(bank, Model(act))
    answer = await ask("home_banner:2")
    assert answer["degraded_causes"] == [cause]
    assert answer["models"] == {"cross_sell": "prior"}
    assert offers(answer) == ["gold_card", "cash_plan"]
    assert answer["placements"][0]["options"][0]["propensity"] == 0.1
    assert record_data(bank.bus.events[0].value)["models_failed"] == ["cross_sell"]


async def test_a_model_the_strategy_requires_is_missed_by_name(small_bank: Any, bank: Any, ask: Any) -> None:
    bank.live = small_bank.live(required_models=frozenset({"cross_sell"}))
    answer = await ask()
    assert (answer["degraded_causes"], offers(answer)) == (["model_missing"], ["gold_card"])


async def test_one_model_missing_and_another_failing_are_told_apart_in_replay(
    small_bank: Any, bank: Any, ask: Any
) -> None:
    """`ask` replays: the missing one is missing again, the failing one fails again."""
    other = small_bank.offer("car_loan", model="lending", value=5_000)
    bank.live = small_bank.live(*small_bank.OFFERS, other, required_models=frozenset({"lending"}))
    with_model(bank, Model(raising))
    answer = await ask("home_banner:3")
    assert set(answer["degraded_causes"]) == {"model_missing", "model_failed"}
    assert record_data(bank.bus.events[0].value)["models_failed"] == ["cross_sell"]


class Seconds:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def slow_model(clock: Seconds, seconds: float) -> Model:
    def act(rows: int) -> Any:
        clock.now += seconds
        return np.full(rows, 0.5)

    return Model(act)


async def test_a_slow_model_is_named_at_once_and_left_out_when_it_stays_slow(
    bank: Any, make_decision: Any, ask: Any
) -> None:
    clock = Seconds()
    make_decision._models = ScorerWatch(clock)
    model = slow_model(clock, 0.4)
    with_model(bank, model)
    for _ in range(STRIKES):
        answer = await ask(timeout_ms=1_000)
        assert (answer["degraded_causes"], answer["models"]) == (["model_slow"], {"cross_sell": "m1"})
    answer = await ask(timeout_ms=1_000)
    assert model.calls == STRIKES * 2, "the last decision did not ask it; each replay asked once more"
    assert (answer["degraded_causes"], answer["models"]) == (["model_slow"], {"cross_sell": "prior"})


async def test_a_model_that_has_recovered_serves_again_after_its_rest(bank: Any, make_decision: Any, ask: Any) -> None:
    clock = Seconds()
    make_decision._models = ScorerWatch(clock)
    with_model(bank, slow_model(clock, 0.4))
    for _ in range(STRIKES):
        await ask(timeout_ms=1_000)
    with_model(bank, slow_model(clock, 0.0))
    assert (await ask(timeout_ms=1_000))["models"] == {"cross_sell": "prior"}, "it rests"
    clock.now += REST_SECONDS + 1
    for _ in range(2):
        answer = await ask(timeout_ms=1_000)
        assert (answer["degraded_causes"], answer["models"]) == ([], {"cross_sell": "m1"})


async def test_another_version_of_a_slow_model_starts_afresh(bank: Any, make_decision: Any, ask: Any) -> None:
    clock = Seconds()
    make_decision._models = ScorerWatch(clock)
    with_model(bank, slow_model(clock, 0.4))
    for _ in range(STRIKES):
        await ask(timeout_ms=1_000)
    model = slow_model(clock, 0.0)
    model.version = "m2"
    with_model(bank, model)
    assert (await ask(timeout_ms=1_000))["models"] == {"cross_sell": "m2"}


async def test_a_request_that_waited_too_long_asks_no_store(bank: Any, ask: Any) -> None:
    answer = await ask(started_s=used_up(70), timeout_ms=100)
    assert answer["degraded_causes"][:3] == ["state_unavailable", "ledger_unavailable", "deadline"]
    assert bank.store.reads == 0
    assert offers(answer) == []


async def test_a_decision_that_comes_too_late_reserves_nothing(bank: Any, ask: Any) -> None:
    """The model ate the time that the reservation needed."""

    def act(rows: int) -> Any:
        until = perf_counter() + 0.12
        while perf_counter() < until:
            pass
        return np.full(rows, 0.5)

    with_model(bank, Model(act))
    answer = await ask(timeout_ms=100)
    assert answer["degraded_causes"][:3] == ["ledger_unavailable", "deadline", "model_slow"]
    assert (offers(answer), bank.store.ledgers) == ([], {})


async def test_a_record_is_kept_behind_an_answer_that_cannot_wait(bank: Any, ask: Any, make_decision: Any) -> None:
    bank.store.hang.add("save")
    answer = await ask(timeout_ms=50)
    assert (answer["degraded_causes"], offers(answer)) == (["store_slow"], ["gold_card"])
    assert bank.store.records == {}
    bank.store.hang.clear()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("keep "):
            task.cancel()  # the attempt that hangs for ever; a real store answers or fails it
    assert bank.metrics.seen["degraded_total", "store_slow"] == 1


async def test_what_is_left_of_the_budget_gets_the_answer_out(bank: Any, ask: Any, make_decision: Any) -> None:
    waited = []
    keep = make_decision.keeper.keep

    async def noted(save: Any, decision_id: str, seconds: float) -> Any:
        waited.append(seconds)
        return await keep(save, decision_id, seconds)

    make_decision.keeper.keep = noted
    await ask(timeout_ms=10_000)
    assert len(waited) == 1
    assert 0 < waited[0] <= 9.5


async def test_a_store_that_comes_back_gets_the_record(bank: Any, ask: Any, make_decision: Any) -> None:
    bank.store.fail.add("save")
    answer = await ask()
    assert answer["degraded_causes"] == ["store_unavailable"]
    bank.store.fail.clear()
    await make_decision.keeper.drain()
    assert bank.store.records == {answer["decision_id"]: bank.bus.events[0].value}
    tracking = answer["placements"][0]["options"][0]["tracking_id"]
    assert tracking in bank.store.options, "a response to it is recognised"


async def test_a_record_that_nobody_took_in_the_end_is_counted(bank: Any, ask: Any, make_decision: Any) -> None:
    make_decision.keeper._late_seconds = 0.01
    bank.store.fail.add("save")
    await ask()
    await make_decision.keeper.drain()
    assert bank.metrics.seen["records_unkept_total", "store"] == 1


async def test_a_stop_waits_for_late_records_and_counts_those_it_gives_up(
    bank: Any, ask: Any, make_decision: Any
) -> None:
    bank.store.fail.add("save")
    await ask()
    draining = asyncio.create_task(make_decision.keeper.drain(5.0))
    bank.store.fail.clear()
    await draining
    assert (len(bank.store.records), make_decision.keeper.late) == (1, 0)
    bank.store.fail.add("save")
    await ask()
    await make_decision.keeper.drain(0.01)
    assert (len(bank.store.records), make_decision.keeper.late) == (1, 0)
    assert bank.metrics.seen["records_unkept_total", "store"] == 1


async def test_a_full_way_to_the_bus_is_named_and_counted(bank: Any, ask: Any) -> None:
    bank.bus.gone = True
    answer = await ask()
    assert (answer["degraded_causes"], offers(answer)) == (["publish_delayed"], ["gold_card"])
    assert answer["decision_id"] in bank.store.records
    assert bank.metrics.seen["degraded_total", "publish_delayed"] == 1


async def test_a_delayed_record_is_published_when_there_is_room_again(
    bank: Any, ask: Any, make_decision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.0)
    bank.bus.gone = True
    asked = [(await ask(request_id=name))["decision_id"] for name in (None, "r1", "r2")]
    assert (bank.bus.events, make_decision.keeper.unpublished) == ([], 3)
    bank.bus.gone = False
    async with asyncio.timeout(5):
        while make_decision.keeper.unpublished:
            await asyncio.sleep(0)
    assert [decode(event.value).data.decision_id for event in bank.bus.events] == asked
    assert ("records_unkept_total", "bus") not in bank.metrics.seen


async def test_what_waits_for_the_bus_is_bounded_and_counted_when_given_up(
    bank: Any, ask: Any, make_decision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_keeping, "MAX_UNPUBLISHED", 2)
    bank.bus.gone = True
    for _ in range(3):
        await ask()
    assert bank.metrics.seen["records_unkept_total", "bus"] == 1
    await make_decision.keeper.drain(1.0)
    assert (make_decision.keeper.unpublished, bank.metrics.seen["records_unkept_total", "bus"]) == (0, 3)


async def test_what_neither_store_nor_bus_recorded_is_not_offered(bank: Any, ask: Any) -> None:
    bank.bus.gone = True
    bank.store.fail.add("save")
    answer = await ask()
    assert offers(answer) == []
    assert answer["placements"][0]["fallback_cause"] == "DEGRADED"
    assert answer["degraded_causes"] == ["publish_delayed", "store_unavailable", "unaudited"]
    assert bank.metrics.seen["degraded_total", "unaudited"] == 1


async def test_an_answer_of_the_ledger_that_makes_no_sense_reserves_nothing(bank: Any, ask: Any) -> None:
    async def odd(customer_id: str, request: Any) -> list[int | None]:
        return [7] * len(request.positions)

    bank.store.reserve = odd
    answer = await ask("home_banner:2")
    assert (answer["degraded_causes"], offers(answer)) == (["ledger_unavailable", "ledger_unreadable"], [])


async def test_a_ledger_that_cannot_be_read_is_none(bank: Any, ask: Any) -> None:
    bank.store.ledgers["retail:1"] = b"odd"
    answer = await ask("home_banner:2")
    assert (answer["degraded_causes"], offers(answer)) == (["ledger_unavailable", "ledger_unreadable"], [])
    assert record_data(bank.bus.events[0].value)["ledger"] is None


async def test_a_store_that_says_it_is_slow_is_slow(bank: Any, ask: Any) -> None:
    async def slow(*_: Any) -> Any:
        raise StoreSlow

    bank.store.reserve = slow
    assert (await ask())["degraded_causes"] == ["ledger_unavailable", "ledger_slow"]
    bank.store.read_for_decision = slow
    assert (await ask())["degraded_causes"] == ["state_unavailable", "ledger_unavailable", "state_slow"]


async def test_every_answered_decision_is_kept_published_or_counted(small_bank: Any, bank: Any, command: Any) -> None:
    """Whatever mixture of faults a run of decisions meets."""
    make = MakeDecision(
        DecisionPorts(
            live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics,
        )
    )  # fmt: skip
    make.keeper._late_seconds = 0.01
    answered = []
    for number in range(64):
        bank.store.fail = {name for bit, name in enumerate(("read", "reserve", "save")) if number >> bit & 1}
        bank.bus.gone = bool(number >> 3 & 1)
        answered.append(orjson.loads(await make(command(dry_run=bool(number >> 4 & 1))))["decision_id"])
        await make.keeper.drain()
    published = {decode(event.value).data.decision_id for event in bank.bus.events}
    lost = [id_ for id_ in answered if id_ not in published and id_ not in bank.store.records]
    dry, unaudited = 32, bank.metrics.seen["degraded_total", "unaudited"]
    assert len(lost) == dry + unaudited
    assert bank.metrics.seen["records_unkept_total", "bus"] == 16
    assert bank.metrics.seen["records_unkept_total", "store"] == 16
