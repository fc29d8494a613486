"""A real store stopped, killed, paused or spoilt: the answer is valid, says what it did without, and fails closed."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import orjson
import pytest

from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId
from services.adapters.embedded_servers import EmbeddedServer, embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.decision_record import record_data
from services.use_cases.make_decision import DecisionPorts, MakeDecision

pytestmark = pytest.mark.servers
BUDGET_MS = 200
CUSTOMER = CustomerId("retail:1")


class Deployment:
    """The small bank over a real store, with a bus and a clock in memory."""

    def __init__(self, server: EmbeddedServer, client: RedisClient, small_bank: ModuleType) -> None:
        self.server, self.client = server, client
        self.bank = small_bank.Bank()
        self.bank.live = small_bank.live(
            *small_bank.OFFERS, small_bank.offer("fraud_alert", mandatory=True, purpose="service", value=1)
        )
        self.keys = RedisKeys("kairos", self.bank.live.features.layout)
        self.store = RedisDecisionStore(client, self.keys)
        self.make = MakeDecision(
            DecisionPorts(
                live=lambda: self.bank.live, store=self.store, ledger=RedisContactLedger(client, self.keys),
                publisher=self.bank.bus, clock=self.bank.clock, ids=self.bank.ids, metrics=self.bank.metrics,
            )
        )  # fmt: skip
        self.state = small_bank.state(self.bank.live.features)

    async def put(self, state: bytes | None = None, ledger: bytes | None = None) -> None:
        await self.client.execute("SET", self.keys.complete, "1")
        await self.client.execute("SET", self.keys.state(CUSTOMER), self.state if state is None else state)
        if ledger is not None:
            await self.client.execute("SET", self.keys.ledger(CUSTOMER), ledger)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.server.pid, number)

    async def ask(self, count: int = 3, **overrides: Any) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "client": "app", "customer_id": CUSTOMER, "channel": "mobile", "locale": "en",
            "placements": (PlacementRequest(id="home_banner", count=count),), "started_s": perf_counter(),
            "timeout_ms": BUDGET_MS,
        }  # fmt: skip
        return orjson.loads(await self.make(DecisionCommand(**(defaults | overrides))))

    def published(self) -> dict[str, Any]:
        return record_data(self.bank.bus.events[-1].value)


@pytest.fixture
async def deployment(tmp_path: Path, small_bank: ModuleType) -> AsyncIterator[Deployment]:
    async with (
        embedded_valkey(tmp_path) as server,
        RedisClient.open(f"redis://127.0.0.1:{server.port}", library=FUNCTION_LIBRARY) as client,
    ):
        made = Deployment(server, client, small_bank)
        await made.put()
        yield made
        if server.process.returncode is None:
            made.signal(signal.SIGCONT)


def offers(answer: dict[str, Any]) -> list[str]:
    return [option["offer"] for option in answer["placements"][0].get("options", [])]


def fails_closed(answer: dict[str, Any]) -> bool:
    """Only what needs neither a state nor a cap is left."""
    return answer["degraded"] is True and offers(answer) == ["fraud_alert"]


async def test_a_sound_store_degrades_nothing(deployment: Deployment) -> None:
    answer = await deployment.ask()
    assert (answer["degraded"], answer["degraded_causes"]) == (False, [])
    assert offers(answer) == ["fraud_alert", "gold_card", "cash_plan"]
    assert await deployment.store.record(answer["decision_id"]) == deployment.bank.bus.events[0].value


async def test_a_stopped_store_is_slow_and_its_records_come_when_it_goes_on(deployment: Deployment) -> None:
    deployment.signal(signal.SIGSTOP)
    answer = await deployment.ask()
    assert fails_closed(answer)
    assert answer["degraded_causes"][:3] == ["state_unavailable", "ledger_unavailable", "state_slow"]
    assert deployment.published()["decision_id"] == answer["decision_id"]
    assert deployment.make.keeper.late == 1
    deployment.signal(signal.SIGCONT)
    await deployment.make.keeper.drain()
    assert await deployment.store.record(answer["decision_id"]) == deployment.bank.bus.events[0].value
    assert ("records_unkept_total", "store") not in deployment.bank.metrics.seen


async def test_a_paused_store_is_slow(deployment: Deployment) -> None:
    await deployment.client.execute("CLIENT", "PAUSE", "400", "ALL")
    answer = await deployment.ask()
    assert fails_closed(answer)
    assert "state_slow" in answer["degraded_causes"]
    await deployment.make.keeper.drain()
    assert await deployment.store.record(answer["decision_id"]) is not None


async def test_a_store_that_takes_no_writes_refuses_the_reservation_in_time(deployment: Deployment) -> None:
    """Reads are answered, writes are held: the ledger is slow, the state is not."""
    await deployment.client.execute("CLIENT", "PAUSE", "400", "WRITE")
    answer = await deployment.ask()
    assert fails_closed(answer)
    assert answer["degraded_causes"] == ["ledger_unavailable", "ledger_slow", "store_slow"]
    assert answer["feature_age_ms"] == 420, "the state was read"
    record = deployment.published()
    assert record["causes_before"] == ["ledger_unavailable", "ledger_slow"]
    await deployment.make.keeper.drain()


async def test_a_killed_store_is_gone_and_every_decision_is_on_the_bus(deployment: Deployment) -> None:
    deployment.signal(signal.SIGKILL)
    await deployment.server.process.wait()
    for number in range(1, 4):
        answer = await deployment.ask()
        assert fails_closed(answer)
        assert {"state_unavailable", "ledger_unavailable", "store_unavailable"} <= set(answer["degraded_causes"])
        assert deployment.published()["decision_id"] == answer["decision_id"]
        assert len(deployment.bank.bus.events) == number


@pytest.mark.parametrize("spoilt", [b"\x00", b"\xff" * 64, b"not a state at all"])
async def test_a_spoilt_state_is_no_state(deployment: Deployment, spoilt: bytes) -> None:
    await deployment.put(state=spoilt)
    answer = await deployment.ask(timeout_ms=1_000)
    assert answer["degraded_causes"] == ["state_unavailable", "state_unreadable"]
    assert "gold_card" not in offers(answer), "nobody of unknown age is offered a card for adults"
    assert answer["personalised"] is False


@pytest.mark.parametrize("spoilt", [b"odd", b"\x01" * 63])
async def test_a_spoilt_ledger_allows_nothing_that_has_a_cap(deployment: Deployment, spoilt: bytes) -> None:
    await deployment.put(ledger=spoilt)
    answer = await deployment.ask()
    assert fails_closed(answer)
    assert answer["degraded_causes"] == ["ledger_unavailable", "ledger_unreadable"]
    assert deployment.published()["ledger"] is None


async def test_a_store_that_refuses_writes_is_unavailable_until_it_takes_them(deployment: Deployment) -> None:
    """Too few replicas: reads are answered, every write is refused, the claim of a request id too."""
    await deployment.client.execute("CONFIG", "SET", "min-replicas-to-write", "1")
    answer = await deployment.ask()
    assert fails_closed(answer)
    assert answer["degraded_causes"] == ["ledger_unavailable", "store_unavailable"]
    claiming = await deployment.ask(request_id="q1", body_hash=b"h" * 16)
    assert fails_closed(claiming)
    assert "state_unavailable" in claiming["degraded_causes"]
    await deployment.client.execute("CONFIG", "SET", "min-replicas-to-write", "0")
    await deployment.make.keeper.drain()
    assert await deployment.store.record(answer["decision_id"]) is not None
    assert (await deployment.ask())["degraded_causes"] == []


async def test_a_ledger_of_another_type_allows_nothing_that_has_a_cap(deployment: Deployment) -> None:
    await deployment.client.execute("LPUSH", deployment.keys.ledger(CUSTOMER), "x")
    answer = await deployment.ask()
    assert fails_closed(answer)
    assert "ledger_unavailable" in answer["degraded_causes"]


async def test_when_the_fault_is_over_nothing_is_degraded(deployment: Deployment) -> None:
    deployment.signal(signal.SIGSTOP)
    assert fails_closed(await deployment.ask())
    deployment.signal(signal.SIGCONT)
    await deployment.make.keeper.drain()
    answer = await deployment.ask()
    assert (answer["degraded_causes"], offers(answer)) == ([], ["fraud_alert", "gold_card", "cash_plan"])
