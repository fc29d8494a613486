"""A full node: who is refused, how little that takes, and that the connection and the counts are sound afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pytest

from services.api import load_gate
from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client, OpenAccess
from services.api.keys_file import load_api_keys
from services.api.load_gate import ARRIVED, LoadGate
from services.api.load_limit import LoadLimit, LoadTerms
from services.api.priorities import ChannelPriorities, Priority
from services.api.server import ServerLimits, bind, serve
from services.ports import SettingsInvalid
from services.settings import read_settings

BATCH, INTERACTIVE, AGENT = Priority
QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}], "timeout_ms": 1000}
AGENTS = {
    "customer_id": "retail:1", "channel": "contact_centre", "placements": [{"id": "agent_panel"}], "timeout_ms": 1000
}  # fmt: skip


def gate(bank: Any, most: int = 10, channels: str = "") -> LoadGate:
    return LoadGate(LoadTerms(first=most, most=most), ChannelPriorities.parse(channels), bank.metrics)


def request(body: dict[str, Any], *headers: str, path: str = "/v1/decisions") -> bytes:
    text = orjson.dumps(body)
    lines = [f"POST {path} HTTP/1.1", "Host: bank", "Content-Type: application/json", f"Content-Length: {len(text)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + text


class Served:
    """The bank on a port, over raw connections."""

    def __init__(self, bank: Any, gate: LoadGate, port: int) -> None:
        self.bank, self.gate, self.port = bank, gate, port
        self.connections: list[Connection] = []

    async def connect(self) -> "Connection":
        made = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        self.connections.append(made)
        return made

    async def close(self) -> None:
        for connection in self.connections:
            connection.writer.close()
            await connection.writer.wait_closed()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, orjson.loads(body)


@pytest.fixture
async def open_bank(bank: Any) -> AsyncIterator[Callable[..., Any]]:
    @asynccontextmanager
    async def opened(most: int = 10, **overrides: Any) -> AsyncIterator[Served]:
        before, stop, started = gate(bank, most), asyncio.Event(), asyncio.Event()
        listener = bind("127.0.0.1", 0)
        app = create_app(bank.runtime(gate=before, **overrides))
        limits = ServerLimits(gate=before)
        serving = asyncio.create_task(serve(app, listener, stop=stop, on_started=started.set, limits=limits))
        await started.wait()
        served = Served(bank, before, listener.getsockname()[1])
        try:
            yield served
        finally:
            await served.close()
            stop.set()
            await asyncio.wait_for(serving, 10)

    yield opened


async def fill(served: Served, places: int) -> list["asyncio.Task[Any]"]:
    """So many agents' requests under way, until the store answers."""
    served.bank.store.gate = asyncio.Event()
    before = served.bank.store.reads
    asking = [asyncio.create_task((await served.connect()).ask(request(AGENTS))) for _ in range(places)]
    async with asyncio.timeout(10):
        while served.bank.store.reads < before + places:
            await asyncio.sleep(0.001)
    return asking


async def test_batches_are_refused_first_and_agents_last(open_bank: Callable[..., Any]) -> None:
    async with open_bank() as served:
        connection = await served.connect()
        under_way: list[Any] = []
        found = []
        for places in (4, 3, 3):
            under_way += await fill(served, places)
            answers = []
            for lowest in ("batch", "interactive"):
                asked = request(QUESTION, f"Kairos-Priority: {lowest}")
                answers.append(served.gate.refusal(asked) is None)
            answers.append(served.gate.refusal(request(AGENTS)) is None)
            found.append(answers)
        assert found == [[False, True, True], [False, False, True], [False, False, False]]
        status, headers, body = await connection.ask(request(QUESTION))
        assert (status, headers["content-type"], body["type"]) == (
            503, "application/problem+json", "urn:kairos:problem:overloaded"
        )  # fmt: skip
        assert int(headers["retry-after"]) >= 1
        served.bank.store.gate.set()
        assert {status for status, _, _ in await asyncio.gather(*under_way)} == {200}
        status, _, body = await connection.ask(request(QUESTION))
        assert (status, body["degraded"]) == (200, False), "the connection that was refused is served"
        assert served.gate.under_way == 0
        assert served.bank.metrics.seen["shed_total", "overload", "interactive"] >= 1


