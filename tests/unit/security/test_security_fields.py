"""Which fields each operation shows to whom: held against a record, operation by operation of the document.

After a change on purpose: KAIROS_UPDATE_GOLDEN=1 pytest, and review the difference.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest

from event_schemas.topics import DECISIONS
from services.adapters.parquet_archive import ArchivedEvent
from services.api.authentication import ApiKeys, ApiScope
from services.threaded_archive import ThreadedArchive
from services.use_cases.erasure.proofs import Erasure, Performed
from services.use_cases.erasure.pseudonyms import Pseudonyms
from services.use_cases.erasure.request_erasure import RequestErasure
from services.use_cases.governance.simulations import Simulations
from services.use_cases.person_export.export_person import ExportPerson

GOLDEN = Path(__file__).parents[2] / "golden" / "fields_by_operation.json"
CONVERSION = Path(__file__).parents[2] / "golden" / "events" / "nbo.conversion.attributed.1.json"
CUSTOMER, PHONE, SPENT = "retail:1", "13811112222", 98_765_432
PROBLEM = ["detail", "status", "title", "type"]
ELSEWHERE = {"/v1/stream", "/v1/decision-log", "/v1/simulations", "/v1/simulations/{simulation_id}"}
"""Operations that need more than this bench has; their answers have tests of their own."""
REFUSED = {"/v1/strategies/{version}/submit", "/v1/strategies/{version}/rollback"}
"""Acts that this bench's strategies are not ready for: the refusal has the fields of a problem."""
MAY_SHOW_FEATURES = {
    ("get", "/v1/customers/{customer_id}"),
    ("get", "/v1/customers/{customer_id}/attributes/{name}"),
    ("get", "/v1/decisions/{decision_id}"),
    ("get", "/v1/customers/{customer_id}/export"),
}
OF_ACTS = {"approve": "bank-a", "decline": "bank-d", "activate": "bank-x", "retire": "bank-r"}
"""Each act has a version of its own that is ready for it; what decides is `strategy-1`."""
BODIES: Mapping[str, Any] = {
    "/v1/decisions": {
        "customer_id": CUSTOMER,
        "channel": "mobile",
        "placements": [{"id": "home_banner"}],
        "timeout_ms": 1000,
    },
    "/v1/kill-switches": {"kind": "offer", "name": "gold_card", "engaged": True, "comment": "a fault"},
    "/v1/strategies": {"files": {"strategy.yaml": "name: bank\nversion: bank-2\n"}},
    "/v1/strategies/{version}/activate": {"comment": "now"},
}


