"""One answer a request id, whatever the store does meanwhile: two nodes over a real store that is paused or cut off."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import orjson
import pytest

from decision_engine.contact_ledger import ReservationRequest
from decision_engine.decision import PlacementRequest
from decision_engine.identifiers import CustomerId
from services.adapters.embedded_servers import EmbeddedServer, embedded_valkey
from services.adapters.redis_client import RedisClient
from services.adapters.redis_contact_ledger import RedisContactLedger
from services.adapters.redis_decision_store import RedisDecisionStore
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.ports import StoreUnavailable
from services.use_cases import record_keeping
from services.use_cases.decision_command import DecisionCommand
from services.use_cases.make_decision import DecisionInFlight, DecisionPorts, IdempotencyConflict, MakeDecision

pytestmark = pytest.mark.servers
CUSTOMER = CustomerId("retail:1")
HASH = b"h" * 16


class Wire:
    """A proxy before the store that can be cut: what is sent then is lost, and who connects is turned away."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.is_cut = False

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self.is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers |= {writer, there}
        await asyncio.gather(_pump(reader, there), _pump(there_reader, writer))
        self._writers -= {writer, there}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


@dataclass
class PausingLedger:
    """The real ledger, behind which the store is paused: what comes after a reservation is late."""

    ledger: RedisContactLedger
    client: RedisClient
    pause_ms: int = 0
    reserved: int = 0

    async def reserve(self, customer_id: CustomerId, request: ReservationRequest) -> list[int | None]:
        taken = await self.ledger.reserve(customer_id, request)
        self.reserved += 1
        if self.pause_ms:
            await self.client.execute("CLIENT", "PAUSE", self.pause_ms, "ALL")
        return taken

    async def read(self, customer_id: CustomerId) -> bytes | None:
        return await self.ledger.read(customer_id)

    async def respond(self, customer_id: CustomerId, responses: Sequence[Any]) -> list[bool]:
        return await self.ledger.respond(customer_id, responses)


