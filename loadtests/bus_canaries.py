"""Events with seeded names, numbers and ids in every field, over a real bus through a state builder: what cannot be
read becomes a dead letter that holds the record for repair, and tells why without repeating anything of it.
"""

import asyncio
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from decision_engine.identifiers import CustomerId
from event_schemas.topics import DEAD_LETTERS, PROFILE_UPDATES, RESPONSES, topic_for
from loadtests.canaries import CANARIES, CUSTOMERS, logged, seeded_in
from services.adapters.embedded_servers import EmbeddedServers
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.adapters.redis_client import RedisClient
from services.adapters.redis_keys import RedisKeys
from services.adapters.redis_namespaces import RedisNamespaces
from services.adapters.redis_state_store import FUNCTION_LIBRARY, RedisStateStore
from services.bootstrap import load_strategy, open_event_stream, open_publisher
from services.commands import topics
from services.commands.state_builder import build_states
from services.ports import Delivery, OutgoingEvent, StateWrite
from services.settings import Settings
from services.simulation.bank import BankConfig, BankStream
from services.telemetry_spans import instrumented
from services.use_cases.outbound_messages import OutboundUnreadable, read_outbound

Partition = tuple[str, int]
"""Topic and partition."""
EVENTS = 3_000
WAIT_SECONDS = 120
REASONS = frozenset({"malformed", "unknown_type", "too_large", "wrong_topic", "key_mismatch", "future", "fold_failed"})
"""Why an event becomes a dead letter; all of them are to be met."""
KEPT = ("key_base64", "headers", "payload_base64")
"""What a dead letter keeps of the record itself, so that it can be repaired."""
UNFOLDABLE = CustomerId("retail:6222020200112233445")
"""Whose stored state is damaged."""
_LAST = "last"
_PORTION = 200


@dataclass(slots=True)
class CanariesOverBus:
    """How many events there were, the dead letters by reason, the spans, and where something seeded was found."""

    events: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def dead_letters(self) -> int:
        """All of them."""
        return self.reasons.total()

    @property
    def told_everything(self) -> bool:
        """Whether every reason was met, and traces were there to look at."""
        return set(self.reasons) >= REASONS and self.spans > 0


async def run_over_bus(events: int, seed: int = 7) -> CanariesOverBus:
    """So many events through servers and a state builder of its own."""
    seen, metrics, stop = CanariesOverBus(), PrometheusMetrics(), asyncio.Event()
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tempfile.TemporaryDirectory(prefix="kairos-canaries-") as folder, logged() as written:
        async with EmbeddedServers.start(Path(folder) / "servers") as servers:
            settings = Settings(
                kafka_bootstrap_servers=servers.bootstrap_servers, kafka_idempotence=False, kafka_partitions=1,
                kafka_session_timeout_ms=2000, redis_url=servers.redis_url, model_path=Path(folder) / "models",
                strategy_archive=Path(folder) / "strategies", archive_path=Path(folder) / "archive",
            )  # fmt: skip
            await topics.create(settings)
            features = load_strategy(settings).features
            await _damage(settings, features.layout)
            with instrumented(provider):
                seen.events, ends = await _publish(settings, events, random.Random(seed))
                building = asyncio.create_task(build_states(settings, features, metrics, stop))
                try:
                    await _until_applied(settings, features.layout, ends, building)
                    for letter in await _dead_letters(settings):
                        _judge(seen, letter)
                finally:
                    stop.set()
                    await building
    provider.shutdown()
    spans = exporter.get_finished_spans()
    seen.spans = len(spans)
    seen.found += [text for span in spans for text in seeded_in(span.to_json())]
    seen.found += seeded_in(written.getvalue()) + seeded_in(metrics.exposition()[0].decode())
    return seen


def bad_events(rng: random.Random) -> Iterator[OutgoingEvent]:
    """Events of every type with a canary in place of, around, or beside each of their fields; then what is no event."""
    while True:
        for base in _good():
            for canary in rng.sample(CANARIES, 2):
                key = rng.choice(CUSTOMERS)
                event = base | {"subject": key}
                for document in _altered(event, canary):
                    yield _event(topic_for(str(base["type"])), key, json.dumps(document).encode())
                yield from _misplaced(event, canary)


def _altered(event: dict[str, Any], canary: str) -> Iterator[dict[str, Any]]:
    for name in event:
        for value in (canary, [canary], {canary: canary}):
            yield event | {name: value}
    for name in event["data"]:
        for value in (canary, [canary], {canary: canary}):
            yield event | {"data": event["data"] | {name: value}}
    yield event | {canary: canary}
    yield event | {"data": event["data"] | {canary: canary}}
    version = f"/{event['type']}/"
    for schema in (version + "0", version + "1", version + "77", version + canary):
        yield event | {"dataschema": schema, "data": dict.fromkeys((*event["data"], "type"), canary)}
    yield event | {"data": {canary * 4_000: canary}}


