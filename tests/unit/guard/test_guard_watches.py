"""What the guard watches, what it compares, and that a rollback is done once."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from decision_engine.guard_terms import GuardTerms
from event_schemas.envelope import epoch_ms
from event_schemas.topics import DECISIONS, RESPONSES
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.commands.guard import METRICS
from services.ports import BusUnavailable, Delivery, StrategyUnknown
from services.use_cases.governance.state import Decides, GovernanceState
from services.use_cases.governance.writer import ActRefused
from services.workers.guard import Guard, GuardTools

BEGIN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
TERMS = GuardTerms(window_seconds=600, watch_seconds=1_200, answer_seconds=60, least=50)


def decides(version: str, minutes: float = 0, **more: Any) -> Decides:
    return Decides(version=version, name="bank", actor="somebody", at=BEGIN + timedelta(minutes=minutes), **more)


@dataclass
class Desk:
    """A desk that notes what is taken back; `fails` is raised instead."""

    known: GovernanceState
    fails: Exception | None = None
    done: list[tuple[str | None, str, str]] = field(default_factory=list)

    def state(self) -> GovernanceState:
        return self.known

    def active_version(self) -> str | None:
        return None if self.known.active is None else self.known.active.version

    async def rollback(self, *, actor: str, comment: str | None = None, version: str | None = None) -> Decides:
        self.done.append((version, actor, comment or ""))
        if self.fails is not None:
            raise self.fails
        return decides("a")


@dataclass
class Clock:
    at: datetime = BEGIN

    def now_ms(self) -> int:
        return epoch_ms(self.at)


@dataclass
class World:
    """A guard over decisions made up by the test."""

    desk: Desk
    guard: Guard
    clock: Clock
    metrics: PrometheusMetrics
    number: int = 0

    def decide(self, version: str, minutes: float, *, customers: int = 1, bad: int = 0, **data: Any) -> list[str]:
        """So many customers, of whom the first `bad` fall back."""
        made = []
        for each in range(customers):
            self.number += 1
            placement = {"fallback_cause": "ALL_REJECTED"} if each < bad else {"options": [{"offer": "gold_card"}]}
            record = {
                "decision_id": f"D{self.number}", "customer_id": f"retail:{self.number}", "strategy_version": version,
                "placements": [placement], "degraded_causes": [],
            }  # fmt: skip
            self._take(DECISIONS, record | data, minutes)
            made.append(f"D{self.number}")
        return made

    def accept(self, decision_ids: list[str], minutes: float) -> None:
        for decision_id in decision_ids:
            self._take(RESPONSES, {"decision_id": decision_id, "outcome": "accept"}, minutes)

    def _take(self, topic: str, data: dict[str, Any], minutes: float) -> None:
        at_ms = epoch_ms(BEGIN + timedelta(minutes=minutes))
        self.guard.take([Delivery(topic, 0, self.number, None, orjson.dumps({"data": data}), (), at_ms)])

    async def look(self, minutes: float) -> Any:
        self.clock.at = BEGIN + timedelta(minutes=minutes)
        return await self.guard.look()


def world(state: GovernanceState, terms: GuardTerms = TERMS, fails: Exception | None = None) -> World:
    desk, clock, metrics = Desk(state, fails), Clock(), PrometheusMetrics(METRICS)
    stream: Any = None
    tools = GuardTools(desk=desk, terms_of=lambda _: terms, clock=clock, metrics=metrics)
    guard = Guard(stream, tools)
    guard.window.kept_ms = 10**8
    return World(desk, guard, clock, metrics)


def canary() -> GovernanceState:
    return GovernanceState(activations=(decides("a"),), canary=decides("b", share=0.1))


def replaced(**more: Any) -> GovernanceState:
    return GovernanceState(activations=(decides("a", -60), decides("b", 0, **more)))


async def test_a_canary_that_falls_back_much_more_is_taken_back_with_the_figures_once() -> None:
    now = world(canary())
    now.decide("a", 1, customers=400, bad=20)
    now.decide("b", 1, customers=200, bad=100)
    assert (await now.look(2)).measure == "fallback"
    ((version, actor, comment),) = now.desk.done
    assert (version, actor) == ("b", "guard")
    assert "fallback 50.00% of 200 customers, before 5.00% of 400" in comment
    assert await now.look(3) is None
    assert len(now.desk.done) == 1


async def test_a_version_that_somebody_activates_again_is_watched_anew() -> None:
    now = world(canary())
    now.decide("a", 1, customers=400)
    now.decide("b", 1, customers=200, bad=100)
    await now.look(2)
    now.desk.known = GovernanceState(activations=(decides("a"),), canary=decides("b", 5, share=0.1))
    assert await now.look(6) is None, "what was before the new act counts no more"
    now.decide("a", 6, customers=400)
    now.decide("b", 6, customers=200, bad=100)
    await now.look(7)
    assert len(now.desk.done) == 2


async def test_equally_good_versions_are_left_alone() -> None:
    now = world(canary())
    now.decide("a", 1, customers=400, bad=40)
    now.decide("b", 1, customers=200, bad=22)
    assert await now.look(2) is None
    assert now.desk.done == []


async def test_a_customer_counts_once_however_often_they_come() -> None:
    now = world(canary())
    now.decide("a", 1, customers=400)
    now.decide("b", 1, customers=100)
    for _ in range(300):
        now.decide("b", 1.5, bad=1, customer_id="retail:1000000")
    assert await now.look(2) is None


async def test_what_was_activated_for_all_is_compared_with_the_window_before() -> None:
    now = world(replaced())
    now.decide("a", -5, customers=300, degraded_causes=["model_missing"][:0])
    now.decide("a", -30, customers=300, bad=300)  # longer ago than a window
    now.decide("b", 1, customers=300, bad=150)
    assert (await now.look(2)).old.share == 0


async def test_it_is_watched_for_a_while_only() -> None:
    now = world(replaced())
    now.decide("a", -5, customers=300)
    now.decide("b", 21, customers=300, bad=150)
    assert await now.look(22) is None


@pytest.mark.parametrize(("cause", "taken_back"), [("state_unavailable", False), ("model_failed", True)])
async def test_between_versions_one_after_the_other_only_their_own_faults_count(cause: str, taken_back: bool) -> None:
    now = world(replaced())
    now.decide("a", -5, customers=300)
    now.decide("b", 1, customers=300, degraded_causes=[cause])
    assert (await now.look(2) is not None) is taken_back


async def test_beside_each_other_every_fault_counts() -> None:
    now = world(canary())
    now.decide("a", 1, customers=300)
    now.decide("b", 1, customers=300, degraded_causes=["state_unavailable"])
    assert (await now.look(2)).measure == "degraded"


async def test_an_offer_counts_for_acceptance_once_it_has_waited() -> None:
    now = world(canary())
    now.accept(now.decide("a", 1, customers=600)[:200], 1.5)
    now.decide("b", 1, customers=600)
    assert await now.look(1.9) is None, "nobody has waited for a minute yet"
    found = await now.look(3)
    assert (found.measure, found.new.bad, found.old.bad) == ("acceptance", 0, 200)


async def test_an_acceptance_that_comes_too_late_is_none() -> None:
    now = world(canary())
    now.accept(now.decide("a", 1, customers=600)[:200], 2.5)
    now.decide("b", 1, customers=600)
    assert await now.look(4) is None


@pytest.mark.parametrize(
    "state",
    [
        GovernanceState(),
        GovernanceState(activations=(decides("b"),)),
        replaced(rolled_back=True),
    ],
)
async def test_nothing_is_watched_where_there_is_no_new_version_with_one_before(state: GovernanceState) -> None:
    now = world(state)
    now.decide("a", -1, customers=300)
    now.decide("b", 1, customers=300, bad=300)
    assert await now.look(2) is None
    assert "kairos_guard_watching 0.0" in now.metrics.exposition()[0].decode()


async def test_a_guard_that_is_off_does_nothing() -> None:
    now = world(canary(), GuardTerms(enabled=False))
    now.decide("a", 1, customers=400)
    now.decide("b", 1, customers=400, bad=400)
    assert await now.look(2) is None


async def test_a_rollback_that_is_refused_is_not_asked_for_again() -> None:
    now = world(canary(), fails=ActRefused("no"))
    now.decide("a", 1, customers=400)
    now.decide("b", 1, customers=400, bad=400)
    await now.look(2)
    await now.look(3)
    assert len(now.desk.done) == 1


async def test_a_rollback_that_the_bus_did_not_take_is_tried_again() -> None:
    now = world(canary(), fails=BusUnavailable("away"))
    now.decide("a", 1, customers=400)
    now.decide("b", 1, customers=400, bad=400)
    await now.look(2)
    now.desk.fails = None
    await now.look(3)
    assert len(now.desk.done) == 2


async def test_a_version_whose_terms_cannot_be_read_is_watched_by_the_usual_ones() -> None:
    def unknown(_: str) -> GuardTerms:
        raise StrategyUnknown("gone")

    now = world(canary())
    now.guard.tools = GuardTools(desk=now.desk, terms_of=unknown, clock=now.clock, metrics=now.metrics)
    now.decide("a", 1, customers=400)
    now.decide("b", 1, customers=400, bad=400)
    assert await now.look(2) is not None


def test_what_cannot_be_read_tells_nothing() -> None:
    now = world(canary())
    for value in (None, b"", b"{", b'{"data": 1}', b'{"data": {}}'):
        now.guard.take([Delivery(topic, 0, 0, None, value, (), 0) for topic in (DECISIONS, RESPONSES)])
