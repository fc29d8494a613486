"""Who sits in front of the screens: sessions of signed-in people.

The browser holds 256 random bits in a cookie that no script can read and no other site can make it send; the store
holds the session under their SHA-256, so that who reads the store cannot sign in with what is found there.
"""

import secrets
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from hashlib import sha256

import orjson
from fastapi import Request

from services.api.authentication import ApiKeys, ApiScope, Authenticator, Client, OpenAccess
from services.api.errors import UNAUTHENTICATED, ApiError
from services.api.screens.sealed_tokens import sealed, unsealed
from services.api.screens.visits import on_loopback
from services.ports import SessionStore

SESSION_SECONDS = 12 * 3_600
FRESH_SECONDS = 3.0
"""How long a session is taken for valid without asking the store again, on each node."""
_MOST_CACHED = 4_096


@dataclass(frozen=True, slots=True)
class _Seen:
    client: Client
    until_s: float


class Sessions:
    """Opens, finds and ends sessions. `monotonic_s` is a clock that only moves forward."""

    def __init__(
        self, store: SessionStore, authenticator: Authenticator, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._monotonic_s = monotonic_s
        self._seen: MutableMapping[str, _Seen] = {}

    @property
    def by_name(self) -> bool:
        """Whether people sign in by saying their name, as they do where nobody is asked for a key."""
        return isinstance(self._authenticator, OpenAccess)

    async def sign_in(self, secret: str) -> str:
        """A new session's token for a personal key or access token, or for a name where nobody is asked for one.

        Raises ApiError (unauthenticated) for an unknown key or a token that does not hold, StoreUnavailable.
        """
        token = secrets.token_urlsafe(32)
        if isinstance(self._authenticator, ApiKeys):
            self._authenticator.identify([(b"x-api-key", secret.encode())])
            held: dict[str, str] = {"key": sha256(secret.encode()).hexdigest()}
        elif isinstance(self._authenticator, OpenAccess):
            held = {"name": secret}
        else:
            self._authenticator.identify(_bearer(secret))
            held = {"sealed": sealed(secret, token)}
        await self._store.save(_digest(token), orjson.dumps(held), SESSION_SECONDS)
        return token

    async def client(self, request: Request) -> Client:
        """The person of the request's session. Raises ApiError (unauthenticated), StoreUnavailable."""
        token = request.cookies.get(cookie_name(request))
        if token is None:
            raise ApiError(UNAUTHENTICATED, "Nobody is signed in.")
        digest, now_s = _digest(token), self._monotonic_s()
        seen = self._seen.get(digest)
        if seen is not None and seen.until_s > now_s:
            return seen.client
        self._seen.pop(digest, None)
        value = await self._store.load(digest)
        client = None if value is None else self._client_of(orjson.loads(value), token)
        if client is None:
            raise ApiError(UNAUTHENTICATED, "The session has ended.")
        if len(self._seen) >= _MOST_CACHED:
            self._seen.clear()
        self._seen[digest] = _Seen(client, now_s + FRESH_SECONDS)
        return client

    async def sign_out(self, request: Request) -> None:
        """Ends the request's session, if it has one. Raises StoreUnavailable."""
        token = request.cookies.get(cookie_name(request))
        if token is not None:
            self._seen.pop(_digest(token), None)
            await self._store.remove(_digest(token))

    def _client_of(self, held: dict[str, str], token: str) -> Client | None:
        """Asked anew each time: who lost the key, or some of its scopes, has lost them here too; and a session ends
        with the access token it was opened with."""
        if isinstance(self._authenticator, ApiKeys):
            return self._authenticator.holder(bytes.fromhex(held.get("key", "")))
        if isinstance(self._authenticator, OpenAccess):
            return Client(name=held["name"], channels=None, scopes=frozenset(ApiScope)) if "name" in held else None
        access_token = unsealed(held.get("sealed", ""), token)
        if access_token is None:
            return None
        try:
            return self._authenticator.identify(_bearer(access_token))
        except ApiError as error:
            if error.kind is UNAUTHENTICATED:
                return None
            raise


def cookie_name(request: Request) -> str:
    """With the prefix that binds a cookie to this host and to TLS, except on the machine itself, which has no TLS."""
    return "kairos_session" if on_loopback(request) else "__Host-kairos_session"


def _bearer(access_token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + access_token.encode())]


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
