"""Traces over HTTP, Kafka and Redis: the caller's trace goes on to store, bus and state; off, nothing is wrapped."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from event_schemas.codec import decode
from event_schemas.topics import CONTROL, DECISIONS, PROFILE_UPDATES
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.api.app import create_app
from services.bootstrap import load_strategy, open_api, open_event_stream
from services.commands import topics
from services.commands.state_builder import build_states
from services.ports import OutgoingEvent, StoreUnavailable
from services.settings import Settings, SettingsInvalid, read_settings
from services.telemetry import tracing
from services.telemetry_spans import carrying, instrumented, traced_app
from services.workers.state_builder import StateBuilder

STRATEGY = """
name: shop
time_zone: UTC
currency: CNY
locales: [en]
consents: [{name: marketing, default: granted, text: {en: Marketing}}]
profile: [{name: age, type: int, theme: basic, description: {en: Age}}]
models: [{name: m}]
issues: [{name: grow}]
groups: [{name: notices, issue: grow, model: m}]
offers:
  - {name: umbrella, group: notices, title: {en: Umbrella}, value: 100, base_rate: 0.1, purpose: service,
     treatments: [{name: main, channel: branch, placements: [tablet], content: {en: {title: x}}}]}
placements: [{id: tablet, channel: branch, max_count: 2, fallback: {treatment: none, content: {en: {title: x}}}}]
"""
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = int("0af7651916cd43dd8448eb211c80319c", 16)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    yield made
    made.shutdown()


@pytest.fixture
async def settings(servers: Any, tmp_path: Path) -> Settings:
    (tmp_path / "strategy.yaml").write_text(STRATEGY)
    made = Settings(
        kafka_bootstrap_servers=servers.bootstrap_servers, kafka_idempotence=False, kafka_session_timeout_ms=1000,
        kafka_partitions=1, redis_url=servers.redis_url, strategy_path=tmp_path / "strategy.yaml",
        strategy_archive=tmp_path / "strategies", model_path=tmp_path / "models", archive_path=tmp_path / "archive",
    )  # fmt: skip
    await topics.create(made)
    return made


async def read(settings: Settings, topic: str, exporter: InMemorySpanExporter) -> dict[str, Any]:
    async with open_event_stream(settings, [topic]) as stream:
        for _ in range(50):
            for delivery in await stream.poll(100, 0.2):
                document: dict[str, Any] = orjson.loads(delivery.value or b"{}")
                decode(delivery.value or b"")  # the extension attribute is one that every reader takes
                return document | {"headers": dict(delivery.headers)}
    raise AssertionError([span.name for span in exporter.get_finished_spans()])


@pytest.mark.servers
async def test_a_callers_trace_goes_on_through_decision_store_and_bus(
    settings: Settings, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    body = {"customer_id": "retail:4711", "channel": "branch", "placements": [{"id": "tablet", "count": 1}]}
    with instrumented(provider) as wrap:
        async with open_api(settings) as runtime:
            transport = httpx.ASGITransport(app=wrap(create_app(runtime)))
            async with httpx.AsyncClient(transport=transport, base_url="http://kairos") as client:
                answer = await client.post("/v1/decisions", json=body, headers={"traceparent": CALLER})
            assert answer.status_code == 200
        event = await read(settings, DECISIONS, exporter)
    assert event["traceparent"].split("-")[1] == f"{TRACE:032x}"
    assert event["headers"]["traceparent"].decode() == event["traceparent"]
    ours = {
        span.name: span for span in exporter.get_finished_spans() if span.context and span.context.trace_id == TRACE
    }
    served = ours["POST /v1/decisions"]
    assert served.parent is not None and served.parent.span_id == int("b7ad6b7169203331", 16)
    assert served.attributes is not None and served.attributes["http.response.status_code"] == 200
    assert "GET" in ours  # state, ledger and claim, in one round trip
    everything = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "retail:4711" not in everything


@pytest.mark.servers
async def test_a_batch_of_events_links_to_where_they_came_from(
    settings: Settings, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    event = {
        "specversion": "1.0", "id": "e1", "type": "bank.profile.updated", "source": "core", "subject": "retail:1",
        "time": "2026-11-21T09:30:00Z", "data": {"attributes": {"age": 41}},
    }  # fmt: skip
    stop = asyncio.Event()
    with instrumented(provider):
        tracer = provider.get_tracer("test")
        with tracer.start_as_current_span("sender") as sender:
            async with KafkaEventPublisher(settings.kafka_bootstrap_servers, idempotence=False) as publisher:
                await publisher.publish(
                    [OutgoingEvent(topic=PROFILE_UPDATES, key="retail:1", value=orjson.dumps(event))]
                )
        building = asyncio.create_task(
            build_states(settings, load_strategy(settings).features, PrometheusMetrics(), stop)
        )
        async with asyncio.timeout(30):
            while not [span for span in exporter.get_finished_spans() if span.name == "apply batch" and span.links]:
                await asyncio.sleep(0.05)
        stop.set()
        await building
    batch = next(span for span in exporter.get_finished_spans() if span.name == "apply batch" and span.links)
    assert batch.links[0].context.trace_id == sender.get_span_context().trace_id


def test_acts_of_governance_keep_their_bytes_and_what_is_traced_already_its_parent(provider: TracerProvider) -> None:
    act = OutgoingEvent(topic=CONTROL, key="act:1", value=b'{"id":"1"}')
    own = OutgoingEvent(topic=DECISIONS, key="retail:1", value=b'{"traceparent":"00-x","id":"1"}')
    bare = OutgoingEvent(topic=DECISIONS, key="retail:1", value=b'{"id":"1"}')
    assert carrying(bare) is bare  # outside of any span
    with provider.get_tracer("test").start_as_current_span("one"):
        assert carrying(act) is act
        assert carrying(own).value == own.value
        assert orjson.loads(carrying(bare).value)["id"] == "1"
        assert "traceparent" in orjson.loads(carrying(bare).value)
        assert carrying(carrying(bare)).value == carrying(bare).value


async def nothing(_: Any = None) -> Any:
    return None


def asked(path: str, method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "headers": [(b"traceparent", b"junk")]}


async def test_paths_with_ids_are_named_by_what_they_ask_for(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = SimpleNamespace(path="/v1/customers/{customer_id}")
        await send({"type": "http.response.start", "status": 503, "headers": []})

    await traced_app(provider.get_tracer("test"), app)(asked("/v1/customers/retail:4711"), nothing, nothing)
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /v1/customers/{customer_id}"
    assert span.attributes is not None and span.attributes["http.route"] == "/v1/customers/{customer_id}"
    assert span.parent is None and not span.status.is_ok
    assert "4711" not in span.to_json()


@pytest.mark.parametrize("request_scope", [asked("/retail:4711"), asked("/v1/decisions/retail:4711", "RETAIL:4711")])
async def test_what_is_no_route_of_ours_is_not_named(
    request_scope: dict[str, Any], provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """People type ids into addresses, and a method may be any word."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})

    await traced_app(provider.get_tracer("test"), app)(request_scope, nothing, nothing)
    (span,) = exporter.get_finished_spans()
    assert span.name in ("GET", "_OTHER")
    assert "4711" not in span.to_json()