async def test_what_is_refused_on_its_bytes_costs_no_task_and_no_parser(open_bank: Callable[..., Any]) -> None:
    async with open_bank() as served:
        connection = await served.connect()
        under_way = await fill(served, 10)
        reads, begun = served.bank.store.reads, served.gate.limit._begun
        for _ in range(20):
            assert (await connection.ask(request(QUESTION)))[0] == 503
        assert (served.bank.store.reads, served.gate.limit._begun) == (reads, begun)
        served.bank.store.gate.set()
        await asyncio.gather(*under_way)


@pytest.mark.parametrize("cut", [10, 60, -20, -1])
async def test_a_request_that_comes_in_pieces_is_refused_all_the_same(open_bank: Callable[..., Any], cut: int) -> None:
    async with open_bank() as served:
        connection = await served.connect()
        under_way = await fill(served, 10)
        asked = request(QUESTION)
        connection.writer.write(asked[:cut])
        await connection.writer.drain()
        await asyncio.sleep(0.02)
        assert (await connection.ask(asked[cut:]))[0] == 503
        assert (await connection.ask(asked))[0] == 503, "and the next one on its bytes again"
        served.bank.store.gate.set()
        await asyncio.gather(*under_way)
        assert (await connection.ask(asked))[0] == 200
        assert served.gate.under_way == 0


async def test_requests_sent_together_and_those_that_end_the_connection_go_the_usual_way(
    open_bank: Callable[..., Any],
) -> None:
    async with open_bank() as served:
        under_way = await fill(served, 10)
        two, last = await served.connect(), await served.connect()
        assert served.gate.refusal(request(QUESTION) + request(QUESTION)) is None
        assert (await two.ask(request(QUESTION) + request(QUESTION)))[0] == 503
        assert (await two.answer())[0] == 503
        status, headers, _ = await last.ask(request(QUESTION, "Connection: close"))
        assert (status, headers["connection"]) == (503, "close")
        assert await last.reader.read() == b""
        served.bank.store.gate.set()
        await asyncio.gather(*under_way)


@pytest.mark.parametrize(
    "odd",
    [
        b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/decisions HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n{...}",
        b"POST /v1/decisions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{...}",
        b"POST /v1/decisions HTTP/1.1\r\nContent-Length: 6\r\n\r\n{...}",
        b"POST /v1/decisions HTTP/1.1\r\nContent-Length: 4\r\n\r\n{...}",
        b"POST /v1/decisions HTTP/1.1\r\nContent-Length: 5",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 5\r\n\r\n{...}",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"",
    ],
)
def test_whatever_is_not_one_whole_request_is_left_to_the_parser(bank: Any, odd: bytes) -> None:
    full = gate(bank)
    full.room.taken = 10
    assert full.refusal(request(QUESTION)) is not None
    assert full.refusal(odd) is None


async def test_a_client_gets_no_better_class_than_its_own(bank: Any, connect: Any) -> None:
    scopes = frozenset({ApiScope.DECIDE})
    clients = (
        Client(name="desktop", channels=None, scopes=scopes),
        Client(name="mailer", channels=None, scopes=scopes, priority=BATCH),
        Client(name="app", channels=frozenset({"mobile"}), scopes=scopes),
    )
    keys = ApiKeys([ApiKey(sha256=sha256(client.name.encode()).digest(), client=client) for client in clients])
    before = gate(bank)
    client = await connect(authenticator=keys, gate=before)
    before.room.taken = 6

    async def asks(key: str, question: dict[str, Any]) -> int:
        answer = await client.post("/v1/decisions", json=question, headers={"X-API-Key": key})
        return int(answer.status_code)

    assert await asks("desktop", AGENTS) == 200
    assert await asks("mailer", AGENTS) == 503
    assert await asks("app", AGENTS) == 503, "a channel that is not its own gives no class"
    assert await asks("app", QUESTION) == 200
    before.room.taken = 2
    assert await asks("app", AGENTS) == 403


