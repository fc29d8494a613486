"""`GET /v1/stream` and `GET /v1/attribution` on a real server: rights, bounds, slow readers, and the end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest

from services.api.app import create_app
from services.api.authentication import ApiKey, ApiKeys, ApiScope, Client
from services.api.server import Leave, bind, serve
from services.api.stream_feed import OutboundFeed
from services.api.stream_response import StreamLimits
from services.threaded_archive import ThreadedArchive

LIMITS = StreamLimits(per_client=2, in_all=3, send_s=0.2, heartbeat_s=0.1)


def key(name: str, channels: tuple[str, ...] | None, *scopes: ApiScope) -> ApiKey:
    client = Client(name=name, channels=None if channels is None else frozenset(channels), scopes=frozenset(scopes))
    return ApiKey(sha256=sha256(name.encode()).digest(), client=client)


KEYS = ApiKeys(
    [
        key("screens", ("contact_centre",), ApiScope.READ),
        key("mobile", ("mobile",), ApiScope.READ),
        key("decider", None, ApiScope.DECIDE),
        key("all", None, ApiScope.READ),
    ]
)


class Scene:
    def __init__(self, url: str, stop: asyncio.Event, serving: "asyncio.Task[None]", feed: OutboundFeed) -> None:
        self.url, self.stop, self.serving, self.feed = url, stop, serving, feed


@pytest.fixture
async def scene(small_bank: ModuleType, log: Any, clock: Any, metrics: Any) -> AsyncIterator[Scene]:
    bank, stop, started = small_bank.Bank(), asyncio.Event(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with OutboundFeed(log.open, clock, metrics).following() as feed:
        runtime = bank.runtime(outbound=feed, stream_limits=LIMITS, authenticator=KEYS, metrics=metrics)
        app = create_app(runtime)
        serving = asyncio.create_task(
            serve(app, listener, stop=stop, on_started=started.set, leave=Leave(on_stopping=feed.end))
        )
        await started.wait()
        yield Scene(url, stop, serving, feed)
        stop.set()
        await asyncio.wait_for(serving, 15)


@asynccontextmanager
async def opened(
    scene: Scene, name: str = "screens", channel: str = "contact_centre", **more: Any
) -> AsyncIterator[Any]:
    headers = {"x-api-key": name} | more.pop("headers", {})
    async with (
        httpx.AsyncClient(base_url=scene.url, timeout=20) as client,
        client.stream("GET", "/v1/stream", params={"channel": channel, **more}, headers=headers) as answer,
    ):
        yield answer


async def first_event(answer: Any) -> tuple[str, Any]:
    name = ""
    async with asyncio.timeout(20):
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line[7:]
            if line.startswith("data: "):
                return name, orjson.loads(line[6:])
    raise AssertionError("the stream ended")


async def test_a_screen_gets_an_offer_as_it_was_published(scene: Scene, log: Any) -> None:
    async with opened(scene) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-content-type-options"] == "nosniff"
        sent = log.offer(channel="contact_centre", title="Salary arrived", urgent=True)
        name, data = await first_event(answer)
    assert name == "offered"
    assert data["outbound_id"] == sent
    assert orjson.loads(log.records[0].value)["data"].items() <= data.items()


async def test_asked_without_its_body_a_stream_ends_at_once_and_takes_no_place(scene: Scene) -> None:
    async with httpx.AsyncClient(base_url=scene.url, timeout=5, headers={"x-api-key": "screens"}) as client:
        for _ in range(2 * LIMITS.in_all):
            answer = await client.head("/v1/stream", params={"channel": "contact_centre"})
            assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("name", "query", "headers", "status", "kind"),
    [
        ("nobody", {"channel": "contact_centre"}, {}, 401, "unauthenticated"),
        ("decider", {"channel": "contact_centre"}, {}, 403, "forbidden"),
        ("mobile", {"channel": "contact_centre"}, {}, 403, "forbidden"),
        ("all", {"channel": "moon"}, {}, 422, "invalid"),
        ("screens", {}, {}, 422, "invalid"),
        ("screens", {"channel": "Contact Centre"}, {}, 422, "invalid"),
        ("screens", {"channel": "contact_centre", "customer_id": "1787"}, {}, 422, "invalid"),
        ("screens", {"channel": "contact_centre"}, {"last-event-id": "yesterday"}, 422, "invalid"),
    ],
)
async def test_who_may_not_or_asks_wrongly_gets_a_problem_document(
    scene: Scene, name: str, query: dict[str, str], headers: dict[str, str], status: int, kind: str
) -> None:
    async with httpx.AsyncClient(base_url=scene.url) as client:
        answer = await client.get("/v1/stream", params=query, headers={"x-api-key": name, **headers})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:kairos:problem:{kind}"
    assert "yesterday" not in answer.text and "1787" not in answer.text


async def test_streams_are_bounded_by_client_and_in_all_and_room_comes_back(scene: Scene, metrics: Any) -> None:
    async with opened(scene) as one, opened(scene) as two:
        assert one.status_code == two.status_code == 200
        async with opened(scene) as third:
            assert third.status_code == 429 and third.headers["retry-after"] == "1"
        async with opened(scene, "all") as other:
            assert other.status_code == 200
            async with opened(scene, "all") as too_many:
                assert too_many.status_code == 429
    async with asyncio.timeout(10):
        while metrics.seen["streams_open",]:
            await asyncio.sleep(0.01)
    async with opened(scene) as again:
        assert again.status_code == 200


async def test_a_stop_ends_the_streams_at_once(scene: Scene, log: Any) -> None:
    async with opened(scene) as answer:
        log.offer(channel="contact_centre")
        async with asyncio.timeout(10):
            async for chunk in answer.aiter_raw():
                if b"event: offered" in chunk:
                    scene.stop.set()
        async with asyncio.timeout(5):
            await scene.serving


async def test_a_reader_that_takes_nothing_is_cut_off_and_its_connection_closed(
    scene: Scene, log: Any, metrics: Any
) -> None:
    port = int(scene.url.rpartition(":")[2])
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", port))
    slow.sendall(b"GET /v1/stream?channel=contact_centre HTTP/1.1\r\nhost: x\r\nx-api-key: screens\r\n\r\n")
    try:
        async with opened(scene) as quick:
            async with asyncio.timeout(10):
                while metrics.seen.get(("streams_open",), 0) < 2:
                    await asyncio.sleep(0.01)
            sent = [log.offer(f"retail:{n}", channel="contact_centre", title="x" * 200_000) for n in range(60)]
            got = 0
            async with asyncio.timeout(20):
                async for line in quick.aiter_lines():
                    got += line == "event: offered"
                    if got == len(sent):
                        break
                while not metrics.seen.get(("stream_cut_off_total", "slow")):
                    await asyncio.sleep(0.01)
                while metrics.seen["streams_open",] > 1:
                    await asyncio.sleep(0.01)
        assert got == len(sent)
    finally:
        slow.close()


async def test_a_node_without_the_topic_says_so(small_bank: ModuleType) -> None:
    transport = httpx.ASGITransport(create_app(small_bank.Bank().runtime()))
    async with httpx.AsyncClient(transport=transport, base_url="http://bank") as client:
        answer = await client.get("/v1/stream", params={"channel": "mobile"})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def conversion(
    name: str, revision: int, *, counted: bool = True, channel: str = "manager", share: float = 1.0
) -> bytes:
    credit = {"offer": "gold_card", "treatment": "t", "channel": channel, "last_touch": share, "shared": share,
              "value": 1000}  # fmt: skip
    data = {"conversion_id": name, "revision": revision, "counted": counted, "credits": [credit]}
    return orjson.dumps({"data": data})


class Archived:
    """An archive with conversions in it; `wanted` is what was asked for last."""

    def __init__(self, values: list[bytes]) -> None:
        self._values = values
        self.wanted: Any = None

    def read_decision(self, decision_id: str) -> bytes | None:
        return None

    def read_events(self, topics: Any, wanted: Any) -> Any:
        self.wanted = wanted
        return iter([type("Event", (), {"value": value})() for value in self._values])


@asynccontextmanager
async def reporting(small_bank: ModuleType, archive: Archived) -> AsyncIterator[httpx.AsyncClient]:
    runtime = small_bank.Bank().runtime(attribution=ThreadedArchive(archive), authenticator=KEYS)
    transport = httpx.ASGITransport(create_app(runtime))
    headers = {"x-api-key": "all"}
    async with httpx.AsyncClient(transport=transport, base_url="http://bank", headers=headers) as client:
        yield client


async def test_the_report_counts_each_conversion_once_at_its_highest_revision(small_bank: ModuleType) -> None:
    archive = Archived(
        [
            conversion("a", 2, channel="manager"),
            conversion("a", 1, channel="mobile"),
            conversion("a", 2, channel="manager"),
            conversion("b", 1, channel="mobile"),
            conversion("c", 1),
            conversion("c", 3, counted=False),
            b"{}",
        ]
    )
    async with reporting(small_bank, archive) as client:
        answer = await client.get("/v1/attribution", params={"by": "channel", "from": "2026-11-01T00:00:00Z"})
        own = await client.get("/v1/attribution", params={"by": "channel"}, headers={"x-api-key": "mobile"})
    assert answer.status_code == 200
    document = answer.json()
    assert document["rows"] == [
        {"channel": "manager", "conversions": 1.0, "value": 1000, "touches": 1},
        {"channel": "mobile", "conversions": 1.0, "value": 1000, "touches": 1},
    ]
    assert (document["conversions"], document["value"], document["currency"]) == (2.0, 2000, "CNY")
    assert document["from"] == "2026-11-01T00:00:00.000Z"
    assert [row["channel"] for row in own.json()["rows"]] == ["mobile"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "2026-11-21"}, "from"),
        ({"from": "2026-11-21T00:00:00Z", "to": "2026-11-20T00:00:00Z"}, "from"),
        ({"from": "2020-11-21T00:00:00Z", "to": "2026-11-20T00:00:00Z"}, "from"),
        ({"by": "customer"}, "by"),
        ({"model": "magic"}, "model"),
    ],
)
async def test_a_report_that_cannot_be_made_names_the_field(
    small_bank: ModuleType, query: dict[str, str], field: str
) -> None:
    async with reporting(small_bank, Archived([])) as client:
        answer = await client.get("/v1/attribution", params=query)
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [field]


async def test_a_report_over_too_many_conversions_is_refused_and_so_is_a_client_without_the_right(
    small_bank: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.use_cases.attribution_report.MOST_CONVERSIONS", 1)
    async with reporting(small_bank, Archived([conversion("a", 1), conversion("b", 1)])) as client:
        answer = await client.get("/v1/attribution")
        refused = await client.get("/v1/attribution", headers={"x-api-key": "decider"})
    assert answer.status_code == 422 and answer.json()["errors"][0]["code"] == "too_many"
    assert refused.status_code == 403
