"""Champion, challenger and shadow: who scores which decision, and what a version in the shadow leaves behind."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pytest

from decision_engine.identifiers import CustomerId
from decision_engine.propensity import Column, ColumnSource, FeatureSchema, Matrix
from event_schemas.codec import decode
from services.api.hot_routes import HotRoutes
from services.ports import BusUnavailable
from services.use_cases.decision_record import models_used
from services.use_cases.decision_replay import Replayer
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.model_acts import Act, ApprovalMissing
from services.use_cases.model_traffic import Challenger, Shadow, SharedScorers, scorers_for
from services.use_cases.shadow_scoring import ShadowScoring

SCHEMA = FeatureSchema(
    (Column(name="age", source=ColumnSource.ATTRIBUTE), Column(name="base_rate", source=ColumnSource.OFFER))
)


class Fixed:
    """A scorer with one probability for everything; keeps the matrices it saw and the threads it ran in."""

    def __init__(self, version: str, probability: float, before: Callable[[], object] = lambda: None) -> None:
        self.version = version
        self.schema = SCHEMA
        self._probability = probability
        self._before = before
        self.seen: list[Matrix] = []
        self.threads: set[int] = set()

    def score(self, matrix: Matrix) -> np.ndarray:
        self._before()
        self.seen.append(matrix)
        self.threads.add(threading.get_ident())
        return np.full(len(matrix), self._probability)


CHAMPION, RIVAL = Fixed("cross_sell-a", 0.5), Fixed("cross_sell-b", 0.25)


@pytest.fixture(autouse=True)
def known(bank: Any) -> None:
    """Everybody is as `retail:1`."""
    bank.store.states |= dict.fromkeys(customers(40), bank.store.states["retail:1"])


def shared(share: float) -> SharedScorers:
    return SharedScorers({"cross_sell": CHAMPION}, {"cross_sell": Challenger(RIVAL, share)})


def customers(count: int = 4000) -> list[CustomerId]:
    return [CustomerId(f"retail:{number}") for number in range(count)]


def rivals_of(scorers: SharedScorers) -> set[CustomerId]:
    return {c for c in customers() if scorers_for(scorers, c)["cross_sell"].version == RIVAL.version}


def test_a_challenger_serves_its_share_of_the_customers_and_always_the_same() -> None:
    tenth = rivals_of(shared(0.1))
    assert len(tenth) / 4000 == pytest.approx(0.1, abs=0.02)
    assert tenth == rivals_of(shared(0.1))


def test_a_larger_share_keeps_those_of_the_smaller() -> None:
    assert rivals_of(shared(0.1)) < rivals_of(shared(0.3))


def test_another_challenger_meets_other_customers() -> None:
    other = SharedScorers({"cross_sell": CHAMPION}, {"cross_sell": Challenger(Fixed("cross_sell-c", 0.1), 0.1)})
    found = {c for c in customers() if scorers_for(other, c)["cross_sell"].version == "cross_sell-c"}
    assert len(found & rivals_of(shared(0.1))) < len(found) / 2


async def test_the_record_names_the_version_that_scored_and_is_computed_again_with_it(
    bank: Any, make_decision: Any, command: Any
) -> None:
    bank.live = replace(bank.live, scorers=shared(0.5))
    decided = {}
    for customer in customers(20):
        await make_decision(command(customer_id=customer))
        decided[customer] = bank.bus.events[-1].value
    versions = {customer: models_used(record)["cross_sell"] for customer, record in decided.items()}
    assert set(versions.values()) == {CHAMPION.version, RIVAL.version}
    assert versions == {c: scorers_for(shared(0.5), c)["cross_sell"].version for c in decided}
    known = {CHAMPION.version: CHAMPION, RIVAL.version: RIVAL}
    replayer = Replayer(
        lambda _: bank.live.prepared, lambda used: {name: known[version] for name, version in used.items()}
    )
    assert all(replayer.replay(record).identical for record in decided.values())


class Watched:
    """Makes decisions with one version in the shadow, and waits for what that publishes."""

    def __init__(self, bank: Any, shadow: Fixed, sample: float = 1.0, room: int = 64) -> None:
        self.bank = bank
        bank.live = replace(bank.live, scorers=MappingProxyType({"cross_sell": CHAMPION}))
        self.shadows = ShadowScoring(
            lambda: {"cross_sell": Shadow(shadow, sample)}, bank.bus, bank.metrics, room=room, rest=0.0
        )
        self.decide = MakeDecision(
            DecisionPorts(
                live=lambda: bank.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
                ids=bank.ids, metrics=bank.metrics, shadows=self.shadows,
            )
        )  # fmt: skip

    def told(self) -> list[Any]:
        return [decode(e.value) for e in self.bank.bus.events if e.topic == "nbo.shadow-scores.v1"]

    def counted(self, outcome: str) -> float:
        return float(self.bank.metrics.seen.get(("model_shadow_total", "cross_sell", outcome), 0))

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not reached():
                await asyncio.sleep(0)


async def test_a_shadow_scores_the_same_matrix_in_another_thread_and_changes_nothing(bank: Any, command: Any) -> None:
    CHAMPION.seen.clear()
    shadow = Fixed("cross_sell-b", 0.25)
    watched = Watched(bank, shadow)
    async with watched.shadows.running():
        answer = orjson.loads(await watched.decide(command("home_banner:2")))
        await watched.until(lambda: len(watched.told()) == 1)
    (event,) = watched.told()
    assert (event.data.decision_id, event.data.model) == (answer["decision_id"], "cross_sell")
    assert (event.data.served_version, event.data.version) == (CHAMPION.version, shadow.version)
    assert set(event.data.offers) == {"gold_card", "cash_plan"} and set(event.data.scores) == {0.25}
    assert np.array_equal(shadow.seen[0], CHAMPION.seen[0], equal_nan=True)
    assert shadow.threads.isdisjoint({threading.get_ident()})
    record = next(e.value for e in bank.bus.events if e.topic == "nbo.decisions.v1")
    assert models_used(record) == {"cross_sell": CHAMPION.version}
    assert watched.counted("scored") == 1


async def test_decisions_go_on_while_a_shadow_hangs_and_what_it_cannot_take_is_dropped(bank: Any, command: Any) -> None:
    hanging = threading.Event()
    watched = Watched(bank, Fixed("cross_sell-b", 0.25, before=lambda: hanging.wait(10)), room=4)
    async with watched.shadows.running():
        for customer in customers(12):
            assert orjson.loads(await watched.decide(command(customer_id=customer)))["degraded"] is False
        assert watched.told() == [] and watched.counted("dropped") >= 7
        hanging.set()
        await watched.until(lambda: watched.counted("scored") + watched.counted("dropped") == 12)


async def test_a_shadow_that_fails_is_counted_and_asked_again(bank: Any, command: Any) -> None:
    failures = iter([True, False])

    def fail() -> None:
        if next(failures):
            raise MemoryError

    watched = Watched(bank, Fixed("cross_sell-b", 0.25, before=fail))
    async with watched.shadows.running():
        for customer in customers(2):
            await watched.decide(command(customer_id=customer))
        await watched.until(lambda: watched.counted("failed") == watched.counted("scored") == 1)


async def test_a_bus_without_room_costs_shadow_scores_and_no_decision(
    bank: Any, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(bank, Fixed("cross_sell-b", 0.25))
    enqueue = bank.bus.enqueue

    def full(event: Any) -> None:
        if event.topic == "nbo.shadow-scores.v1":
            raise BusUnavailable
        enqueue(event)

    monkeypatch.setattr(bank.bus, "enqueue", full)
    async with watched.shadows.running():
        assert orjson.loads(await watched.decide(command()))["degraded"] is False
        await watched.until(lambda: watched.counted("dropped") == 1)


async def test_a_sample_asks_the_shadow_about_some_decisions(bank: Any, command: Any) -> None:
    watched = Watched(bank, Fixed("cross_sell-b", 0.25), sample=0.5)
    async with watched.shadows.running():
        for customer in customers(40):
            await watched.decide(command(customer_id=customer))
            await watched.until(lambda: not watched.shadows._waiting.qsize())
        await watched.until(lambda: watched.counted("scored") >= 8)
    assert watched.counted("scored") < 33 and watched.counted("dropped") == 0


async def test_nobody_without_personalisation_is_scored_in_the_shadow(bank: Any, command: Any, small_bank: Any) -> None:
    purposes = bank.live.prepared.strategy.consents
    refused = {**purposes, "personalisation": replace(purposes["personalisation"], granted_by_default=False)}
    bank.live = small_bank.live(consents=refused)
    shadow = Fixed("cross_sell-b", 0.25)
    watched = Watched(bank, shadow)
    async with watched.shadows.running():
        await watched.decide(command())
    assert watched.told() == [] and shadow.seen == []


@pytest.mark.parametrize("approver", [None, "", "li.wei", " LI.WEI "])
def test_nobody_approves_alone(approver: str | None) -> None:
    act = Act(event_id="1", at=None, actor="li.wei", approved_by=approver)  # type: ignore[arg-type]
    with pytest.raises(ApprovalMissing):
        act.require_second_person()
    replace(act, approved_by="zhao.min").require_second_person()


async def test_the_api_asks_the_shadow_about_what_it_decides(bank: Any, command: Any) -> None:
    watched = Watched(bank, Fixed("cross_sell-b", 0.25))
    routes = HotRoutes(bank.runtime(shadows=watched.shadows))
    body = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner", "count": 1}]}
    sent = iter([{"type": "http.request", "body": orjson.dumps(body), "more_body": False}])

    async def receive() -> Any:
        return next(sent)

    scope = {"type": "http", "method": "POST", "path": "/v1/decisions", "headers": [], "query_string": b""}
    async with watched.shadows.running():
        answer = await routes.decide(scope, receive)
        assert answer.status == 200
        await watched.until(lambda: len(watched.told()) == 1)
