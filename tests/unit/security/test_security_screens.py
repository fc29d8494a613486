"""People at the screens: whom they see, why, and what they sign in with."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx
import orjson
import pytest
from fastapi import Request

from services.api.app import create_app
from services.api.authentication import ApiKeys, ApiScope
from services.api.customer_scope import CustomerScope
from services.api.errors import ApiError
from services.api.json_web_tokens import JsonWebTokens
from services.api.screens.inbox import may_see
from services.api.screens.sealed_tokens import sealed, unsealed
from services.api.screens.sessions import FRESH_SECONDS, Sessions, cookie_name
from services.use_cases.leads.lead import Lead

ORIGIN = "http://bank"
HEADERS = {"origin": ORIGIN, "accept": "text/html", "accept-language": "en"}


class Held:
    """Sessions, recent customers and reasons in memory."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.reasons: dict[tuple[str, str], str] = {}

    async def load(self, digest: str) -> bytes | None:
        return self.values.get(digest)

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        self.values[digest] = value

    async def remove(self, digest: str) -> None:
        self.values.pop(digest, None)

    async def opened(self, person: str, customer_id: str, at_ms: int) -> None:
        return

    async def recent(self, person: str) -> list[tuple[str, int]]:
        return []

    async def give_reason(self, person: str, customer_id: str, reason: str, seconds: int) -> None:
        self.reasons[person, customer_id] = reason

    async def reason(self, person: str, customer_id: str) -> str | None:
        return self.reasons.get((person, customer_id))


@asynccontextmanager
async def desk(
    bank: Any, authenticator: Any, secret: str, held: Held | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A signed-in person's browser."""
    held = held or Held()
    app = create_app(bank.runtime(sessions=held, recent=held, reasons=held, authenticator=authenticator))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN, headers=HEADERS) as client:
        signed_in = await client.post("/sign-in", data={"secret": secret})
        client.headers["cookie"] = signed_in.headers.get("set-cookie", "").partition(";")[0]
        yield client


@pytest.fixture
def people(make_key: Callable[..., Any]) -> ApiKeys:
    agent = {"channels": frozenset({"contact_centre"})}
    return ApiKeys(
        [
            make_key("free", ApiScope.SERVE, **agent),
            make_key("asked", ApiScope.SERVE, **agent, reason_needed=True),
            make_key("scoped", ApiScope.SERVE, **agent, customers=CustomerScope.of(["corp:"])),
            make_key("owner", ApiScope.SERVE, **agent, customers=CustomerScope.of(["age=40"])),
        ]
    )


