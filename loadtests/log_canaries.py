"""Customers with seeded names, numbers and ids ask for everything, wrongly too, while parts of a small bank fail: none
of them is in a log, a metric or a refusal. `python -m loadtests.log_canaries`

The bank is the suite's, in memory; what fails says in its words whom it failed for, as careless code would.
"""

import argparse
import asyncio
import io
import logging
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.api_fuzz import from_tests
from services.adapters.log_masking import mask_logs
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.api.app import create_app
from services.use_cases.log_pseudonyms import LogPseudonyms

CANARIES = ("13800138000", "zhang-canary", "6222020200112233445", "canary@example.com", "王金丝雀")
CUSTOMERS = ("retail:13800138000", "corp:zhang-canary")
REQUESTS = 20_000
GOOD: dict[str, Any] = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}


@dataclass(frozen=True, slots=True)
class Canaries:
    """How many requests there were, how many of them failed in the service, and the texts in which something seeded
    was found."""

    requests: int
    failed: int
    logged_failures: int
    found: tuple[str, ...]


def seeded_in(text: str) -> list[str]:
    """What of the seeded stands in the text, with some of its surroundings."""
    places = [text.index(each) for each in (*CANARIES, *CUSTOMERS) if each in text]
    return [text[max(0, place - 80) : place + 80] for place in places]


async def run(requests: int, seed: int = 7) -> Canaries:
    """So many requests, a third of them while the store is away, a third while a part fails by mistake."""
    bank = from_tests("api_bank").Bank()
    metrics, rng = PrometheusMetrics(), random.Random(seed)
    states, found, failed = dict(bank.store.states), [], 0
    app = create_app(bank.runtime(metrics=metrics, exposition=metrics.exposition))
    asked = questions(rng)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bank") as client:
        with logged() as written:
            for number in range(requests):
                bank.store.fail = {"read", "record", "save"} if number % 3 == 1 else set()
                bank.bus.gone = number % 6 == 1
                bank.store.states = _Broken() if number % 3 == 2 else states
                method, path, parts = next(asked)
                answer = await client.request(method, path, **parts)
                failed += answer.status_code >= 500
                found += seeded_in(answer.text) if answer.status_code >= 400 else []
    log = written.getvalue()
    found += seeded_in(log) + seeded_in(metrics.exposition()[0].decode())
    return Canaries(requests, failed, log.count("a request failed"), tuple(found))


def main() -> int:
    """The exit status is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    seen = asyncio.run(run(parser.parse_args().requests))
    print(f"{seen.requests} requests, {seen.failed} failed in the service, {seen.logged_failures} logged with a trace")
    print(f"{len(seen.found)} texts with something seeded in it")
    for text in seen.found[:10]:
        print(repr(text))
    return 0 if not seen.found and seen.logged_failures else 1


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Everything that the program logs meanwhile, as it would write it."""
    text = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(text)
    caller = logging.getLogger("httpx")  # it is the caller here, and no part of the service
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s %(action)s", defaults={"action": ""}))
    levels = root.level, caller.level
    formatters = [(other, other.formatter) for other in root.handlers]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    caller.setLevel(logging.WARNING)
    mask_logs(LogPseudonyms("key"))
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        caller.setLevel(levels[1])
        for other, formatter in formatters:
            other.setFormatter(formatter)


def questions(rng: random.Random) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests of every kind with canaries wherever a value may stand."""
    while True:
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
            ("DELETE", f"/v1/customers/{canary}", {}),
        )  # fmt: skip


class _Broken(dict[str, bytes]):
    """A part that fails by mistake, and says for whom."""

    def get(self, key: str, default: Any = None) -> Any:
        raise LookupError(f"no state of {key}, phone {CANARIES[0]}, name {CANARIES[4]}")


if __name__ == "__main__":
    sys.exit(main())
