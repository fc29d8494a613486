"""What hostile clients send over a real connection: bounded, answered plainly, and others are served meanwhile."""

import asyncio
import gzip
import resource
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.api.app import create_app
from services.api.authentication import ApiKeys, ApiScope
from services.api.server import bind, serve

QUESTION = b'{"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}'
JSON = b"content-type: application/json\r\n"
MEBIBYTE = 1024  # of `ru_maxrss`, which counts kibibytes


@pytest.fixture
async def port(bank: Any) -> AsyncIterator[int]:
    stop, started = asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    serving = asyncio.create_task(serve(create_app(bank.runtime()), listener, stop=stop, on_started=started.set))
    await started.wait()
    yield listener.getsockname()[1]
    stop.set()
    await asyncio.wait_for(serving, 10)


async def sent(port: int, data: bytes) -> tuple[int, bytes, bytes]:
    """Status, headers and body of the answer; the connection is closed behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[15:])
            return int(head.split()[1]), head.lower(), await reader.readexactly(length)
    finally:
        writer.close()


def posted(body: bytes, more: bytes = JSON) -> bytes:
    return b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%s\r\n%s" % (len(body), more, body)


def chunked(*pieces: bytes) -> bytes:
    """A body that does not say how long it is."""
    parts = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return (
        b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n"
        + JSON
        + b"\r\n"
        + parts
        + b"0\r\n\r\n"
    )


HOSTILE: dict[str, tuple[bytes, set[int]]] = {
    "64 KB of headers": (posted(QUESTION, JSON + b"x-much: " + b"a" * 65_536 + b"\r\n"), {431}),
    "ten thousand headers": (posted(QUESTION, JSON + b"x: y\r\n" * 10_000), {431}),
    "a path of 64 KB": (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nhost: a\r\n\r\n", {400, 414, 431}),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", {400}),
    "a length that is none": (b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", {400}),
    "length and chunks": (
        b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "a declared gigabyte": (
        b"POST /v1/decisions HTTP/1.1\r\nhost: a\r\ncontent-length: 1073741824\r\n" + JSON + b"\r\n", {413},
    ),
    "a million keys": (posted(b"{" + b",".join(b'"%d":1' % n for n in range(1_000_000)) + b"}")[:70_000], {413}),
    "chunks without end": (chunked(*[b" " * 8_192] * 20), {413}),
    "chunks of a good question": (chunked(QUESTION[:10], QUESTION[10:]), {200}),
    "nested 200,000 deep": (posted(b"[" * 200_000)[:70_000], {413}),
    "nested 60,000 deep": (posted(b"[" * 60_000), {400}),
    "a zip bomb": (posted(gzip.compress(b"0" * 50_000_000), JSON + b"content-encoding: gzip\r\n"), {415}),
    "NaN": (posted(b'{"a": NaN}'), {400}),
    "1e400": (posted(b'{"a": 1e400}'), {400}),
    "five thousand digits": (posted(b'{"a": ' + b"9" * 5_000 + b"}"), {400}),
    "invalid UTF-8": (posted(b'{"a": "\xff"}'), {400}),
    "a lone surrogate": (posted(b'{"a": "\\ud800"}'), {400}),
    "a null byte": (posted(QUESTION.replace(b"retail:1", b"retail:1\\u0000")), {422}),
    "a key twice": (posted(b'{"a": 1, "a": 2}'), {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_it_is_refused_with_a_problem_and_the_next_is_served(port: int, name: str) -> None:
    data, expected = HOSTILE[name]
    status, head, body = await sent(port, data)
    assert status in expected
    if status >= 400:
        assert b"content-type: application/problem+json" in head
        assert orjson.loads(body)["status"] == status
        assert b"Traceback" not in body
    assert (await sent(port, posted(QUESTION)))[0] == 200


async def test_memory_does_not_grow_with_what_is_refused(port: int) -> None:
    body = posted(b"[" * 60_000)
    await sent(port, body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(40):
        await asyncio.gather(*(sent(port, body) for _ in range(5)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5 * MEBIBYTE


async def test_failures_show_no_trace_and_no_words_of_the_code(bank: Any, connect: Any) -> None:
    bank.store.states = None
    client = await connect()
    answer = await client.get("/v1/customers/retail:1")
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "urn:kairos:problem:internal", "title": "The service failed", "status": 500,
        "detail": "The failure has been logged.",
    }  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi", "/debug", "/.env", "/static/../server.py", "/%2e%2e/etc/passwd"]
)
async def test_nothing_is_served_that_is_not_meant_to_be(connect: Any, path: str) -> None:
    assert (await (await connect()).get(path)).status_code == 404


async def test_metrics_are_for_operators(connect: Any, make_key: Any) -> None:
    client = await connect(authenticator=ApiKeys([make_key("reader", ApiScope.READ), make_key("op", ApiScope.OPERATE)]))
    statuses = [
        (await client.get("/metrics", headers=headers)).status_code
        for headers in ({}, {"X-API-Key": "reader"}, {"X-API-Key": "op"})
    ]
    assert statuses == [401, 403, 200]


async def test_every_answer_carries_the_headers_of_security(connect: Any) -> None:
    client = await connect()
    for method, path in (
        ("GET", "/livez"),
        ("GET", "/"),
        ("POST", "/v1/decisions"),
        ("GET", "/nowhere"),
        ("PUT", "/v1/events"),
    ):
        headers = (await client.request(method, path)).headers
        assert headers["x-content-type-options"] == "nosniff", (method, path)
        assert "no-store" in headers["cache-control"], (method, path)
        assert "server" not in headers