def _misplaced(event: Mapping[str, Any], canary: str) -> Iterator[OutgoingEvent]:
    """Good events where they do not belong, and bytes that are none."""
    topic, key, text = topic_for(str(event["type"])), str(event["subject"]), json.dumps(event)
    other = PROFILE_UPDATES if topic != PROFILE_UPDATES else RESPONSES
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    yield _event(other, key, text.encode())
    yield _event(topic, canary, text.encode())
    yield _event(topic, key, text.encode() + b" " * 70_000)
    yield _event(topic, key, json.dumps({**event, "time": later}).encode())
    yield _event(topic, UNFOLDABLE, json.dumps({**event, "subject": UNFOLDABLE}).encode())
    for junk in (canary, f'{{"{canary}":', f'["{canary}"]', text[:-3], text.replace('"time"', f'"{canary}"')):
        yield _event(topic, key, junk.encode())
    yield _event(topic, key, canary.encode() + b"\xff\xfe")
    headers = {f"ce_{name}": str(value).encode() for name, value in event.items() if name != "data"}
    for name in ("ce_type", "ce_time", "ce_id", canary):
        yield _event(topic, key, json.dumps({canary: canary}).encode(), headers | {name: canary.encode()})


def _good() -> list[dict[str, Any]]:
    """One event of each type that the simulated bank writes, as of now, and a response."""
    stream = BankStream(BankConfig(seed=1, customers=60, start=date(2026, 3, 2), companies=8))
    now = datetime.now(UTC).isoformat()
    found: dict[str, dict[str, Any]] = {}
    for _ in range(3):
        for timed in stream.next_day().events:
            document = orjson.loads(timed.event.value)
            found.setdefault(document["type"], document | {"time": now})
    response = {
        "specversion": "1.0", "id": "r1", "source": "kairos", "type": "nbo.response.recorded", "subject": "retail:1",
        "time": now, "data": {
            "response_id": "r1", "tracking_id": "01J.0", "decision_id": "01J", "outcome": "accept", "time": now,
            "channel": "mobile", "placement": "home_banner", "offer": "gold", "treatment": "gold.mobile", "group": "g",
            "issue": "i",
        },
    }  # fmt: skip
    return [*found.values(), response]


def _event(topic: str, key: str, value: bytes, headers: Mapping[str, bytes] | None = None) -> OutgoingEvent:
    return OutgoingEvent(topic=topic, key=key, value=value, headers=headers or {})


async def _damage(settings: Settings, layout: str) -> None:
    """A stored state that nobody can fold, once the builder has begun the namespace."""
    async with RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client:
        store = RedisStateStore(client, RedisKeys(settings.namespace, layout))
        await store.begin_namespace()
        await store.save_many([StateWrite(UNFOLDABLE, None, b"\x07junk")])


async def _publish(settings: Settings, number: int, rng: random.Random) -> tuple[int, dict[Partition, int]]:
    """Publishes so many; answers how many, and for each partition the next offset after them."""
    events = [event for _, event in zip(range(number), bad_events(rng), strict=False)]
    ends: dict[Partition, int] = {}
    async with open_publisher(settings) as publisher:
        for start in range(0, len(events), _PORTION):
            for topic, partition, offset in await publisher.publish(events[start : start + _PORTION]):
                ends[topic, partition] = max(ends.get((topic, partition), 0), offset + 1)
    return len(events), ends


async def _until_applied(
    settings: Settings, layout: str, ends: Mapping[Partition, int], building: "asyncio.Task[None]"
) -> None:
    """Returns when the store holds everything before these offsets: by then every dead letter has been written. A
    builder that fails is heard."""
    async with asyncio.timeout(WAIT_SECONDS), RedisClient.open(settings.redis_url, library=FUNCTION_LIBRARY) as client:
        namespaces, reached = RedisNamespaces(client, settings.namespace), False
        while not reached:
            if building.done():
                await building
            await asyncio.sleep(0.05)
            held = await namespaces.held(layout, ends)
            reached = all(held[partition] >= end for partition, end in ends.items())


async def _dead_letters(settings: Settings) -> Sequence[Delivery]:
    """All that stand on their topic, whose end is marked."""
    letters: list[Delivery] = []
    async with open_publisher(settings) as publisher:
        await publisher.publish([_event(DEAD_LETTERS, _LAST, b"{}")])
    async with asyncio.timeout(WAIT_SECONDS), open_event_stream(settings, [DEAD_LETTERS]) as stream:
        while not letters or letters[-1].key != _LAST.encode():
            letters += await stream.poll(500, 0.2)
    return letters[:-1]


def _judge(seen: CanariesOverBus, letter: Delivery) -> None:
    """Whether anything but the record itself repeats what was seeded; also what a deliverer would say of the record."""
    event = orjson.loads(letter.value or b"{}")
    told = {name: value for name, value in event["data"].items() if name not in KEPT}
    seen.reasons[event["data"]["reason"]] += 1
    seen.found += seeded_in(json.dumps(event | {"data": told}, ensure_ascii=False))
    seen.found += [text for name, value in letter.headers for text in seeded_in(f"{name} {value!r}")]
    try:
        read_outbound(letter)
    except OutboundUnreadable as error:
        seen.found += seeded_in(str(error))