async def test_of_an_error_a_span_has_the_kind_and_not_the_words(
    provider: TracerProvider, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server or a library says of a failure may repeat what it was asked."""

    async def refuse(*_: Any) -> Any:
        raise StoreUnavailable("ERR no such key nbo:state:retail:4711")

    monkeypatch.setattr(RedisClient, "_send", refuse)
    with instrumented(provider), pytest.raises(StoreUnavailable, match="4711"):
        await RedisClient._send(object(), [("GET", "nbo:state:retail:4711")], None)  # type: ignore[arg-type]
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None and span.attributes["error.type"] == "services.ports.StoreUnavailable"
    assert not span.status.is_ok
    assert "4711" not in span.to_json()


def test_switched_off_nothing_is_wrapped() -> None:
    before = (RedisClient._send, KafkaEventPublisher.publish, KafkaEventPublisher.enqueue, StateBuilder.apply)
    app = object()
    with tracing(read_settings({}), "api") as wrap:
        assert wrap(app) is app  # type: ignore[arg-type, comparison-overlap]
        assert before == (
            RedisClient._send,
            KafkaEventPublisher.publish,
            KafkaEventPublisher.enqueue,
            StateBuilder.apply,
        )


def test_switched_on_everything_is_unwrapped_at_the_end(provider: TracerProvider) -> None:
    before = (RedisClient._send, StateBuilder.apply)
    with instrumented(provider):
        assert RedisClient._send is not before[0]
    assert (RedisClient._send, StateBuilder.apply) == before


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="KAIROS_TRACE_SHARE"):
        read_settings({"KAIROS_TRACE_SHARE": "2"})
