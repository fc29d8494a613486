"""Serving: bounds on slow senders, and a stop that finishes what is under way."""

import asyncio
import sys
import time
from typing import Any

import httpx
import orjson
import pytest

from services.api import bodies
from services.api.app import create_app
from services.api.leaving import Leaving
from services.api.server import AddressUnavailable, Leave, bind, serve

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}], "timeout_ms": 1000}


async def test_a_stop_answers_what_is_under_way_and_takes_nothing_new(bank: Any) -> None:
    bank.store.gate = asyncio.Event()
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    async with httpx.AsyncClient(base_url=url) as client, httpx.AsyncClient(base_url=url) as late:
        under_way = asyncio.create_task(client.post("/v1/decisions", json=QUESTION))
        async with asyncio.timeout(5):
            while not bank.store.reads:
                await asyncio.sleep(0.001)
        stop.set()
        async with asyncio.timeout(5):
            while True:
                try:
                    await late.get("/livez")
                except httpx.TransportError:
                    break
                await asyncio.sleep(0.001)
        assert not serving.done()
        bank.store.gate.set()
        assert (await under_way).status_code == 200
        await asyncio.wait_for(serving, 5)


async def test_a_node_that_leaves_is_not_ready_first_and_ends_connections_with_an_answer(bank: Any) -> None:
    """Until the notice is over it answers as before, so that nobody is refused who could not know yet."""
    stop, started, noticed, leaving = asyncio.Event(), asyncio.Event(), asyncio.Event(), Leaving()
    app = create_app(bank.runtime(checks={"staying": leaving.check}))

    def on_notice() -> None:
        leaving.begin()
        noticed.set()

    leave = Leave(notice_s=1.5, on_notice=on_notice)
    listener = bind("127.0.0.1", 0)
    serving = asyncio.create_task(serve(app, listener, stop=stop, on_started=started.set, leave=leave))
    await started.wait()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url) as known, httpx.AsyncClient(base_url=url) as newcomer:
        before = await known.get("/readyz")
        assert (before.status_code, "connection" in before.headers) == (200, False)
        stop.set()
        await noticed.wait()
        for client in (known, newcomer):
            answer = await client.post("/v1/decisions", json=QUESTION)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        told = await known.get("/readyz")
        assert (told.status_code, told.json()["checks"]) == (503, {"staying": False})
        await asyncio.wait_for(serving, 10)
        with pytest.raises(httpx.ConnectError):
            await known.get("/livez")


async def test_a_request_that_was_on_its_way_when_the_node_stopped_is_answered(
    bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that stood idle: whoever sent it could not know. The answer is the last of the connection."""
    monkeypatch.setattr("services.api.guarded_protocol.LINGER_SECONDS", 5.0)
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"200" in await reader.readuntil(b"{")
    stop.set()
    async with asyncio.timeout(5):
        while True:
            try:
                _, newcomer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                break
            newcomer.close()
            await asyncio.sleep(0.01)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    answered = await reader.read()
    assert b"200" in answered
    assert b"connection: close" in answered
    writer.close()
    await asyncio.wait_for(serving, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says since when data has lain")
@pytest.mark.parametrize(("held_up_s", "status"), [(0.0, 200), (0.4, 503)])
async def test_what_lay_in_the_system_while_the_loop_was_held_up_has_waited(
    bank: Any, held_up_s: float, status: int
) -> None:
    """Its caller counts from when it was sent: what has waited for as long as that allows is not begun."""
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"}")
    body = orjson.dumps({**QUESTION, "timeout_ms": 300})
    writer.write(b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    time.sleep(held_up_s)
    answered = await reader.readuntil(b"\r\n")
    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert bank.metrics.seen.get(("shed_total", "expired", "interactive"), 0) == (status == 503)
    writer.close()
    stop.set()
    await asyncio.wait_for(serving, 10)


async def test_what_can_be_got_can_be_asked_for_without_its_body(bank: Any) -> None:
    """As load balancers and uptime checks do; over a real socket, so that a body would be found in the next answer."""
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        for path, status in (("/livez", 200), ("/readyz", 200), ("/", 200), ("/nowhere", 404), ("/v1/decisions", 405)):
            head, got = await client.head(path), await client.get(path)
            assert (head.status_code, head.content) == (status, b"")
            assert (head.status_code, head.headers) == (got.status_code, got.headers)
    stop.set()
    await asyncio.wait_for(serving, 5)


async def test_nobody_waits_for_a_node_that_starts(bank: Any) -> None:
    """Of processes that share a port, one that serves is enough."""
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    still_starting = listener.dup()
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    for _ in range(5):
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
    still_starting.close()
    stop.set()
    await asyncio.wait_for(serving, 5)


async def test_an_address_that_is_taken_is_named(bank: Any) -> None:
    """Whether it is served already, or another node that starts is to serve it first."""
    stop, started = asyncio.Event(), asyncio.Event()
    first = bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    second = bind("127.0.0.1", port)
    serving = asyncio.create_task(serve(create_app(bank.runtime()), first, stop=stop, on_started=started.set))
    await started.wait()
    with pytest.raises(AddressUnavailable, match=str(port)):
        bind("127.0.0.1", port)
    with pytest.raises(AddressUnavailable, match=str(port)):
        await serve(create_app(bank.runtime()), second, stop=asyncio.Event())
    stop.set()
    await asyncio.wait_for(serving, 5)


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/responses", "/v1/events"])
async def test_a_body_that_does_not_come_is_408_and_ends_the_connection(
    bank: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bodies, "SECONDS_TO_SEND", 0.05)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "server": ("x", 80), "client": ("y", 1), "http_version": "1.1",
        "headers": [(b"content-length", b"10")],
    }  # fmt: skip
    await create_app(bank.runtime())(scope, receive, send)
    assert sent[0]["status"] == 408
    headers = dict(sent[0]["headers"])
    assert headers[b"connection"] == b"close"
    assert headers[b"content-type"] == b"application/problem+json"
