"""Tokens, keys and clients that are let in no more, before they end by themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.access_wiring import open_authenticator
from services.adapters.prometheus_metrics import PrometheusMetrics
from services.api.authentication import ApiKeys, ApiScope
from services.api.errors import ApiError
from services.api.json_web_tokens import JsonWebTokens, TokenTerms
from services.api.revocations import Revocations, read_revoked
from services.api.screens.sessions import FRESH_SECONDS, Sessions
from services.api.stream_response import EventStreamResponse, StreamLimits
from services.ports import SettingsInvalid
from services.settings import read_settings

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    """Puts another list in the place of the one before, as a mounted secret changes."""
    path = tmp_path / "revoked.json"

    def write(**revoked: list[str]) -> Path:
        fresh = tmp_path / "revoked.json.new"
        fresh.write_text(json.dumps(revoked))
        fresh.rename(path)
        return path

    return write


@pytest.fixture
def revocations(listed: Callable[..., Path]) -> Revocations:
    made = Revocations(listed(), PrometheusMetrics())
    made.start()
    return made


@pytest.fixture
async def revocable(tokens: JsonWebTokens, issuer: Any, revocations: Revocations) -> JsonWebTokens:
    terms = TokenTerms(issuer="https://issuer.bank.example", audience="kairos")
    return JsonWebTokens(tokens.keys, terms, issuer.clock, revocations)


def identify(tokens: JsonWebTokens, token: str) -> str:
    return tokens.identify([(b"authorization", b"Bearer " + token.encode())]).name


@pytest.mark.parametrize("revoked", [{"tokens": ["t1"]}, {"keys": ["e1"]}, {"clients": ["app"]}])
async def test_what_is_revoked_is_refused_though_it_was_taken_before(
    revocable: JsonWebTokens, revocations: Revocations, listed: Callable[..., Path], issuer: Any, revoked: Any
) -> None:
    token = issuer.token(jti="t1")
    other = issuer.token("r1", "RS256", jti="t2", client_id="branch")
    assert (identify(revocable, token), identify(revocable, other)) == ("app", "branch")
    listed(**revoked)
    revocations.refresh()
    with pytest.raises(ApiError, match="revoked") as refused:
        identify(revocable, token)
    assert refused.value.kind.status == 401
    assert "t1" not in str(refused.value)
    assert identify(revocable, other) == "branch"


async def test_a_token_that_names_itself_by_no_text_is_refused(revocable: JsonWebTokens, issuer: Any) -> None:
    with pytest.raises(ApiError, match="jti"):
        identify(revocable, issuer.token(jti=7))
    assert identify(revocable, issuer.token()) == "app"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"token": []}', '{"tokens": "t1"}', '{"clients": [7]}', '{"keys": [""]}', "[" * 100_000],
)
async def test_a_list_that_cannot_be_read_lets_nobody_back_in(
    revocable: JsonWebTokens, revocations: Revocations, listed: Callable[..., Path], issuer: Any, text: str
) -> None:
    token = issuer.token(jti="t1")
    path = listed(tokens=["t1"])
    revocations.refresh()
    for damage in (lambda: path.write_text(text), path.unlink):
        damage()
        revocations.refresh()
        with pytest.raises(ApiError, match="revoked"):
            identify(revocable, token)
    listed()
    revocations.refresh()
    assert identify(revocable, token) == "app"
    with pytest.raises(ValueError):
        read_revoked(text.encode())


@pytest.mark.parametrize("text", [None, "{", '{"tokens": [1]}'])
async def test_nothing_starts_with_a_list_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    path, keys = tmp_path / "revoked.json", tmp_path / "keys.json"
    if text is not None:
        path.write_text(text)
    keys.write_text(json.dumps([{"client": "app", "sha256": "0a" * 32, "channels": None, "scopes": ["decide"]}]))
    settings = read_settings({
        "KAIROS_AUTH": "api_key", "KAIROS_API_KEYS_FILE": str(keys), "KAIROS_REVOKED_FILE": str(path)
    })  # fmt: skip
    with pytest.raises(SettingsInvalid, match="KAIROS_REVOKED_FILE"):
        async with open_authenticator(settings, PrometheusMetrics()):
            pass


def test_a_list_of_the_revoked_where_nobody_is_asked_who_they_are_stops_the_start() -> None:
    with pytest.raises(SettingsInvalid, match="KAIROS_REVOKED_FILE"):
        read_settings({"KAIROS_AUTH": "off", "KAIROS_REVOKED_FILE": "/run/revoked.json"})


async def test_a_client_with_a_key_is_shut_out_while_the_node_runs(
    connect: Callable[..., Any], make_key: Callable[..., Any], revocations: Revocations, listed: Callable[..., Path]
) -> None:
    keys = ApiKeys([make_key("app", ApiScope.DECIDE), make_key("branch", ApiScope.DECIDE)], revocations)
    client: httpx.AsyncClient = await connect(authenticator=keys)

    async def statuses() -> list[int]:
        asked = [client.post("/v1/decisions", json=QUESTION, headers={"X-API-Key": name}) for name in ("app", "branch")]
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert await statuses() == [200, 200]
    listed(clients=["app"])
    revocations.refresh()
    assert await statuses() == [401, 200]
    unknown = await client.post("/v1/decisions", json=QUESTION, headers={"X-API-Key": "nobody's"})
    shut_out = await client.post("/v1/decisions", json=QUESTION, headers={"X-API-Key": "app"})
    assert unknown.content == shut_out.content, "who is shut out learns no more than who never was let in"


async def test_the_file_is_read_again_behind_the_requests(listed: Callable[..., Path]) -> None:
    metrics = PrometheusMetrics()
    async with Revocations(listed(), metrics).following(every_s=0.001) as following, asyncio.timeout(10):
        listed(clients=["app"])
        while not following.client("app"):
            await asyncio.sleep(0)
    assert 'kairos_revocations_read_total{outcome="read"} 1.0' in metrics.exposition()[0].decode()


class KeptSessions:
    """A store of sessions in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        self.kept[digest] = value

    async def load(self, digest: str) -> bytes | None:
        return self.kept.get(digest)

    async def remove(self, digest: str) -> None:
        self.kept.pop(digest, None)