@dataclass
class Node:
    """One API process' use case with a connection of its own."""

    bank: Any
    client: RedisClient
    make: MakeDecision = field(init=False)
    ledger: PausingLedger = field(init=False)

    def __post_init__(self) -> None:
        self.keys = RedisKeys("kairos", self.bank.live.features.layout)
        self.ledger = PausingLedger(RedisContactLedger(self.client, self.keys), self.client)
        self.make = MakeDecision(
            DecisionPorts(
                live=lambda: self.bank.live, store=RedisDecisionStore(self.client, self.keys), ledger=self.ledger,
                publisher=self.bank.bus, clock=self.bank.clock, ids=self.bank.ids, metrics=self.bank.metrics,
            )
        )  # fmt: skip

    async def ask(self, request_id: str = "r1", body_hash: bytes = HASH, timeout_ms: int = 150) -> bytes:
        return await self.make(
            DecisionCommand(
                client="app", customer_id=CUSTOMER, channel="mobile", locale="en", started_s=perf_counter(),
                placements=(PlacementRequest(id="home_banner", count=3),), timeout_ms=timeout_ms,
                request_id=request_id, body_hash=body_hash,
            )
        )  # fmt: skip

    async def ask_until_answered(self, request_id: str = "r1", timeout_ms: int = 1000) -> bytes:
        """As a client does that is told to ask again."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return await self.ask(request_id, timeout_ms=timeout_ms)
                except (DecisionInFlight, StoreUnavailable):
                    await asyncio.sleep(0.005)


@dataclass
class Deployment:
    """Two nodes with one bank: `here` sits behind a wire that can be cut, `there` does not."""

    here: Node
    there: Node
    wire: Wire
    bank: Any

    async def pause(self, milliseconds: int) -> None:
        await self.there.client.execute("CLIENT", "PAUSE", milliseconds, "ALL")

    async def contacts(self) -> int:
        return len(await self.there.ledger.read(CUSTOMER) or b"") // 64


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with embedded_valkey(tmp_path) as running:
        yield running


@pytest.fixture
async def deployment(server: EmbeddedServer, small_bank: ModuleType) -> AsyncIterator[Deployment]:
    wire = Wire(server.port)
    port = await wire.open()
    async with (
        RedisClient.open(f"redis://127.0.0.1:{port}", library=FUNCTION_LIBRARY) as here,
        RedisClient.open(f"redis://127.0.0.1:{server.port}", library=FUNCTION_LIBRARY) as there,
    ):
        bank = small_bank.Bank()
        bank.live = small_bank.live(
            *small_bank.OFFERS, small_bank.offer("fraud_alert", mandatory=True, purpose="service", value=1)
        )
        made = Deployment(Node(bank, here), Node(bank, there), wire, bank)
        keys = made.there.keys
        await there.execute("SET", keys.complete, "1")
        await there.execute("SET", keys.state(CUSTOMER), small_bank.state(bank.live.features))
        yield made
        for node in (made.here, made.there):
            await node.make.keeper.drain(1.0)
        await wire.close()


async def test_a_claim_that_was_late_is_not_taken_for_anothers(deployment: Deployment) -> None:
    """The read timed out, and its claim was made all the same when the store went on."""
    await deployment.pause(400)
    first = await deployment.here.ask()
    assert orjson.loads(first)["degraded"] is True
    await deployment.here.make.keeper.drain()
    assert await deployment.there.ask_until_answered() == first
    assert await deployment.here.ask() == first
    assert len(deployment.bank.bus.events) == 1
    assert await deployment.contacts() == 0, "neither the answer nor its repeats reserved anything"


async def test_a_client_that_repeats_itself_hears_one_answer_however_the_store_stutters(deployment: Deployment) -> None:
    rng = random.Random(11)
    nodes = [deployment.here, deployment.there]
    for number in range(40):
        deployment.here.ledger.pause_ms = rng.choice([0, 0, 40, 80])
        if pause_ms := rng.choice([0, 0, 20, 60]):
            await deployment.pause(pause_ms)
        name = f"r{number}"
        answers = [await deployment.here.ask_until_answered(name, timeout_ms=rng.choice([20, 50, 200]))]
        deployment.here.ledger.pause_ms = 0
        if b"state_slow" in answers[0]:  # it left without word from the store, and stands once that has it
            await deployment.here.make.keeper.drain()
        answers += [await rng.choice(nodes).ask_until_answered(name, timeout_ms=200) for _ in range(3)]
        assert len(set(answers)) == 1, name
    assert len(deployment.bank.bus.events) == 40


async def test_the_same_node_answers_the_same_while_the_store_stalls(deployment: Deployment) -> None:
    await deployment.pause(600)
    first = await deployment.here.ask()
    assert await deployment.here.ask() == first
    with pytest.raises(IdempotencyConflict):
        await deployment.here.ask(body_hash=b"x" * 16)
    await deployment.here.make.keeper.drain()
    assert await deployment.there.ask() == first


async def test_two_nodes_that_stalled_together_agree_on_who_answered_first(deployment: Deployment) -> None:
    """Neither could know; once the store goes on, one answer stands for both."""
    await deployment.pause(400)
    both = await asyncio.gather(deployment.here.ask(), deployment.there.ask())
    for node in (deployment.here, deployment.there):
        await node.make.keeper.drain()
    settled = {await node.ask_until_answered() for node in (deployment.here, deployment.there)}
    assert len(settled) == 1
    assert settled <= set(both)


@pytest.mark.parametrize("asked_of", ["here", "there"])
async def test_a_save_that_was_late_keeps_the_bytes_that_were_answered(deployment: Deployment, asked_of: str) -> None:
    deployment.here.ledger.pause_ms = 400
    first = await deployment.here.ask()
    deployment.here.ledger.pause_ms = 0
    assert "gold_card" in first.decode()
    assert await getattr(deployment, asked_of).ask_until_answered() == first
    await deployment.here.make.keeper.drain()
    assert await deployment.there.ask() == first
    assert deployment.bank.metrics.seen["degraded_total", "store_slow"] == 1
    assert (deployment.here.ledger.reserved + deployment.there.ledger.reserved, await deployment.contacts()) == (1, 3)


async def test_what_was_withdrawn_stays_withdrawn(deployment: Deployment) -> None:
    """Bus full and store late: nothing was offered, so nothing is when the store has the record after all."""
    deployment.bank.bus.gone = True
    deployment.here.ledger.pause_ms = 400
    first = await deployment.here.ask()
    deployment.here.ledger.pause_ms = 0
    assert "unaudited" in orjson.loads(first)["degraded_causes"]
    assert "options" not in orjson.loads(first)["placements"][0]
    await deployment.here.make.keeper.drain()
    for node in (deployment.here, deployment.there):
        assert await node.ask_until_answered() == first


async def test_another_body_is_refused_while_the_first_is_still_being_answered(deployment: Deployment) -> None:
    deployment.here.ledger.pause_ms = 150
    answering = asyncio.create_task(deployment.here.ask(timeout_ms=1000))
    async with asyncio.timeout(5):
        while not deployment.here.ledger.reserved:
            await asyncio.sleep(0)
    with pytest.raises(IdempotencyConflict):
        await deployment.there.ask(body_hash=b"x" * 16, timeout_ms=1000)
    await answering


async def test_cut_off_from_the_store_a_node_repeats_itself_and_the_store_decides_afterwards(
    deployment: Deployment,
) -> None:
    """All that can be promised without a store: each node gives its own answer again, nothing is reserved for it, and
    what stands in the store when the node is back is what everybody gets."""
    deployment.wire.cut()
    first = await deployment.here.ask()
    assert orjson.loads(first)["degraded"] is True
    assert await deployment.here.ask() == first
    assert await deployment.contacts() == 0
    elsewhere = await deployment.there.ask()
    assert elsewhere != first
    deployment.wire.mend()
    await deployment.here.make.keeper.drain()
    for node in (deployment.here, deployment.there):
        assert await node.ask() == elsewhere


async def test_a_node_that_was_cut_off_puts_its_answer_under_the_key_when_it_is_back(deployment: Deployment) -> None:
    deployment.wire.cut()
    first = await deployment.here.ask()
    deployment.wire.mend()
    await deployment.here.make.keeper.drain()
    assert await deployment.there.ask() == first
    assert await deployment.contacts() == 0


async def test_an_answer_given_up_is_still_repeated_by_its_node(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment.here.make.keeper, "_late_seconds", 0.05)
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.01)
    deployment.wire.cut()
    first = await deployment.here.ask()
    await deployment.here.make.keeper.drain()
    assert deployment.bank.metrics.seen["records_unkept_total", "store"] == 1
    deployment.wire.mend()
    assert await deployment.here.ask() == first
