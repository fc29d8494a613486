"""Which version decides on a node: every decision wholly by one, and nothing that cannot decide is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import orjson
import pytest

from event_schemas.control import StrategyAct, StrategyActivated
from services.ports import StrategyUnknown
from services.use_cases.live_strategy import ACTIVE_SUBJECT, ActiveVersion, LiveStrategy, ReadyStrategy
from services.use_cases.make_decision import DecisionPorts, MakeDecision

WAIT_S = 20


@dataclass
class Tools:
    """What a switch asks for, in memory; `versions` are those the archive has."""

    versions: dict[str, ReadyStrategy]
    whole: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)
    models: dict[str, Any] = field(default_factory=dict)

    def load(self, version: str) -> ReadyStrategy:
        if version not in self.versions:
            raise StrategyUnknown(f"strategy {version} is not kept")
        return self.versions[version]

    def scorers(self) -> dict[str, Any]:
        return self.models

    async def is_whole(self, layout: str) -> bool:
        return layout in self.whole

    async def adopt(self, ready: ReadyStrategy) -> None:
        self.served.append(ready.prepared.strategy.version)

    async def release(self, ready: ReadyStrategy) -> None:
        self.served.append("released")


@dataclass
class Node:
    """A bank that decides by `strategy-1`, and may switch to `strategy-2` with an offer and a layout of its own."""

    bank: Any
    tools: Tools
    active: ActiveVersion
    live: LiveStrategy
    other_store: Any

    async def activate(self, version: str, **overrides: Any) -> None:
        act = StrategyAct(name="small_bank", version=version, actor="somebody", **overrides)
        await self.active.on_act(
            StrategyActivated(id="a", source="test", subject=ACTIVE_SUBJECT, time=datetime.now(UTC), data=act)
        )

    @property
    def version(self) -> str:
        return str(self.live().prepared.strategy.version)

    async def until_pending(self) -> str:
        async with asyncio.timeout(WAIT_S):
            while self.live.pending is None:
                await asyncio.sleep(0)
        return self.live.pending.refusal

    async def until_switched(self, version: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.version != version:
                await asyncio.sleep(0.001)


@pytest.fixture
def node(bank: Any, small_bank: ModuleType) -> Node:
    other = small_bank.live(small_bank.offer("new_card"), version="strategy-2")
    features = replace(other.features, layout="f" * 16)
    store = small_bank.FakeStore(states={"retail:1": small_bank.state(features)})
    tools = Tools({"strategy-2": ReadyStrategy(other.prepared, features, store)}, models=dict(bank.live.scorers))
    active = ActiveVersion()
    live = LiveStrategy(bank.live, active, tools, bank.metrics, settle_s=0.0)
    return Node(bank, tools, active, live, store)


@asynccontextmanager
async def following(node: Node) -> AsyncIterator[None]:
    async with node.live.following():
        yield


async def test_a_decision_under_way_ends_by_the_version_it_began_with(node: Node, command: Any) -> None:
    bank = node.bank
    decide = MakeDecision(
        DecisionPorts(
            live=node.live, store=bank.store, ledger=bank.store, publisher=bank.bus, clock=bank.clock,
            ids=bank.ids, metrics=bank.metrics,
        )
    )  # fmt: skip
    node.tools.whole.add("f" * 16)
    bank.store.gate = asyncio.Event()
    began = asyncio.create_task(decide(command()))
    await asyncio.sleep(0)
    async with following(node):
        await node.activate("strategy-2")
        await node.until_switched("strategy-2")
        bank.store.gate.set()
        before, after = orjson.loads(await began), orjson.loads(await decide(command()))
        async with asyncio.timeout(WAIT_S):
            while len(node.tools.served) < 2:
                await asyncio.sleep(0.001)
    assert (before["strategy_version"], before["placements"][0]["options"][0]["offer"]) == ("strategy-1", "gold_card")
    assert (after["strategy_version"], after["placements"][0]["options"][0]["offer"]) == ("strategy-2", "new_card")
    assert node.other_store.reads == 1, "the states of the new layout were read for the new version only"
    assert node.tools.served == ["strategy-2", "released"]


async def test_a_version_is_taken_once_its_states_are_whole(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.use_cases.live_strategy.RETRY_SECONDS", 0.001)
    async with following(node):
        await node.activate("strategy-2")
        assert "not whole" in await node.until_pending()
        assert node.version == "strategy-1"
        node.tools.whole.add("f" * 16)
        await node.until_switched("strategy-2")
    assert node.live.pending is None


async def test_a_start_takes_the_active_version_although_its_states_are_lost(node: Node) -> None:
    await node.activate("strategy-2")
    await node.live.start()
    assert node.version == "strategy-2"


async def test_a_start_with_a_version_that_is_not_kept_serves_what_the_settings_say(node: Node) -> None:
    await node.activate("strategy-9")
    await node.live.start()
    assert node.version == "strategy-1"
    assert node.live.pending is not None
    assert "not kept" in node.live.pending.refusal


async def test_a_version_for_later_is_taken_at_its_moment(node: Node) -> None:
    node.tools.whole.add("f" * 16)
    moment = datetime.now(UTC) + timedelta(seconds=0.2)
    async with following(node):
        await node.activate("strategy-2", effective_at=moment)
        assert node.version == "strategy-1"
        await node.until_switched("strategy-2")
    assert datetime.now(UTC) >= moment


async def test_a_version_for_a_share_leaves_everybody_else_where_they_are(node: Node) -> None:
    node.tools.whole.add("f" * 16)
    await node.activate("strategy-2", share=0.1, previous_version="strategy-1")
    await node.live.start()
    assert node.version == "strategy-1"


async def test_acts_on_drafts_change_nothing(node: Node) -> None:
    act = StrategyAct(name="small_bank", version="strategy-2", actor="somebody")
    event = StrategyActivated(id="a", source="t", subject="strategy:draft", time=datetime.now(UTC), data=act)
    await node.active.on_act(event)
    assert node.active.act is None


async def test_models_that_change_are_used_at_once(node: Node) -> None:
    before = node.live()
    node.tools.models = {}
    assert node.live().scorers is node.tools.models
    assert node.live().prepared is before.prepared
