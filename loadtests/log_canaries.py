"""Customers with seeded names, numbers and ids ask for everything, wrongly too, while parts of a small bank fail: none
of them is in a log, a metric, a trace or a refusal. Then events with the same in every field go over a real bus through
a state builder: none is in the reason of a dead letter, or where the builder logs, counts and traces.
`python -m loadtests.log_canaries`

The bank that is asked is the suite's, in memory; what fails says in its words whom it failed for, as careless code
would.
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from loadtests.api_fuzz import from_tests
from loadtests.bus_canaries import EVENTS, run_over_bus
from loadtests.canaries import CANARIES, CUSTOMERS, logged, seeded_in
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.api.app import create_app
from services.telemetry_spans import traced_app

REQUESTS = 20_000
GOOD: dict[str, Any] = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}


@dataclass(frozen=True, slots=True)
class Canaries:
    """How many requests there were, how many of them failed in the service or were refused, how many spans they left,
    and the texts in which something seeded was found."""

    requests: int
    failed: int
    refused: int
    logged_failures: int
    spans: int
    found: tuple[str, ...]


async def run(requests: int, seed: int = 7) -> Canaries:
    """So many requests, a third of them while the store is away, a third while a part fails by mistake."""
    bank = from_tests("api_bank").Bank()
    metrics, rng = PrometheusMetrics(), random.Random(seed)
    states, found, failed, refused, spans = dict(bank.store.states), [], 0, 0, 0
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = traced_app(
        provider.get_tracer("kairos"), create_app(bank.runtime(metrics=metrics, exposition=metrics.exposition))
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bank") as client:
        asked = questions(rng, (await client.get("/openapi.json")).json())
        with logged() as written:
            for number in range(requests):
                bank.store.fail = {"read", "record", "save"} if number % 3 == 1 else set()
                bank.bus.gone = number % 6 == 1
                bank.store.states = _Broken() if number % 3 == 2 else states
                method, path, parts = next(asked)
                answer = await client.request(method, path, **parts)
                failed += answer.status_code >= 500
                refused += 400 <= answer.status_code < 500
                found += seeded_in(answer.text) if answer.status_code >= 400 else []
                found += seeded_in(repr(answer.headers))
                finished = exporter.get_finished_spans()
                spans += len(finished)
                found += [text for span in finished for text in seeded_in(span.to_json())]
                exporter.clear()
    provider.shutdown()
    log = written.getvalue()
    found += seeded_in(log) + seeded_in(metrics.exposition()[0].decode())
    return Canaries(requests, failed, refused, log.count("a request failed"), spans, tuple(found))


def main() -> int:
    """The exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--events", type=int, default=EVENTS)
    args = parser.parse_args()
    seen = asyncio.run(run(args.requests))
    print(
        f"{seen.requests:,} requests, {seen.refused:,} refused, {seen.failed:,} failed in the service, "
        f"{seen.logged_failures:,} logged with a trace, {seen.spans:,} spans"
    )
    bus = asyncio.run(run_over_bus(args.events))
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in bus.reasons.most_common())
    print(f"{bus.events:,} events over the bus, {bus.dead_letters:,} dead letters ({reasons}), {bus.spans:,} spans")
    found = (*seen.found, *bus.found)
    for text in found[:10]:
        print(repr(text))
    print(f"{len(found)} texts with something seeded in it")
    return 0 if not found and seen.logged_failures and seen.spans and bus.told_everything else 1


def questions(rng: random.Random, document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests of every kind with canaries wherever a value may stand: those that go furthest, and every operation of
    the interface."""
    for turn in count():
        if turn % 4 == 0:
            yield from operations(rng, document)
        canary, customer = rng.choice(CANARIES), rng.choice(CUSTOMERS)
        kind = f"text/{canary.encode('ascii', 'replace').decode()}"
        decision, response = GOOD | {"customer_id": customer}, {"response_id": "r", "tracking_id": "01J.0"}
        event = {"specversion": "1.0", "id": canary, "source": canary, "subject": customer, "data": {canary: canary}}
        yield from (
            ("POST", "/v1/decisions", {"json": decision}),
            ("POST", "/v1/decisions", {"json": GOOD | {"customer_id": canary}}),
            ("POST", "/v1/decisions", {"json": decision | {canary: canary}}),
            ("POST", "/v1/decisions", {"json": decision | {"context": {"page": canary + "\x00"}}}),
            ("POST", "/v1/decisions", {"json": decision | {"context": {"since": canary}}}),
            ("POST", "/v1/decisions", {"json": decision | {"locale": canary}}),
            ("POST", "/v1/decisions", {"content": canary.encode(), "headers": {"content-type": "application/json"}}),
            ("POST", "/v1/decisions", {"content": b"x", "headers": {"content-type": kind}}),
            ("POST", "/v1/responses", {"json": response | {"outcome": canary}}),
            ("POST", "/v1/responses", {"json": response | {"outcome": "accept", "detail": {"said": {canary: 1}}}}),
            ("POST", "/v1/events", {"json": event | {"type": "bank.profile.updated"}}),
            ("POST", "/v1/events", {"json": event | {"type": canary}}),
            ("GET", f"/v1/customers/{canary}", {}),
            ("GET", f"/v1/customers/{customer}", {}),
            ("GET", f"/v1/customers/{customer}/attributes/{canary}", {}),
            ("GET", f"/v1/decisions/{canary}", {}),
            ("GET", "/v1/stream", {"params": {"channel": canary, "customer_id": canary}}),
            ("GET", f"/{canary}", {}),
            ("GET", f"/v1/{canary}/{customer}", {}),
            (f"X{canary.encode('ascii', 'replace').decode().replace('?', 'x').replace('@', 'x')}", "/v1/decisions", {}),
            ("DELETE", f"/v1/customers/{canary}", {}),
        )  # fmt: skip


def operations(rng: random.Random, document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation once, with a canary for every parameter, header and field that it names, and one that it does
    not."""
    for path, by_method in document["paths"].items():
        for method, operation in by_method.items():
            canary, value = rng.choice(CANARIES), rng.choice((*CANARIES, *CUSTOMERS))
            parameters = [p for p in operation.get("parameters", ()) if isinstance(p, dict) and "name" in p]
            filled = path
            for parameter in parameters:
                if parameter["in"] == "path":
                    filled = filled.replace(f"{{{parameter['name']}}}", value)
            query = {p["name"]: value for p in parameters if p["in"] == "query"} | {canary: value}
            ascii_only = value.encode("ascii", "replace").decode()
            headers = {p["name"]: ascii_only for p in parameters if p["in"] == "header"}
            headers |= {"idempotency-key": ascii_only, "last-event-id": ascii_only, "x-request-id": ascii_only}
            parts: dict[str, Any] = {"params": query, "headers": headers}
            if "requestBody" in operation:
                parts["json"] = dict.fromkeys(_fields(operation["requestBody"], document), value) | {canary: value}
            yield method.upper(), filled, parts


def _fields(body: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    """The names of a body's fields."""
    schema = next(iter(body["content"].values())).get("schema", {})
    schema = next(iter(schema.get("oneOf", ())), schema)
    reference = str(schema.get("$ref", "")).rpartition("/")[2]
    named = document["components"]["schemas"].get(reference, schema)
    return list(named.get("properties", ()))


class _Broken(dict[str, bytes]):
    """A part that fails by mistake, and says for whom."""

    def get(self, key: str, default: Any = None) -> Any:
        raise LookupError(f"no state of {key}, phone {CANARIES[0]}, name {CANARIES[4]}")


if __name__ == "__main__":
    sys.exit(main())
