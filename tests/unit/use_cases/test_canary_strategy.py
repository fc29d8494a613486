"""Two versions at once: each customer wholly by one of them, and always by the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import orjson
import pytest

from event_schemas.control import ACTIVE_SUBJECT, StrategyAct, StrategyActivated, StrategyRolledBack
from services.ports import StrategyUnknown
from services.use_cases.canary_strategy import CanaryStrategy
from services.use_cases.decision_answer import word
from services.use_cases.decision_replay import replay_decision
from services.use_cases.live_strategy import ActiveVersion, LiveStrategy, ReadyStrategy
from services.use_cases.make_decision import DecisionPorts, MakeDecision
from services.use_cases.versions_now import is_in_share

WAIT_S = 20
CUSTOMERS: list[Any] = [f"retail:{number}" for number in range(200)]


@dataclass
class Tools:
    """What a second version asks for, in memory."""

    versions: dict[str, ReadyStrategy]
    whole: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)

    def load(self, version: str) -> ReadyStrategy:
        if version not in self.versions:
            raise StrategyUnknown(f"strategy {version} is not kept")
        return self.versions[version]

    def scorers(self) -> dict[str, Any]:
        return self.models

    def scorers_for(self, ready: ReadyStrategy) -> dict[str, Any]:
        return dict(self.models)

    async def is_whole(self, layout: str) -> bool:
        return layout in self.whole

    async def adopt(self, ready: ReadyStrategy) -> None:
        self.done.append(f"adopt {ready.prepared.strategy.version}")

    async def release(self, ready: ReadyStrategy) -> None:
        self.done.append(f"release all but {ready.prepared.strategy.version}")

    async def adopt_beside(self, ready: ReadyStrategy) -> None:
        self.done.append(f"beside {ready.prepared.strategy.version}")

    async def release_beside(self, live: Any) -> None:
        self.done.append(f"alone {live.prepared.strategy.version}")


@dataclass
class Node:
    """A bank that decides by `strategy-1` and may give `strategy-2` a share."""

    bank: Any
    tools: Tools
    active: ActiveVersion
    live: LiveStrategy
    canary: CanaryStrategy
    store: Any

    async def act(self, version: str, kind: Any = StrategyActivated, **more: Any) -> None:
        data = StrategyAct(name="small_bank", version=version, actor="somebody", **more)
        event = kind(id="a", source="test", subject=ACTIVE_SUBJECT, time=datetime.now(UTC), data=data)
        await self.active.on_act(event)

    def versions(self) -> dict[str, str]:
        return {c: str(self.canary.live_for(c).prepared.strategy.version) for c in CUSTOMERS}

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        async with self.live.following(), self.canary.following():
            yield


@pytest.fixture
def node(bank: Any, small_bank: ModuleType) -> Node:
    other = small_bank.live(small_bank.offer("new_card"), version="strategy-2")
    features = replace(other.features, layout="f" * 16)
    store = small_bank.FakeStore(states={c: small_bank.state(features) for c in CUSTOMERS})
    tools = Tools({"strategy-2": ReadyStrategy(other.prepared, features, store)}, {"f" * 16})
    active = ActiveVersion()
    live = LiveStrategy(bank.live, active, tools, bank.metrics, settle_s=0.0)
    canary = CanaryStrategy(live, active, tools, bank.metrics, settle_s=0.0)
    return Node(bank, tools, active, live, canary, store)


async def test_a_share_of_the_customers_meets_the_new_version_and_growing_it_moves_nobody_back(node: Node) -> None:
    async with node.following():
        await node.act("strategy-2", share=0.2, previous_version="strategy-1")
        await node.until(lambda: node.canary.canary is not None)
        few = {c for c, version in node.versions().items() if version == "strategy-2"}
        assert few == {c for c in CUSTOMERS if is_in_share(c, "strategy-2", 0.2)}
        assert few
        await node.act("strategy-2", share=0.6, previous_version="strategy-1")
        await node.until(lambda: node.canary.canary and node.canary.canary.share == 0.6)
        many = {c for c, version in node.versions().items() if version == "strategy-2"}
        assert few < many < set(CUSTOMERS)
    assert node.tools.done == ["beside strategy-2"], "it was made ready once"


async def test_a_canary_that_becomes_active_for_all_moves_nobody_to_and_fro(node: Node) -> None:
    async with node.following():
        await node.act("strategy-2", share=0.5)
        await node.until(lambda: node.canary.canary is not None)
        inside = [c for c, version in node.versions().items() if version == "strategy-2"]
        met: set[str] = set()

        def switched() -> bool:
            met.update(node.versions()[c] for c in inside)
            return node.canary.canary is None

        await node.act("strategy-2")
        await node.until(switched)
    assert met == {"strategy-2"}
    assert set(node.versions().values()) == {"strategy-2"}


async def test_a_rollback_ends_the_canary_and_lets_go_of_what_it_needed(node: Node) -> None:
    async with node.following():
        await node.act("strategy-2", share=0.5)
        await node.until(lambda: node.canary.canary is not None)
        await node.act("strategy-1", StrategyRolledBack)
        await node.until(lambda: "alone strategy-1" in node.tools.done)
    assert set(node.versions().values()) == {"strategy-1"}


async def test_a_canary_waits_until_its_states_are_whole(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.use_cases.canary_strategy.RETRY_SECONDS", 0.001)
    node.tools.whole.clear()
    async with node.following():
        await node.act("strategy-2", share=0.5)
        await node.until(lambda: node.canary.pending is not None)
        assert node.canary.pending is not None
        assert "not whole" in node.canary.pending.refusal
        assert set(node.versions().values()) == {"strategy-1"}
        node.tools.whole.add("f" * 16)
        await node.until(lambda: node.canary.canary is not None)
    assert node.canary.pending is None


async def test_a_canary_that_is_not_kept_is_named_and_serves_nobody(node: Node) -> None:
    await node.act("strategy-9", share=0.5)
    await node.canary.start()
    assert node.canary.pending is not None
    assert node.canary.pending.version == "strategy-9"
    assert set(node.versions().values()) == {"strategy-1"}


async def test_models_that_change_are_used_by_the_canary_at_once(node: Node) -> None:
    await node.act("strategy-2", share=1.0 - 1e-9)
    await node.canary.start()
    node.tools.models = {"cross_sell": object()}
    assert node.canary.live_for(CUSTOMERS[0]).scorers == node.tools.models


async def test_every_decision_names_its_version_and_is_computed_again_by_it(node: Node, command: Any) -> None:
    bank = node.bank
    for customer in CUSTOMERS:
        bank.store.states[customer] = bank.store.states["retail:1"]
    decide = MakeDecision(
        DecisionPorts(
            live=node.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics, live_for=node.canary.live_for,
        )
    )  # fmt: skip
    await node.act("strategy-2", share=0.5)
    await node.canary.start()
    expected = {True: ("strategy-2", "new_card"), False: ("strategy-1", "gold_card")}
    prepared = {p.strategy.version: p for p in (node.live().prepared, node.tools.versions["strategy-2"].prepared)}
    for customer in CUSTOMERS[:20]:
        answer = orjson.loads(await decide(command(customer_id=customer)))
        found = answer["strategy_version"], answer["placements"][0]["options"][0]["offer"]
        assert found == expected[is_in_share(customer, "strategy-2", 0.5)]
        record = bank.bus.events[-1].value
        by = prepared[answer["strategy_version"]]
        assert replay_decision(record, by, word(by.strategy), {}) == record
    assert node.store.reads == sum(is_in_share(c, "strategy-2", 0.5) for c in CUSTOMERS[:20])