async def test_a_person_who_is_signed_in_is_out_within_seconds(
    make_key: Callable[..., Any], revocations: Revocations, listed: Callable[..., Path]
) -> None:
    from fastapi import Request

    now = [0.0]
    sessions = Sessions(KeptSessions(), ApiKeys([make_key("lin", ApiScope.SERVE)], revocations), lambda: now[0])
    token = await sessions.sign_in("lin")
    headers = [(b"host", b"bank"), (b"cookie", f"__Host-kairos_session={token}".encode())]
    request = Request({"type": "http", "headers": headers, "scheme": "https", "path": "/", "query_string": b""})
    assert (await sessions.client(request)).name == "lin"
    listed(clients=["lin"])
    revocations.refresh()
    now[0] += FRESH_SECONDS + 0.1
    with pytest.raises(ApiError, match="ended"):
        await sessions.client(request)


async def test_a_stream_ends_with_what_its_reader_was_let_in_by() -> None:
    let_in, sent = [True], list[bytes]()
    metrics = PrometheusMetrics()

    async def frames() -> AsyncIterator[bytes]:
        for number in range(100):
            if number == 3:
                let_in[0] = False
            yield b": beat\n\n"

    async def holds() -> bool:
        return let_in[0]

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    given_back: list[bool] = []
    response = EventStreamResponse(frames(), StreamLimits(), metrics, lambda: given_back.append(True), holds)  # type: ignore[arg-type]
    await response({"type": "http"}, receive, send)
    assert sent.count(b": beat\n\n") == 3 and given_back == [True]
    assert 'kairos_stream_cut_off_total{reason="access_ended"} 1.0' in metrics.exposition()[0].decode()
