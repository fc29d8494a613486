"""The API over HTTP on a real store and a real bus: the circle of offer and answer, and what happens when they go."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from decision_engine.features.fold import fold
from decision_engine.features.update import PositionedUpdate, Update
from event_schemas.codec import decode
from event_schemas.topics import ALL_TOPICS, DECISIONS, PROFILE_UPDATES, RESPONSES
from services.adapters.embedded_servers import embedded_broker, embedded_valkey
from services.adapters.kafka_event_stream import KafkaEventStream
from services.adapters.kafka_topics import ensure_topics
from services.adapters.parquet_archive import ParquetArchive
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_state_store import FUNCTION_LIBRARY
from services.api.app import create_app
from services.api.server import bind, serve
from services.bootstrap import load_strategy, open_api
from services.commands import explain, replay_check
from services.ports import Delivery
from services.settings import Settings, read_settings
from services.use_cases.wire_time import rfc3339

pytestmark = pytest.mark.servers

STRATEGY = """
name: corner_bank
time_zone: Asia/Shanghai
currency: CNY
locales: [zh-CN, en]
consents:
  - {name: marketing, default: granted, text: {zh-CN: 营销, en: Marketing}}
  - {name: personalisation, default: granted, text: {zh-CN: 个性化, en: Personalisation}}
profile:
  - {name: age, type: int, theme: basic, description: {zh-CN: 年龄, en: Age}}
context:
  - {name: page, type: string, description: {zh-CN: 页面, en: Page}}
models: [{name: cross_sell, required: false}]
issues: [{name: acquire, title: {zh-CN: 获客, en: Acquire}}]
groups: [{name: cards, issue: acquire, model: cross_sell, title: {zh-CN: 卡, en: Cards}}]
offers:
  - name: gold_card
    group: cards
    title: {zh-CN: 金卡, en: Gold card}
    value: 20000
    base_rate: 0.1
    eligibility: [{id: adult, when: 'age >= 18', code: UNDER_AGE, text: {zh-CN: 未成年, en: Too young}}]
    treatments:
      - {name: banner, channel: mobile, placements: [home_banner], content: {zh-CN: {title: 金卡}, en: {title: Gold}}}
      - name: talk
        channel: contact_centre
        placements: [agent_panel]
        content: {zh-CN: {title: 金卡}, en: {title: Gold}}
        script: {zh-CN: 您好, en: Good day}
  - name: blue_card
    group: cards
    title: {zh-CN: 蓝卡, en: Blue card}
    value: 10000
    base_rate: 0.1
    treatments:
      - {name: banner, channel: mobile, placements: [home_banner], content: {zh-CN: {title: 蓝卡}, en: {title: Blue}}}
placements:
  - id: home_banner
    channel: mobile
    max_count: 3
    fallback: {treatment: generic.mobile.banner, content: {zh-CN: {title: 欢迎}, en: {title: Welcome}}}
  - id: agent_panel
    channel: contact_centre
    max_count: 3
    fallback: {treatment: generic.contact_centre.talk, content: {zh-CN: {title: 欢迎}, en: {title: Welcome}}}
contact_policy:
  reservation_seconds: 600
  limits:
    - {id: one_offer_a_day, scope: offer, limit: 1, window: 1d, code: CAP_OFFER, text: {zh-CN: 上限, en: Shown today}}
    - id: rejected_lately
      scope: offer
      on: [reject]
      window: 30d
      limit: 1
      code: REJECTED_LATELY
      text: {zh-CN: 刚拒绝, en: Refused lately}
