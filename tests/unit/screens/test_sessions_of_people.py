"""Sessions: what the browser holds, what the store holds, and when they end."""

from hashlib import sha256
from typing import Any

import orjson
import pytest
from fastapi import Request

from services.api.authentication import ApiKey, ApiKeys, ApiScope, Authenticator, Client, OpenAccess
from services.api.errors import ApiError
from services.api.screens.sessions import FRESH_SECONDS, SESSION_SECONDS, Sessions, cookie_name
from services.api.screens.visits import is_fragment, local_path, locale_of, require_same_origin

KEY = "a-personal-key"
MEI = Client(name="Mei Lin", channels=frozenset({"branch"}), scopes=frozenset({ApiScope.SERVE}))


class Held:
    """A store of sessions in memory, with what it was told about their length."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.seconds: set[int] = set()
        self.loads = 0

    async def load(self, digest: str) -> bytes | None:
        self.loads += 1
        return self.values.get(digest)

    async def save(self, digest: str, value: bytes, seconds: int) -> None:
        self.values[digest] = value
        self.seconds.add(seconds)

    async def remove(self, digest: str) -> None:
        self.values.pop(digest, None)


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def request(host: str = "127.0.0.1:8000", **headers: str) -> Request:
    pairs = [(b"host", host.encode())] + [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request(
        {"type": "http", "method": "POST", "scheme": "http", "path": "/", "query_string": b"", "headers": pairs}
    )


def with_token(token: str, host: str = "127.0.0.1:8000") -> Request:
    return request(host, cookie=f"{cookie_name(request(host))}={token}")


def keys() -> ApiKeys:
    return ApiKeys([ApiKey(sha256=sha256(KEY.encode()).digest(), client=MEI)])


def sessions(held: Held, authenticator: Authenticator, watch: Watch | None = None) -> Sessions:
    return Sessions(held, authenticator, watch or Watch())


async def test_a_personal_key_opens_a_session_with_the_keys_rights() -> None:
    held = Held()
    opened = sessions(held, keys())
    token = await opened.sign_in(KEY)
    assert await opened.client(with_token(token)) == MEI
    assert held.seconds == {SESSION_SECONDS}
    assert len(token) >= 43  # 256 bits
    assert token.encode() not in b"".join([*held.values.values(), *(d.encode() for d in held.values)])
    assert KEY.encode() not in b"".join(held.values.values())


async def test_an_unknown_key_opens_nothing() -> None:
    with pytest.raises(ApiError, match="not known"):
        await sessions(Held(), keys()).sign_in("another key")


async def test_where_nobody_is_asked_for_keys_a_name_is_enough() -> None:
    opened = sessions(Held(), OpenAccess())
    client = await opened.client(with_token(await opened.sign_in("李梅")))
    assert (client.name, client.scopes) == ("李梅", frozenset(ApiScope))


@pytest.mark.parametrize("token", ["", "x" * 43, "../../etc"])
async def test_a_made_up_token_is_nobodys(token: str) -> None:
    with pytest.raises(ApiError, match=r"ended|Nobody"):
        await sessions(Held(), OpenAccess()).client(with_token(token))


async def test_a_session_that_expired_in_the_store_has_ended() -> None:
    held, watch = Held(), Watch()
    opened = sessions(held, OpenAccess(), watch)
    token = await opened.sign_in("Mei")
    await opened.client(with_token(token))
    held.values.clear()
    assert (await opened.client(with_token(token))).name == "Mei"  # remembered for moments
    watch.now = FRESH_SECONDS + 0.1
    with pytest.raises(ApiError, match="ended"):
        await opened.client(with_token(token))


async def test_signing_out_ends_it_at_once() -> None:
    held = Held()
    opened = sessions(held, OpenAccess())
    token = await opened.sign_in("Mei")
    await opened.client(with_token(token))
    await opened.sign_out(with_token(token))
    assert held.values == {}
    with pytest.raises(ApiError, match="ended"):
        await opened.client(with_token(token))


async def test_a_key_that_is_taken_away_ends_its_sessions() -> None:
    held = Held()
    token = await sessions(held, keys()).sign_in(KEY)
    with pytest.raises(ApiError, match="ended"):
        await sessions(held, ApiKeys([])).client(with_token(token))


async def test_a_name_does_not_become_a_key_when_keys_are_asked_for() -> None:
    held = Held()
    token = await sessions(held, OpenAccess()).sign_in("Mei")
    assert orjson.loads(next(iter(held.values.values()))) == {"name": "Mei"}
    with pytest.raises(ApiError, match="ended"):
        await sessions(held, keys()).client(with_token(token))


async def test_the_store_is_not_asked_at_every_request() -> None:
    held = Held()
    opened = sessions(held, OpenAccess())
    token = await opened.sign_in("Mei")
    for _ in range(5):
        await opened.client(with_token(token))
    assert held.loads == 1


def test_the_cookie_is_bound_to_tls_except_on_the_machine_itself() -> None:
    assert cookie_name(request("127.0.0.1:8000")) == "kairos_session"
    assert cookie_name(request("localhost")) == "kairos_session"
    assert cookie_name(request("kairos.bank.example")) == "__Host-kairos_session"
    assert cookie_name(request("127.0.0.1.evil.example")) == "__Host-kairos_session"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "same-origin", "origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8000"},
    ],
)
def test_our_own_pages_may_change_things(headers: dict[str, str]) -> None:
    require_same_origin(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:8000"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-origin", "origin": "https://evil.example"},
    ],
)
def test_nobody_elses_pages_may(headers: dict[str, str]) -> None:
    with pytest.raises(ApiError, match="request"):
        require_same_origin(request(**headers))


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/agent/retail:1?channel=branch", "/agent/retail:1?channel=branch"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nb", "/"),
        ("", "/"),
    ],
)
def test_after_signing_in_one_stays_here(wanted: str, path: str) -> None:
    assert local_path(wanted) == path


@pytest.mark.parametrize(
    ("headers", "locale"),
    [
        ({}, "zh-CN"),
        ({"accept_language": "de, en-GB;q=0.8, zh;q=0.5"}, "en"),
        ({"accept_language": "zh-TW,zh;q=0.9"}, "zh-CN"),
        ({"accept_language": "en", "cookie": "kairos_locale=zh-CN"}, "zh-CN"),
        ({"accept_language": "en", "cookie": "kairos_locale=xx"}, "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_browsers(headers: dict[str, Any], locale: str) -> None:
    assert locale_of(request(**headers)) == locale


def test_event_streams_and_parts_are_no_pages() -> None:
    assert not is_fragment(request(accept="text/html,application/xhtml+xml,*/*;q=0.8"))
    assert not is_fragment(request(accept="*/*"))
    assert is_fragment(request(accept="text/event-stream"))
    assert is_fragment(request(accept="text/html", x_kairos_fragment="1"))
