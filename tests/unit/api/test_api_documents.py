"""The interface documents: complete, and changed only on purpose."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest

from services.use_cases.governance.simulations import Simulations

GOVERNANCE_ACTS = ("submit", "approve", "decline", "retire", "activate", "rollback")
GOLDEN = Path(__file__).parents[2] / "golden" / "openapi.json"


@pytest.fixture
async def document(connect: Callable[..., Any], governance_bench: ModuleType) -> dict[str, Any]:
    """Of a node that has everything."""
    bench = governance_bench.Bench()
    desk = await bench.desk()
    client = await connect(governance=desk, simulations=Simulations(desk, bench, bench, bench))
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def test_the_interface_is_the_one_on_record(document: dict[str, Any]) -> None:
    """After a change on purpose: KAIROS_UPDATE_GOLDEN=1 pytest, and review the difference."""
    written = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
    if os.environ.get("KAIROS_UPDATE_GOLDEN") == "1":
        GOLDEN.write_bytes(written)
    assert written == GOLDEN.read_bytes()


def test_every_address_of_the_contract_is_described(document: dict[str, Any]) -> None:
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert operations >= {
        ("post", "/v1/decisions"),
        ("get", "/v1/decisions/{decision_id}"),
        ("post", "/v1/responses"),
        ("post", "/v1/events"),
        ("get", "/v1/customers/{customer_id}"),
        ("get", "/v1/customers/{customer_id}/attributes/{name}"),
        ("get", "/v1/dictionary"),
        ("get", "/v1/strategies"),
        ("get", "/v1/strategies/{version}"),
        ("get", "/v1/strategies/{version}/files"),
        ("get", "/v1/strategies/{version}/diff"),
        ("post", "/v1/strategies"),
        *(("post", f"/v1/strategies/{{version}}/{act}") for act in GOVERNANCE_ACTS),
        ("get", "/v1/kill-switches"),
        ("post", "/v1/kill-switches"),
        ("get", "/v1/audit"),
        ("post", "/v1/simulations"),
        ("get", "/v1/simulations/{simulation_id}"),
        ("delete", "/v1/simulations/{simulation_id}"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def references(value: Any) -> Any:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(document))
    assert found
    assert {reference.rpartition("/")[2] for reference in found} <= set(schemas)


def test_errors_are_problem_documents_in_every_operation(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if (
                    status.startswith(("4", "5")) and path != "/readyz"
                ):  # which says what is not well, and is no problem
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
    assert set(document["paths"]["/v1/decisions"]["post"]["responses"]) >= {"200", "400", "401", "403", "409", "413"}


async def test_an_answer_has_exactly_the_fields_described(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    body = {
        "customer_id": "retail:1",
        "channel": "mobile",
        "placements": [{"id": "home_banner"}, {"id": "card_page_tile", "count": 2}],
        "dry_run": True,
    }
    answer = (await client.post("/v1/decisions", json=body)).json()
    schemas = document["components"]["schemas"]
    assert set(answer) == set(schemas["DecisionShape"]["properties"])
    assert set(answer["placements"][0]["options"][0]) == set(schemas["OptionShape"]["properties"])
    assert set(answer["trace"][0]) <= set(schemas["CandidateShape"]["properties"])


async def test_events_strategy_and_dictionary_are_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"
    (active,) = (await client.get("/v1/strategies")).json()["strategies"]
    assert (active["version"], active["status"], active["offers"]) == ("strategy-1", "active", 3)
    whole = (await client.get("/v1/strategies/strategy-1")).json()
    assert [offer["name"] for offer in whole["offers"]] == ["gold_card", "cash_plan", "no_pension"]
    assert whole["contact_limits"][0]["code"] == "REJECTED_LATELY"
    dictionary = (await client.get("/v1/dictionary")).json()
    assert {a["name"]: a["theme"] for a in dictionary["attributes"]}["card_spend_sum_30d"] == "transaction"
    assert {c["name"] for c in dictionary["context"]} == {"page", "basket", "since"}


async def test_pages_carry_security_headers_and_no_server_name(client: httpx.AsyncClient) -> None:
    for path in ("/", "/livez", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers
