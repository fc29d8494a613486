"""Spans of OpenTelemetry around requests, store calls, publications and batches, and the W3C context between them.

A request's `traceparent` is taken up; every event published within a span carries it on, as the CloudEvents extension
attribute and as a header of the record; a batch of events links to the spans its records came from. Acts of governance
are left as they are: their bytes are chained. No span has an attribute that tells of a customer: requests are named by
the pattern of their route, and of an error a span has the kind, not the words.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from event_schemas.topics import CONTROL
from services.adapters.kafka_event_publisher import KafkaEventPublisher
from services.adapters.redis_client import RedisClient
from services.api.bodies import Message, Receive, Scope, Send
from services.api.front_door import AsgiApp
from services.api.load_gate import HOT_PATHS
from services.ports import BusPosition, Delivery, OutgoingEvent
from services.use_cases.log_ids import LOG_IDS
from services.workers.state_builder import PreparedBatch, StateBuilder

TRACEPARENT = "traceparent"
MOST_LINKS = 32
"""Of a batch: one that links to thousands is read by nobody."""
_W3C = TraceContextTextMapPropagator()
_CARRIED = (b"traceparent", b"tracestate")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Others are a client's own words."""


@contextmanager
def exporting(endpoint: str, share: float, role: str) -> Iterator[TracerProvider]:
    """A provider that sends spans to an OTLP/HTTP collector, of `share` of the requests that bring no trace along; what
    is still to be sent is sent on leaving."""
    sampler = ParentBased(TraceIdRatioBased(share))
    provider = TracerProvider(resource=Resource.create({"service.name": f"kairos-{role}"}), sampler=sampler)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    try:
        yield provider
    finally:
        provider.shutdown()


@contextmanager
def instrumented(provider: trace.TracerProvider) -> Iterator[Callable[[AsgiApp], AsgiApp]]:
    """While it lasts, store, bus and batches of this process are traced; answers what traces an application."""
    tracer = provider.get_tracer("kairos")
    replaced: tuple[tuple[type, str, Callable[..., Any]], ...] = (
        (RedisClient, "_send", _sent),
        (KafkaEventPublisher, "publish", _published),
        (KafkaEventPublisher, "enqueue", _enqueued),
        (StateBuilder, "apply", _applied),
    )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, wrapper in replaced:
        setattr(owner, name, wrapper(getattr(owner, name), tracer))
    try:
        yield partial(traced_app, tracer)
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def traced_app(tracer: Tracer, app: AsgiApp) -> AsgiApp:
    """The application with a span around every request, child of the caller's if it named one."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        with _span(tracer, method, SpanKind.SERVER, context=_W3C.extract(carrier)) as span:
            span.set_attribute("http.request.method", method)

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            LOG_IDS.set({"trace_id": trace.format_trace_id(span.get_span_context().trace_id)})
            try:
                await app(scope, receive, send_noted)
            finally:
                if (route := _route(scope)) is not None:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)

    return traced


def _route(scope: Scope) -> str | None:
    """The pattern of what was asked for, once the application has found it; paths themselves hold what people typed."""
    if scope["path"] in HOT_PATHS:
        return str(scope["path"])
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


@contextmanager
def _span(
    tracer: Tracer, name: str, kind: SpanKind, *, context: Context | None = None, links: Sequence[Link] = ()
) -> Iterator[Span]:
    """The span at hand while it lasts. An error leaves its kind: its words may repeat what was asked."""
    with tracer.start_as_current_span(
        name, context=context, kind=kind, links=links, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
            raise


def _sent(original: Callable[..., Awaitable[Any]], tracer: Tracer) -> Callable[..., Awaitable[Any]]:
    async def send(client: RedisClient, commands: Sequence[Sequence[object]], timeout_s: float | None) -> Any:
        with _span(tracer, _command(commands), SpanKind.CLIENT) as span:
            span.set_attribute("db.system.name", "redis")
            span.set_attribute("db.operation.batch.size", len(commands))
            return await original(client, commands, timeout_s)

    return send


def _command(commands: Sequence[Sequence[object]]) -> str:
    """What is asked of the store, never of whom: the command, and a function's name."""
    if not commands:
        return "nothing"
    words = commands[0][:2] if str(commands[0][0]).upper().startswith("FCALL") else commands[0][:1]
    return " ".join(word.decode() if isinstance(word, bytes) else str(word) for word in words)


def _published(original: Callable[..., Awaitable[Any]], tracer: Tracer) -> Callable[..., Awaitable[Any]]:
    async def publish(publisher: KafkaEventPublisher, events: Sequence[OutgoingEvent]) -> list[BusPosition]:
        topics = ", ".join(sorted({event.topic for event in events}))
        with _span(tracer, f"publish {topics}", SpanKind.PRODUCER) as span:
            span.set_attribute("messaging.system", "kafka")
            span.set_attribute("messaging.batch.message_count", len(events))
            positions: list[BusPosition] = await original(publisher, [carrying(event) for event in events])
            return positions

    return publish


def _enqueued(original: Callable[..., None], _: Tracer) -> Callable[..., None]:
    def enqueue(publisher: KafkaEventPublisher, event: OutgoingEvent) -> None:
        original(publisher, carrying(event))

    return enqueue


def carrying(event: OutgoingEvent) -> OutgoingEvent:
    """The event with the trace context of the span at hand, if there is one and the event has none."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    parent = carrier.get(TRACEPARENT)
    known = event.topic == CONTROL or TRACEPARENT in event.headers or not event.value.startswith(b'{"')
    if parent is None or known:
        return event
    headers = {**event.headers, TRACEPARENT: parent.encode()}
    if b'"traceparent":' in event.value[:1024]:
        return replace(event, headers=headers)
    value = b'{"traceparent":"' + parent.encode() + b'",' + event.value[1:]
    return replace(event, value=value, headers=headers)


def _applied(original: Callable[..., Awaitable[Any]], tracer: Tracer) -> Callable[..., Awaitable[Any]]:
    async def apply(builder: StateBuilder, batch: PreparedBatch) -> Mapping[tuple[str, int], int]:
        records = batch.events.deliveries
        with _span(tracer, "apply batch", SpanKind.CONSUMER, links=_links(records)) as span:
            span.set_attribute("messaging.system", "kafka")
            span.set_attribute("messaging.batch.message_count", len(records))
            positions: Mapping[tuple[str, int], int] = await original(builder, batch)
            return positions

    return apply


def _links(records: Sequence[Delivery]) -> list[Link]:
    """To the spans that the first records came from."""
    found: list[Link] = []
    for record in records:
        for name, value in record.headers:
            if name == TRACEPARENT and len(found) < MOST_LINKS:
                context = trace.get_current_span(
                    _W3C.extract({TRACEPARENT: value.decode("latin-1")})
                ).get_span_context()
                if context.is_valid:
                    found.append(Link(context))
    return found