class Records:
    """What the archive would have of the customer."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus

    def read_decision(self, decision_id: str) -> bytes | None:
        return None

    def of_person(self, customer_id: str) -> Sequence[tuple[str, bytes]]:
        return [(DECISIONS, event.value) for event in self.bus.events if event.topic == DECISIONS]

    def read_events(self, topics: Sequence[str], wanted: Any) -> Iterator[ArchivedEvent]:
        yield ArchivedEvent(
            topic=topics[0], partition=0, offset=0, event_id="e", time=None, value=CONVERSION.read_bytes()
        )


class OneErasure:
    """Knows of an erasure that is half done."""

    async def requested(self, person: str, at_ms: int) -> None:
        """Nothing to keep."""

    async def progress(self, person: str) -> Erasure | None:
        found = Erasure(1_795_254_600_123)
        found.take(Performed(place="store", erased_ms=1_795_254_600_123, at_ms=1_795_254_600_200, removed={}, left=0))
        return found


@pytest.fixture
async def everything(
    bank: Any, small_bank: ModuleType, connect: Callable[..., Any], make_key: Callable[..., Any], governance_bench: Any
) -> httpx.AsyncClient:
    """A node with a key for each scope, for all but each, and for all."""
    bank.store.states[CUSTOMER] = small_bank.state(bank.live.features, {"phone": PHONE}, SPENT)
    bench = governance_bench.Bench()
    desk = await bench.desk()
    roles: dict[str, tuple[ApiScope, ...]] = {f"only {scope}": (scope,) for scope in ApiScope}
    roles |= {f"all but {scope}": tuple(s for s in ApiScope if s is not scope) for scope in ApiScope}
    records = ThreadedArchive(Records(bank.bus))
    client: httpx.AsyncClient = await connect(
        authenticator=ApiKeys([make_key(name, *scopes) for name, scopes in roles.items()]),
        governance=desk,
        simulations=Simulations(desk, _Nothing(), bench, bench),
        attribution=records,
        export_person=ExportPerson(live=lambda: bank.live, store=bank.store, archive=records, clock=bank.clock),
        erasures=RequestErasure(
            publisher=bank.bus, progress=OneErasure(), pseudonyms=Pseudonyms(b"k" * 32), clock=bank.clock, ids=bank.ids
        ),
    )
    return client


class _Nothing:
    async def load(self, job_id: str) -> bytes | None:
        return None


def paths_of(value: object, names: Mapping[str, str], at: str = "") -> Iterator[str]:
    """The places of a document; what is named by data (`names`: place to what stands for its keys) is named once."""
    if isinstance(value, dict):
        instead = names.get(at)
        for name, inner in value.items():
            yield from paths_of(inner, names, f"{at}.{instead or name}".lstrip("."))
        if not value:
            yield at
    elif isinstance(value, list):
        for inner in value:
            yield from paths_of(inner, names, f"{at}[]")
        if not value:
            yield f"{at}[]"
    else:
        yield at


BY_DATA = {
    "attributes": "<attribute>", "attributes[].description": "<locale>", "models": "<model>", "files": "<file>",
    "attributes[].title": "<locale>", "archived": "<topic>", "experiments": "<experiment>", "volumes": "<volume>",
    "consents": "<purpose>", "tags": "<kind>", "freshness": "<attribute>", "context": "<name>", "checks": "<check>",
}  # fmt: skip


def fields_of(answer: httpx.Response) -> list[str]:
    """The fields of an answer, sorted; what the archive holds of a person is told by topic, not taken apart."""
    if not answer.headers["content-type"].startswith(("application/json", "application/problem+json")):
        return [answer.headers["content-type"].partition(";")[0]]
    found = set(paths_of(answer.json(), BY_DATA))
    return sorted({path if not path.startswith("archived.") else "archived.<topic>" for path in found})


async def prepared(client: httpx.AsyncClient) -> dict[str, str]:
    """Things to ask about: a strategy that was handed in and approved, a decision that was made."""
    for version in ("bank-1", *OF_ACTS.values()):
        files = {"files": {"strategy.yaml": f"name: bank\nversion: {version}\n"}, "comment": "first"}
        (await client.post("/v1/strategies", json=files, headers={"X-API-Key": "only author"})).raise_for_status()
    for version in (OF_ACTS["activate"], OF_ACTS["retire"]):
        place = f"/v1/strategies/{version}/approve"
        (await client.post(place, json={}, headers={"X-API-Key": "only approve"})).raise_for_status()
    made = await client.post("/v1/decisions", json=BODIES["/v1/decisions"], headers={"X-API-Key": "only decide"})
    decision = made.json()
    return {
        "customer_id": CUSTOMER, "decision_id": decision["decision_id"], "version": "bank-1", "name": "age",
        "erasure_id": "0" * 32, "simulation_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "tracking_id": decision["placements"][0]["options"][0]["tracking_id"],
    }  # fmt: skip


async def asked(client: httpx.AsyncClient, method: str, path: str, parts: dict[str, str], role: str) -> httpx.Response:
    body: Any = BODIES.get(path, {})
    if path == "/v1/responses":
        body = [{"response_id": role.replace(" ", "-"), "tracking_id": parts["tracking_id"], "outcome": "accept"}]
    if path == "/v1/events":
        body = {
            "specversion": "1.0", "id": "e", "source": "branch", "type": "bank.channel.login", "subject": CUSTOMER,
            "time": "2026-11-21T09:00:00Z", "data": {"channel": "mobile"},
        }  # fmt: skip
    query = {"since": "2026-11-01T00:00:00Z", "until": "2026-11-20T00:00:00Z"} if path == "/v1/attribution" else None
    query = {"against": "bank-1"} if path.endswith("/diff") else query
    version = "strategy-1" if path == "/v1/strategies/{version}" else parts["version"]
    parts = parts | {"version": OF_ACTS.get(path.rpartition("/")[2], version)}
    sent = {} if method in ("get", "delete") else {"json": body}
    return await client.request(method, path.format(**parts), params=query, headers={"X-API-Key": role}, **sent)


async def test_each_operation_shows_the_fields_on_record_and_to_nobody_else_any(
    everything: httpx.AsyncClient,
) -> None:
    document = (await everything.get("/openapi.json")).json()
    parts, seen = await prepared(everything), {}
    order = [(path, method) for path, methods in document["paths"].items() for method in methods]
    for path, method in sorted(order, key=lambda each: (each[1] == "delete", "retire" in each[0], each)):
        scope = document["paths"][path][method].get("x-kairos-scope")
        if scope is None:
            continue
        refused = await asked(everything, method, path, parts, f"all but {scope}")
        assert (refused.status_code, fields_of(refused)) == (403, PROBLEM), (method, path)
        answer = await asked(everything, method, path, parts, f"only {scope}")
        if path in ELSEWHERE:
            continue
        assert (answer.status_code < 400) is (path not in REFUSED), (method, path, answer.text)
        seen[f"{method} {path}"] = {"scope": scope, "status": answer.status_code, "fields": fields_of(answer)}
        shows = PHONE in answer.text or str(SPENT) in answer.text
        assert not shows or (method, path) in MAY_SHOW_FEATURES, (method, path)
    written = orjson.dumps(dict(sorted(seen.items())), option=orjson.OPT_INDENT_2) + b"\n"
    if os.environ.get("KAIROS_UPDATE_GOLDEN") == "1":
        GOLDEN.write_bytes(written)
    assert written == GOLDEN.read_bytes()


async def test_features_are_seen_where_they_may_be_so_that_the_test_above_can_find_them(
    everything: httpx.AsyncClient,
) -> None:
    parts = await prepared(everything)
    for method, path in sorted(MAY_SHOW_FEATURES):
        role = "only privacy" if path.endswith("export") else "only read"
        named = parts | {"name": "card_spend_sum_30d"}
        answer = await asked(everything, method, path, named, role)
        assert str(SPENT) in answer.text or PHONE in answer.text, (path, answer.text[:300])


async def test_a_trace_tells_of_candidates_and_of_nothing_that_is_known_of_the_customer(
    everything: httpx.AsyncClient,
) -> None:
    question = BODIES["/v1/decisions"] | {"dry_run": True}
    answer = await everything.post("/v1/decisions", json=question, headers={"X-API-Key": "only decide"})
    described = (await everything.get("/openapi.json")).json()["components"]["schemas"]["CandidateShape"]["properties"]
    assert answer.json()["trace"]
    assert {name for candidate in answer.json()["trace"] for name in candidate} <= set(described)
    assert str(SPENT) not in answer.text and PHONE not in answer.text