def opened(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    records = [record for record in caplog.records if record.name == "services.access"]
    return [(record.person, record.customer_id, record.reason) for record in records]  # type: ignore[attr-defined]


async def test_who_needs_a_reason_sees_nobody_without_one(
    bank: Any, people: ApiKeys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "services.access")
    async with desk(bank, people, "asked") as client:
        page = await client.get("/agent/retail:1")
        assert page.status_code == 200
        assert "Why do you open this customer?" in page.text
        assert "40" not in page.text.partition("<main")[2]
        answer = {"customer_id": "retail:1", "channel": "contact_centre", "slot": "1", "outcome": "accept"}
        for barred in (
            await client.get("/agent/retail:1/contacts"),
            await client.post("/agent/answers", data=answer | {"tracking_id": "01J.0"}),
        ):
            assert barred.status_code == 403
        assert opened(caplog) == []
        assert not bank.bus.events, "no offer was reserved for a customer who was not opened"
        said = await client.post(
            "/agent/retail:1/reason", data={"reason": "customer_asked", "channel": "contact_centre"}
        )
        assert (said.status_code, said.headers["location"]) == (303, "/agent/retail:1?channel=contact_centre")
        assert "Why do you open" not in (await client.get(said.headers["location"])).text
        assert "Why do you open" in (await client.get("/agent/retail:2")).text, "a reason is for one customer"
        assert (await client.post("/agent/retail:1/reason", data={"reason": "curious"})).status_code == 422
    assert opened(caplog) == [("asked", "retail:1", "customer_asked")]


async def test_every_opening_is_written_down(bank: Any, people: ApiKeys, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "services.access")
    async with desk(bank, people, "free") as client:
        assert (await client.get("/agent/retail:1")).status_code == 200
    assert opened(caplog) == [("free", "retail:1", "none_needed")]


async def test_customers_out_of_scope_are_not_there(
    bank: Any, people: ApiKeys, small_bank: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "services.access")
    bank.store.states["retail:2"] = small_bank.state(bank.live.features, {"age": 55})
    async with desk(bank, people, "scoped") as client:
        foreign, absent = await client.get("/agent/retail:1"), await client.get("/agent/retail:404")
        assert foreign.status_code == absent.status_code == 404
        assert foreign.text.replace("retail:1", "") == absent.text.replace("retail:404", "")
        assert (await client.post("/agent/retail:1/reason", data={"reason": "complaint"})).status_code == 404
        assert (await client.get("/agent/corp:1")).status_code == 200
    async with desk(bank, people, "owner") as client:
        assert (await client.get("/agent/retail:1")).status_code == 200
        assert (await client.get("/agent/retail:2")).status_code == 404
    assert [customer for _, customer, _ in opened(caplog)] == ["corp:1", "retail:1"]


def test_a_lead_is_seen_by_scope_or_because_it_was_put_to_the_person(make_key: Callable[..., Any]) -> None:
    def lead(customer: str, recipient: str | None) -> Lead:
        return Lead(
            id="l", decision_id="d", customer_id=customer, trigger="t", title="t", locale="en", grade=None,
            recipient=recipient, urgent=False, wave=0, at_ms=0, expires_ms=None, event={}, options=(),
        )  # fmt: skip

    manager = make_key("M012", customers=CustomerScope.of(["corp:", "owner_manager=M012"])).client
    seen = [lead("corp:1", None), lead("retail:1", "M012")]
    unseen = [lead("retail:1", None), lead("retail:1", "M013")]
    assert all(may_see(manager, each) for each in seen)
    assert not any(may_see(manager, each) for each in unseen)
    assert all(may_see(make_key("anybody").client, each) for each in seen + unseen)


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def request(token: str) -> Request:
    host = "127.0.0.1:8000"
    bare = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b""}
    name = cookie_name(Request(bare | {"headers": [(b"host", host.encode())]}))
    return Request(bare | {"headers": [(b"host", host.encode()), (b"cookie", f"{name}={token}".encode())]})


async def test_with_access_tokens_a_name_alone_opens_nothing(bank: Any, tokens: JsonWebTokens) -> None:
    sessions = Sessions(Held(), tokens, Watch())
    assert not sessions.by_name
    for secret in ("Mei Lin", "", "a.b.c"):
        with pytest.raises(ApiError, match="token"):
            await sessions.sign_in(secret)
    async with desk(bank, tokens, "Mei Lin") as client:
        assert (await client.get("/agent")).headers["location"].startswith("/sign-in")


async def test_a_session_ends_with_its_access_token(tokens: JsonWebTokens, issuer: Any) -> None:
    held, watch = Held(), Watch()
    sessions = Sessions(held, tokens, watch)
    access_token = issuer.token(client_id="Mei Lin", scope="serve", exp=int(issuer.now) + 60)
    token = await sessions.sign_in(access_token)
    assert (await sessions.client(request(token))).scopes == frozenset({ApiScope.SERVE})
    stored = b"".join(held.values.values())
    assert access_token.encode() not in stored
    assert token.encode() not in stored
    issuer.now += 120
    watch.now = FRESH_SECONDS + 0.1
    with pytest.raises(ApiError, match="ended"):
        await sessions.client(request(token))


async def test_who_writes_into_the_store_opens_no_session(tokens: JsonWebTokens, issuer: Any) -> None:
    held = Held()
    sessions = Sessions(held, tokens, Watch())
    token = await sessions.sign_in(issuer.token(scope="read"))
    (digest,) = held.values
    for forged in (
        {"name": "Mei"},
        {"key": "00" * 32},
        {"sealed": ""},
        {"sealed": "AAAA"},
        {"sealed": sealed(issuer.token(scope="approve"), "another session")},
    ):
        held.values[digest] = orjson.dumps(forged)
        with pytest.raises(ApiError, match="ended"):
            await sessions.client(request(token))


def test_what_is_sealed_opens_with_the_sessions_token_alone() -> None:
    text = sealed("an.access.token", "session")
    assert unsealed(text, "session") == "an.access.token"
    assert unsealed(text, "another") is None
    assert unsealed(text[:-4] + "AAAA", "session") is None
    assert unsealed("不", "session") is None
    assert sealed("an.access.token", "session") != text