async def test_what_has_waited_longer_than_its_caller_is_not_begun(bank: Any) -> None:
    reads = bank.store.reads
    app = create_app(bank.runtime())
    statuses = []
    for waited_s in (0.2, 0.0):
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": orjson.dumps(QUESTION | {"timeout_ms": 100})}

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/decisions", "raw_path": b"/v1/decisions",
            "query_string": b"", "root_path": "", "http_version": "1.1", "scheme": "http",
            "headers": [(b"content-type", b"application/json")], ARRIVED: perf_counter() - waited_s,
        }  # fmt: skip
        await app(scope, receive, send)
        statuses.append((sent[0]["status"], b"retry-after" in dict(sent[0]["headers"])))
    assert statuses == [(503, True), (200, False)]
    assert bank.store.reads == reads + 1
    assert bank.metrics.seen["shed_total", "expired", "interactive"] == 1
    assert ("requests_failed_total", "/v1/decisions", "503") not in bank.metrics.seen, "counted as refused, once"


async def test_the_queue_is_part_of_the_time_a_caller_waits(bank: Any) -> None:
    """Asked with 300 ms, of which 200 have gone by in the queue: a store that hangs is waited for the rest."""
    bank.store.gate = asyncio.Event()
    app = create_app(bank.runtime())
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": orjson.dumps(QUESTION | {"timeout_ms": 300})}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/decisions", "headers": [], ARRIVED: perf_counter() - 0.2,
    }  # fmt: skip
    await app(scope, receive, send)
    answer = orjson.loads(sent[1]["body"])
    assert (sent[0]["status"], answer["degraded"]) == (200, True)
    assert answer["took_ms"] >= 200


async def test_a_turn_counts_the_work_of_requests_that_began_before(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store has answered is ready before new work begins, in the same turn: both make the next one wait. And
    what began together comes back together, when nobody begins."""
    now_s, left = 0.0, 3

    def settle() -> None:  # thirty milliseconds for those under way, three times in turns of their own
        nonlocal now_s, left
        now_s += 0.03
        left -= 1
        if left:
            loop.call_at(loop.time(), settle)  # as an answer that is found when the loop looks for what came in

    loop, turns = asyncio.get_running_loop(), []
    monkeypatch.setattr(load_gate, "perf_counter", lambda: now_s)
    monkeypatch.setattr(LoadLimit, "turned", lambda _, turn_s, __: turns.append(turn_s))
    before = gate(bank)
    loop.call_soon(settle)
    await asyncio.sleep(0)
    before.begin({})
    for _ in range(6):
        await asyncio.sleep(0)
    assert max(turns) >= 0.03
    assert sum(turns) == pytest.approx(0.06), "all that was settled since it began"
    for _ in range(6):
        await asyncio.sleep(0)
    assert len(turns) <= 4, "an idle loop is left alone"


def test_channels_have_their_usual_class_unless_the_settings_say_otherwise() -> None:
    channels = ChannelPriorities.parse("kiosk=agent, mobile = batch")

    def claimed(text: str) -> Priority:
        return channels.claimed(text.encode())[1]

    assert [claimed(f'{{"channel": "{name}"}}') for name in ("branch", "web", "sms", "kiosk", "mobile")] == [
        AGENT, INTERACTIVE, BATCH, AGENT, BATCH
    ]  # fmt: skip
    assert claimed('{"response_id": "r"}') is INTERACTIVE
    assert claimed('{"channel" :\n"contact_centre"}') is AGENT
    assert claimed('{"channel": 7}') is INTERACTIVE


@pytest.mark.parametrize("wrong", ["kiosk", "kiosk=urgent", "=agent", "kiosk=agent=batch"])
def test_a_faulty_class_stops_the_start(wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="KAIROS_CHANNEL_PRIORITIES"):
        read_settings({"KAIROS_CHANNEL_PRIORITIES": wrong})
    with pytest.raises(ValueError, match="priority"):
        ChannelPriorities.parse(wrong)


def test_classes_stand_in_the_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entry = {"client": "mailer", "sha256": sha256(b"secret").hexdigest(), "channels": None, "scopes": ["decide"]}
    file.write_text(json.dumps([entry | {"priority": "batch"}]))
    assert load_api_keys(file).identify([(b"x-api-key", b"secret")]).priority is BATCH
    file.write_text(json.dumps([entry | {"priority": "urgent"}]))
    with pytest.raises(SettingsInvalid, match="entry 0: priority must be one of batch, interactive, agent"):
        load_api_keys(file)
    assert OpenAccess().identify([]).priority is None
