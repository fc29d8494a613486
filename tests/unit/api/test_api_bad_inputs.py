"""What is not a valid request: refused with a problem document that repeats nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from time import process_time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.bodies import MAX_BYTES, parse_json
from services.api.errors import ApiError

GOOD: dict[str, Any] = {
    "request_id": "q",
    "customer_id": "retail:1",
    "channel": "mobile",
    "placements": [{"id": "home_banner", "count": 1}],
}
CANARY = "canary-13800000000"
JSON = {"content-type": "application/json"}


def text(**overrides: Any) -> str:
    return json.dumps(GOOD | overrides)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The document of an answer that must be a problem of this status and must not repeat what was sent."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert CANARY not in answer.text
    return document


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"customer_id": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"customer_id": "retail:1", "customer_id": "retail:2"}',
        b'{"context": {"a": 1, "a": 2}}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
        b'{"a":' * 60_000,
    ],
)
async def test_what_is_not_strict_json_is_400_or_413(client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/decisions", "/v1/responses", "/v1/events"):
        answer = await client.post(path, content=body, headers=JSON)
        problem(answer, 413 if len(body) > MAX_BYTES else 400)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (text(customer_id=CANARY), "customer_id"),
        (text(customer_id="retail:1\x00"), "customer_id"),
        (text(customer_id="retail:" + "1" * 65), "customer_id"),
        (text(customer_id="retail:{1}"), "customer_id"),
        (text(customer_id=7), "customer_id"),
        (text(request_id="k" * 256), "request_id"),
        (text(request_id=""), "request_id"),
        (text(request_id="a\nb"), "request_id"),
        (text(channel="fax"), "channel"),
        (text(channel="contact_centre"), "placements[0].id"),
        (text(placements=[]), "placements"),
        (text(placements=[{"id": "home_banner", "count": 0}]), "placements[0].count"),
        (text(placements=[{"id": "home_banner", "count": -1}]), "placements[0].count"),
        (text(placements=[{"id": "home_banner", "count": 4}]), "placements[0].count"),
        (text(placements=[{"id": "home_banner", "count": 10**9}]), "placements[0].count"),
        (text(placements=[{"id": "home_banner", "count": True}]), "placements[0].count"),
        (text(placements=[{"id": "home_banner", "count": 1.5}]), "placements[0].count"),
        (text(placements=[{"id": "home_banner", "count": "1"}]), "placements[0].count"),
        (text(placements=[{"id": "nowhere"}]), "placements[0].id"),
        (text(placements=[{"id": "home_banner"}, {"id": "home_banner"}]), "placements[1].id"),
        (text(placements=[{"id": "home_banner"}] * 17), "placements"),
        (text(top=3), "top"),
        (text(placements=[{"id": "home_banner", "top": 3}]), "placements[0].top"),
        (text(timeout_ms=0), "timeout_ms"),
        (text(timeout_ms=1001), "timeout_ms"),
        (text(dry_run=1), "dry_run"),
        (text(locale="../etc"), "locale"),
        (text(context={"unheard_of": 1}), "context.unheard_of"),
        (text(context={"page": 5}), "context.page"),
        (text(context={"page": CANARY + "\x00"}), "context.page"),
        (text(context={"basket": 1.5}), "context.basket"),
        (text(context={"basket": True}), "context.basket"),
        (text(context={"since": CANARY}), "context.since"),
        ("[]", "?"),
        ("7", "?"),
    ],
)
async def test_an_invalid_field_is_named_and_not_repeated(client: httpx.AsyncClient, body: str, path: str) -> None:
    document = problem(await client.post("/v1/decisions", content=body, headers=JSON), 422)
    found = [error["path"] for error in document["errors"]]
    assert path in found or (path == "?" and found == [""])


async def test_a_key_that_may_be_data_is_not_repeated(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/decisions", json=GOOD | {CANARY: CANARY})
    assert [error["path"] for error in problem(answer, 422)["errors"]] == ["?"]


@pytest.mark.parametrize(
    ("response", "path"),
    [
        ({"outcome": "love"}, "outcome"),
        ({"time": "yesterday"}, "time"),
        ({"time": 5}, "time"),
        ({"time": "2026-11-21T09:50:00"}, "time"),
        ({"time": "2026-11-21"}, "time"),
        ({"time": "2026-13-41T09:50:00Z"}, "time"),
        ({"response_id": ""}, "response_id"),
        ({"tracking_id": "a b"}, "tracking_id"),
        ({"detail": {"a": {"b": 1}}}, "detail.a"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_an_invalid_response_is_named_in_a_list_too(
    client: httpx.AsyncClient, response: dict[str, Any], path: str
) -> None:
    good = {"response_id": "r", "tracking_id": "01J.0", "outcome": "click"}
    document = problem(await client.post("/v1/responses", json=good | response), 422)
    assert any(error["path"].startswith(path) for error in document["errors"])
    document = problem(await client.post("/v1/responses", json=[good, good | response]), 422)
    assert any(error["path"].startswith(f"[1].{path}") for error in document["errors"])


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/events"])
async def test_a_list_has_a_bounded_length(client: httpx.AsyncClient, path: str) -> None:
    problem(await client.post(path, json=[]), 422)
    problem(await client.post(path, json=[{}] * 501), 422)


async def test_a_body_without_length_is_counted_as_it_comes(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 8192
            yield b" " * 8192

    problem(await client.post("/v1/decisions", content=endless(), headers=JSON), 413)
    assert sent <= 2 * MAX_BYTES, "the rest was never asked for"


async def test_a_body_in_pieces_is_put_together(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for character in text():
            yield character.encode()

    assert (await client.post("/v1/decisions", content=pieces(), headers=JSON)).status_code == 200


async def test_the_budget_begins_when_the_body_is_there(client: httpx.AsyncClient) -> None:
    body = text(timeout_ms=100).encode()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:10]
        await asyncio.sleep(0.15)
        yield body[10:]

    answer = await client.post("/v1/decisions", content=slowly(), headers=JSON)
    assert (answer.status_code, answer.json()["degraded"]) == (200, False)
    assert answer.json()["took_ms"] < 100


async def test_only_plain_json_is_read(client: httpx.AsyncClient) -> None:
    body = text()
    problem(await client.post("/v1/decisions", content=body, headers={"content-type": "text/plain"}), 415)
    problem(await client.post("/v1/decisions", content=body, headers=JSON | {"content-encoding": "gzip"}), 415)
    plain = await client.post(
        "/v1/decisions", content=body, headers={"content-type": "application/json; charset=utf-8"}
    )
    assert plain.status_code == 200


async def test_every_other_refusal_is_a_problem_document_too(client: httpx.AsyncClient) -> None:
    problem(await client.get("/nowhere"), 404)
    problem(await client.get(f"/v1/decisions/{'0' * 26}"), 404)
    problem(await client.get(f"/v1/customers/{CANARY}"), 422)
    problem(await client.get("/v1/strategies/none"), 404)
    assert problem(await client.get("/v1/decisions"), 405)
    assert (await client.get("/v1/responses")).headers["allow"] == "POST"
    problem(await client.delete("/v1/dictionary"), 405)


async def test_invalid_events_are_named_by_field(client: httpx.AsyncClient) -> None:
    document = problem(await client.post("/v1/events", json={"type": "bank.consent.changed", "id": CANARY}), 422)
    assert document["errors"][0]["path"] == "[0]"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


@given(JSON_VALUES, st.booleans())
@settings(max_examples=150, deadline=None)
def test_strict_json_is_read_as_it_was_written(value: object, escaped: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.dictionaries(TEXTS, JSON_VALUES, min_size=1, max_size=5), st.data())
@settings(max_examples=100, deadline=None)
def test_a_repeated_key_is_found_wherever_it_stands(value: dict[str, object], data: st.DataObject) -> None:
    repeated = data.draw(st.sampled_from(sorted(value)))
    inside = json.dumps(value)[:-1] + f", {json.dumps(repeated)}: 1}}"
    with pytest.raises(ApiError):
        parse_json(f'{{"outer": [{{"a:b": "{{:["}}, {inside}]}}'.encode())


@given(st.integers(1, 200), st.sampled_from(["[", '{"a":']))
@settings(max_examples=60, deadline=None)
def test_depth_is_measured_outside_of_strings(depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    innermost = '"' + "[{" * 100 + '"'
    body = (opening * depth + innermost + closing * depth).encode()
    if depth > 64:
        with pytest.raises(ApiError, match="deeper"):
            parse_json(body)
    else:
        parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 32_000,
        b'"' * 65_000,
        b'"' + b"\\" * 65_000,
        b"[" + b"[]," * 21_000 + b"1]",
        b"[" * 64 + b"1," * 30_000,
        b"{" + b",".join(b'"%d":1' % number for number in range(6_000)) + b"}",
        b"[]" * 32_000,
        b"[" * 32_000 + b"]" * 32_000,
    ],
)
def test_no_body_of_the_allowed_size_blocks_the_loop(body: bytes) -> None:
    """Quadratic scanning of such bodies takes seconds. The best of three: a sweep of the collector is not meant."""
    assert len(body) <= MAX_BYTES
    taken = []
    for _ in range(3):
        started = process_time()
        with suppress(ApiError):
            parse_json(body)
        taken.append(process_time() - started)
    assert min(taken) < 0.1


PIECES = st.sampled_from(
    [
        "retail:1",
        "mobile",
        "home_banner",
        "click",
        "01J.0",
        "2026-11-21T09:00:00Z",
        True,
        False,
        None,
        0,
        1,
        -1,
        3,
        1.5,
        "",
    ]
)
FIELDS = st.sampled_from(
    [
        *GOOD,
        "context",
        "locale",
        "timeout_ms",
        "dry_run",
        "response_id",
        "tracking_id",
        "outcome",
        "time",
        "detail",
        "id",
    ]
)
BODIES = st.recursive(
    PIECES | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | TEXTS, inner, max_size=6),
    max_leaves=12,
)


@given(
    body=BODIES,
    overrides=st.dictionaries(FIELDS, BODIES, max_size=2),
    path=st.sampled_from(["decisions", "responses", "events"]),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_sent_is_answered_and_never_a_failure(
    client: httpx.AsyncClient, body: object, overrides: dict[str, object], path: str
) -> None:
    for sent in (body, GOOD | overrides):
        answer = await client.post(f"/v1/{path}", content=json.dumps(sent).encode(), headers=JSON)
        assert answer.status_code in {200, 202, 400, 409, 422}, answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