exploration: {kind: epsilon_greedy, epsilon: 0.0}
experiment: {salt: s, shares: {}}
"""
QUESTION = {
    "request_id": "q1",
    "customer_id": "retail:1",
    "channel": "mobile",
    "placements": [{"id": "home_banner", "count": 1}],
    "locale": "en",
}


@dataclass(frozen=True)
class Deployment:
    """A served API with the processes under it."""

    client: httpx.AsyncClient
    settings: Settings
    valkey_pid: int
    """0 where the store is a cluster."""
    broker_pid: int


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[int]:
    """The API on a free port."""
    stop, started = asyncio.Event(), asyncio.Event()
    async with open_api(settings) as runtime:
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        serving = asyncio.create_task(serve(create_app(runtime), listener, stop=stop, on_started=started.set))
        await started.wait()
        try:
            yield port
        finally:
            stop.set()
            await serving


@pytest.fixture
async def deployment(
    request: pytest.FixtureRequest, tmp_path: Path, emptied: Callable[[str], Awaitable[str]]
) -> AsyncIterator[Deployment]:
    """An API on a store and a broker of its own, with one customer of 40 years. By the parameter "cluster" the store is
    the cluster."""
    strategy = tmp_path / "strategy.yaml"
    strategy.write_text(STRATEGY, encoding="utf-8")
    async with AsyncExitStack() as stack:
        pid, broker = 0, await stack.enter_async_context(embedded_broker(tmp_path))
        if getattr(request, "param", "one server") == "cluster":
            url = await emptied(request.getfixturevalue("cluster_of_three"))
        else:
            valkey = await stack.enter_async_context(embedded_valkey(tmp_path))
            pid, url = valkey.pid, f"redis://127.0.0.1:{valkey.port}/0"
        settings = environment(tmp_path, strategy, url, broker.port)
        await ensure_topics(settings.kafka_bootstrap_servers, ALL_TOPICS, partitions=2, replication=1)
        await seed(settings, {"retail:1": 40})
        port = await stack.enter_async_context(served(settings))
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)
        yield Deployment(await stack.enter_async_context(client), settings, pid, broker.pid)


def environment(folder: Path, strategy: Path, redis_url: str, broker: int) -> Settings:
    return read_settings(
        {
            "KAIROS_REDIS_URL": redis_url,
            "KAIROS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{broker}",
            "KAIROS_KAFKA_IDEMPOTENCE": "false",
            "KAIROS_STRATEGY_PATH": str(strategy),
            "KAIROS_MODEL_PATH": str(folder / "models"),
            "KAIROS_ARCHIVE_PATH": str(folder / "archive"),
            "KAIROS_STRATEGY_ARCHIVE": str(folder / "strategies"),
        }
    )


async def seed(settings: Settings, ages: Mapping[str, int]) -> None:
    """Puts customers of these ages into the store, as the state builder would have."""
    features = load_strategy(settings).features
    async with RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client:
        keys = RedisKeys(settings.namespace, features.layout).divided(client.tags)
        for number, (customer, age) in enumerate(ages.items()):
            moment = time_ns() // 1_000_000
            profile = Update(event_key=number, source="bank.profile.updated", time_ms=moment, attributes={"age": age})
            value = fold(features, None, [PositionedUpdate(0, number, profile)]).value
            await client.execute("SET", keys.state(customer), value)
        await client.execute_many([("SET", own.complete, "1") for own in keys.parts])


async def events_on(settings: Settings, topic: str, wanted: int) -> list[Any]:
    """The first events of a topic, decoded."""
    found: list[Any] = []
    async with KafkaEventStream(settings.kafka_bootstrap_servers, [topic], None) as stream:
        async with asyncio.timeout(20):
            while len(found) < wanted:
                found += [decode(delivery.value) for delivery in await stream.poll(500, 0.2) if delivery.value]
    return found


async def ask(client: httpx.AsyncClient, request_id: str, **overrides: Any) -> dict[str, Any]:
    answer = await client.post("/v1/decisions", json=QUESTION | {"request_id": request_id} | overrides)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def offered(document: Mapping[str, Any]) -> list[str]:
    return [option["offer"] for place in document["placements"] for option in place.get("options", [])]


async def respond(client: httpx.AsyncClient, document: Mapping[str, Any], outcome: str) -> dict[str, Any]:
    tracking_id = document["placements"][0]["options"][0]["tracking_id"]
    body = {"response_id": f"{tracking_id}-{outcome}", "tracking_id": tracking_id, "outcome": outcome}
    answer = await client.post("/v1/responses", json=body)
    assert answer.status_code == 202, answer.text
    taken: dict[str, Any] = answer.json()
    return taken


@pytest.mark.parametrize("deployment", ["one server", "cluster"], indirect=True)
async def test_a_refused_offer_is_gone_from_the_next_decision_in_every_channel(deployment: Deployment) -> None:
    client = deployment.client
    first = await ask(client, "a")
    assert offered(first) == ["gold_card"]
    assert (await respond(client, first, "impression"))["accepted"] == 1
    assert (await respond(client, first, "reject"))["accepted"] == 1
    assert (await respond(client, first, "reject"))["duplicates"] == 1
    assert offered(await ask(client, "b")) == ["blue_card"]
    desk = await ask(client, "c", channel="contact_centre", placements=[{"id": "agent_panel"}])
    assert offered(desk) == []
    assert desk["placements"][0]["fallback_cause"] == "CAPPED"
    why = (await client.get(f"/v1/decisions/{desk['decision_id']}")).json()
    assert [(c["offer"], c["stage"]) for c in why["candidates"]] == [("gold_card", "contact_policy")]
    recorded = await events_on(deployment.settings, RESPONSES, 2)
    assert {(event.id, event.data.outcome) for event in recorded} >= {
        (f"{first['decision_id']}.0-impression", "impression"),
        (f"{first['decision_id']}.0-reject", "reject"),
    }
    decisions = await events_on(deployment.settings, DECISIONS, 3)
    assert {event.data.decision_id for event in decisions} >= {first["decision_id"], desk["decision_id"]}


@pytest.mark.parametrize("deployment", ["one server", "cluster"], indirect=True)
async def test_a_hundred_equal_requests_over_two_nodes_are_one_decision(deployment: Deployment) -> None:
    """The second node has connections of its own; both see one store."""
    async with (
        served(deployment.settings) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as other,
    ):
        body = QUESTION | {"timeout_ms": 1000}
        answers = await asyncio.gather(
            *((deployment.client if n % 2 else other).post("/v1/decisions", json=body) for n in range(100))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        conflict = await other.post("/v1/decisions", json=body | {"locale": "zh-CN"})
        assert conflict.status_code == 409
    portrait = (await deployment.client.get("/v1/customers/retail:1")).json()
    assert [contact["offer"] for contact in portrait["contacts"]] == ["gold_card"], "reserved once"


@pytest.mark.parametrize("deployment", ["one server", "cluster"], indirect=True)
async def test_fifty_at_once_never_break_a_cap_of_one(deployment: Deployment) -> None:
    answers = await asyncio.gather(*(ask(deployment.client, f"r{n}", timeout_ms=1000) for n in range(50)))
    names = [name for answer in answers for name in offered(answer)]
    assert sorted(names) == ["blue_card", "gold_card"]


async def test_a_store_that_is_gone_means_fallbacks_and_never_an_error(deployment: Deployment) -> None:
    client = deployment.client
    assert offered(await ask(client, "before")) == ["gold_card"]
    os.kill(deployment.valkey_pid, signal.SIGKILL)
    for number in range(20):
        answer = await ask(client, f"after{number}", timeout_ms=100)
        assert answer["placements"][0]["fallback_cause"] == "DEGRADED"
        assert {"state_unavailable", "ledger_unavailable"} <= set(answer["degraded_causes"])
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/v1/customers/retail:1")).status_code == 503


async def test_a_store_that_refuses_writes_means_degraded_decisions_and_503_for_responses(
    deployment: Deployment,
) -> None:
    client = deployment.client
    option = (await ask(client, "before"))["placements"][0]["options"][0]
    said = {"response_id": "r1", "tracking_id": option["tracking_id"], "outcome": "reject"}
    async with RedisClient.open(deployment.settings.redis_url) as store:
        await store.execute("CONFIG", "SET", "min-replicas-to-write", "1")
        assert (await ask(client, "refused"))["degraded"] is True
        refused = await client.post("/v1/responses", json=said)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        await store.execute("CONFIG", "SET", "min-replicas-to-write", "0")
    assert (await client.post("/v1/responses", json=said)).json()["accepted"] == 1
    assert (await ask(client, "after"))["degraded"] is False


async def test_a_stop_keeps_late_records_before_the_store_is_closed(deployment: Deployment) -> None:
    async with RedisClient.open(deployment.settings.redis_url) as store:

        async def mend() -> None:
            await asyncio.sleep(1.0)
            await store.execute("CONFIG", "SET", "min-replicas-to-write", "0")

        async with (
            served(deployment.settings) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as stopping,
        ):
            await store.execute("CONFIG", "SET", "min-replicas-to-write", "1")
            answer = await ask(stopping, "late")
            assert "state_unavailable" in answer["degraded_causes"]
            mending = asyncio.create_task(mend())
        assert mending.done(), "the stop has waited for the record"
    assert (await deployment.client.get(f"/v1/decisions/{answer['decision_id']}")).status_code == 200


async def test_a_store_that_hangs_is_answered_within_the_budget(deployment: Deployment) -> None:
    os.kill(deployment.valkey_pid, signal.SIGSTOP)
    try:
        answers = await asyncio.gather(*(ask(deployment.client, f"h{n}", timeout_ms=100) for n in range(10)))
        assert all(answer["degraded"] for answer in answers)
        assert max(answer["took_ms"] for answer in answers) < 400
    finally:
        os.kill(deployment.valkey_pid, signal.SIGCONT)


async def test_events_over_http_reach_the_bus(deployment: Deployment) -> None:
    event = {
        "specversion": "1.0",
        "id": "e1",
        "type": "bank.profile.updated",
        "source": "core",
        "subject": "retail:1",
        "time": rfc3339(time_ns() // 1_000_000),
        "data": {"attributes": {"age": 41}},
    }
    ahead = event | {"time": rfc3339(time_ns() // 1_000_000 + 600_000)}
    early = await deployment.client.post("/v1/events", json=ahead)
    assert (early.status_code, early.json()["errors"][0]["message"][:5]) == (422, "time:")
    answer = await deployment.client.post("/v1/events", json=[event, event | {"subject": "x"}])
    assert answer.status_code == 202
    assert (answer.json()["accepted"], answer.json()["rejected"][0]["index"]) == (1, 1)
    (found,) = await events_on(deployment.settings, PROFILE_UPDATES, 1)
    assert found.id == "e1"


async def test_a_decision_is_explained_and_replayed_from_the_command_line(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await ask(deployment.client, "a", context={"page": "cards"})
    settings = deployment.settings
    monkeypatch.setenv("KAIROS_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("KAIROS_STRATEGY_PATH", str(settings.strategy_path))
    monkeypatch.setenv("KAIROS_MODEL_PATH", str(settings.model_path))
    monkeypatch.setenv("KAIROS_ARCHIVE_PATH", str(settings.archive_path))
    monkeypatch.setenv("KAIROS_STRATEGY_ARCHIVE", str(settings.strategy_archive))
    args = SimpleNamespace(decision_id=f"{answer['decision_id']}.0", replay=True, json=False, locale="en")
    assert await asyncio.to_thread(explain.run, args) == 0
    shown = capsys.readouterr()
    assert "gold_card.mobile.banner" in shown.out
    assert "rank 1" in shown.out
    assert "identical" in shown.err
    args.json, args.replay = True, False
    assert await asyncio.to_thread(explain.run, args) == 0
    assert orjson.loads(capsys.readouterr().out)["decision_id"] == answer["decision_id"]


async def archived_decisions(settings: Settings, wanted: int) -> None:
    """Puts the decisions on the bus into the archive, as the archiver would."""
    found: dict[tuple[str, int], list[Delivery]] = {}
    async with KafkaEventStream(settings.kafka_bootstrap_servers, [DECISIONS], None) as stream, asyncio.timeout(20):
        while sum(map(len, found.values())) < wanted:
            for delivery in await stream.poll(500, 0.2):
                found.setdefault((delivery.topic, delivery.partition), []).append(delivery)
    with ParquetArchive(settings.archive_path) as archive:
        for deliveries in found.values():
            archive.append(deliveries)


async def test_decisions_before_and_after_a_change_of_strategy_replay_from_the_archive(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = deployment.settings
    first = await ask(deployment.client, "before", placements=[{"id": "home_banner", "count": 2}])
    for number in range(20):
        await ask(deployment.client, f"before{number}", customer_id=f"retail:{number % 3}")
    text = settings.strategy_path.read_text("utf-8")
    settings.strategy_path.write_text(text.replace("value: 10000", "value: 90000"), "utf-8")
    await seed(settings, {"retail:1": 40, "retail:7": 30})
    async with (
        served(settings) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as after,
    ):
        second = await ask(after, "after", customer_id="retail:7", placements=[{"id": "home_banner", "count": 2}])
        assert second["strategy_version"] != first["strategy_version"]
        assert offered(second)[0] == "blue_card"
        for number in range(20):
            await ask(after, f"after{number}", customer_id=f"retail:{number % 8}")
        why = (await after.get(f"/v1/decisions/{first['decision_id']}")).json()
        assert {c["offer"]: c["outcome"] for c in why["candidates"]} == {"gold_card": "offered", "blue_card": "offered"}
        assert {c["offer"]: c["value"] for c in why["candidates"]}["blue_card"] == 10_000, "the value of that time"
    await archived_decisions(settings, 42)
    for name, value in {
        "REDIS_URL": settings.redis_url, "STRATEGY_PATH": settings.strategy_path, "MODEL_PATH": settings.model_path,
        "ARCHIVE_PATH": settings.archive_path, "STRATEGY_ARCHIVE": settings.strategy_archive,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"KAIROS_{name}", str(value))
    assert await asyncio.to_thread(replay_check.run, SimpleNamespace(archive=None, day=None)) == 0
    shown = capsys.readouterr().out.split()
    assert shown[:6] == ["decisions", "42", "identical", "42", "differing", "0"]
    args = SimpleNamespace(decision_id=first["decision_id"], replay=True, json=False, locale="zh-CN")
    assert await asyncio.to_thread(explain.run, args) == 0
    assert "第 1 位" in capsys.readouterr().out


async def test_metrics_tell_what_was_decided(deployment: Deployment) -> None:
    await ask(deployment.client, "a")
    page = (await deployment.client.get("/metrics")).text
    assert 'kairos_decisions_total{arm="full",channel="mobile"} 1.0' in page
    assert 'kairos_decision_stage_seconds_count{stage="engine"} 1.0' in page
    ready = await deployment.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"store": True, "bus": True, "control": True})


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(15):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
    return b""


async def test_half_requests_and_huge_headers_are_cut_off(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.api import guarded_protocol

    monkeypatch.setattr(guarded_protocol, "HEADER_SECONDS", 0.3)
    port = deployment.client.base_url.port
    silent, _silent = await asyncio.open_connection("127.0.0.1", port)
    half, half_writer = await asyncio.open_connection("127.0.0.1", port)
    half_writer.write(b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\n")
    huge, huge_writer = await asyncio.open_connection("127.0.0.1", port)
    huge_writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n" + b"x-junk: " + b"j" * 60_000)
    whole, whole_writer = await asyncio.open_connection("127.0.0.1", port)
    whole_writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-junk: " + b"j" * 60_000 + b"\r\n\r\n")
    junk, junk_writer = await asyncio.open_connection("127.0.0.1", port)
    junk_writer.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    assert await read_all(silent) == b""
    assert await read_all(half) == b""
    for reader in (huge, whole):
        assert (await read_all(reader)).startswith(b"HTTP/1.1 431 ")
    refused = await read_all(junk)
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in refused
    for writer in (_silent, half_writer, huge_writer, whole_writer, junk_writer):
        writer.close()
    assert (await deployment.client.get("/livez")).status_code == 200
