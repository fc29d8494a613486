"""Access tokens of OAuth 2.0 (RFC 9068): who a token says calls, once its signature and its claims hold.

A token is verified once and known by its SHA-256 until it expires, or until the issuer's keys change.
"""

import base64
import binascii
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
import orjson

from services.api.authentication import ApiScope, Client, Headers
from services.api.customer_scope import CustomerScope
from services.api.errors import UNAUTHENTICATED, UNAVAILABLE, ApiError
from services.api.priorities import Priority
from services.api.rate_limits import RateLimit
from services.api.revocations import Revocations
from services.api.signing_keys import SigningKey, SigningKeys
from services.use_cases.decide_firing import CLIENT

MOST_TOKEN_BYTES = 8 * 1024
MOST_SKEW_SECONDS = 60
_MOST_KNOWN = 20_000
_MOST_NAME = 128
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_SCOPE_PREFIX = "kairos:"
_EVERY_CHANNEL = "*"
_THUMBPRINT = "x5t#S256"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTerms:
    """What a token must say: who issued it, for whom it is; and which claim names the client. Clocks may be `skew_s`
    apart."""

    issuer: str
    audience: str
    client_claim: str = "client_id"
    skew_s: float = 30.0


class TokenRefused(ApiError):
    """A token that is not taken, and why. Nothing of the token is repeated."""

    def __init__(self, why: str) -> None:
        super().__init__(UNAUTHENTICATED, f"The token is not valid: {why}.")


class SigningKeyUnknown(TokenRefused):
    """A token of a key that is not known here; it may be new."""

    def __init__(self) -> None:
        super().__init__("it is signed with a key that is not known")


@dataclass(frozen=True, slots=True)
class _Known:
    """What a token says, how long it holds, the certificate that it is bound to, its own id and that of its key."""

    client: Client
    until_s: float
    certificate: str | None
    token_id: str | None
    key_id: str


class JsonWebTokens:
    """Tokens from the header `Authorization: Bearer`. `now_s` is the wall clock."""

    def __init__(
        self,
        keys: SigningKeys,
        terms: TokenTerms,
        now_s: Callable[[], float] = time.time,
        revocations: Revocations | None = None,
    ) -> None:
        if not 0 <= terms.skew_s <= MOST_SKEW_SECONDS:
            raise ValueError(f"clocks may be 0 to {MOST_SKEW_SECONDS} s apart")
        self.keys = keys
        self._terms = terms
        self._now_s = now_s
        self._revocations = Revocations() if revocations is None else revocations
        self._known: dict[bytes, _Known] = {}
        self._generation = keys.generation
        self._jws = jwt.PyJWS()

    def identify(self, headers: Headers, certificate: str | None = None) -> Client:
        """The client of the token. Raises TokenRefused, ApiError (unavailable) while no keys are known."""
        token = _presented(headers)
        if not self.keys.known:
            raise ApiError(UNAVAILABLE, "The keys of tokens could not be fetched yet.")
        digest = sha256(token).digest()
        if self._generation != self.keys.generation:
            self._known.clear()
            self._generation = self.keys.generation
        known = self._known.get(digest)
        if known is None:
            known = self._verified(token)
            self._remember(digest, known)
        elif known.until_s <= self._now_s():
            del self._known[digest]
            raise TokenRefused("it has expired")
        if known.certificate is not None and known.certificate != certificate:
            raise TokenRefused("it is bound to another certificate")
        # Asked each time: what is revoked may be known by now.
        if self._revocations.token(known.token_id, known.key_id) or self._revocations.client(known.client.name):
            raise TokenRefused("it was revoked")
        return known.client

    def _verified(self, token: bytes) -> _Known:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise TokenRefused("it is no signed token") from error
        key = self._key(header)
        try:
            payload = self._jws.decode(token, key.key, algorithms=sorted(key.algorithms))
            claims = orjson.loads(payload)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise TokenRefused("its signature does not hold") from error
        if not isinstance(claims, dict):
            raise TokenRefused("it has no claims")
        until_s = self._in_time(claims)
        if claims.get("iss") != self._terms.issuer:
            raise TokenRefused("another issuer made it")
        audience = claims.get("aud")
        if self._terms.audience not in (audience if isinstance(audience, list) else [audience]):
            raise TokenRefused("it is meant for another service")
        client, token_id = client_of(claims, self._terms.client_claim), claims.get("jti")
        if not isinstance(token_id, str | None):
            raise TokenRefused("its jti is no text")
        return _Known(client, until_s, _bound_to(claims), token_id, header["kid"])

    def _key(self, header: Mapping[str, Any]) -> SigningKey:
        """The key that the header names. Its algorithm is the key's to say; nothing else of the header is followed."""
        if str(header.get("typ", "jwt")).lower() not in _TYPES or "crit" in header:
            raise TokenRefused("it is another kind of token")
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str):
            raise TokenRefused("it does not say which key signed it")
        key = self.keys.find(key_id)
        if key is None:
            raise SigningKeyUnknown
        if algorithm not in key.algorithms:
            raise TokenRefused("it is signed by another algorithm")
        return key

    def _in_time(self, claims: Mapping[str, Any]) -> float:
        """Until when the token holds, by our clock."""
        now_s, skew_s = self._now_s(), self._terms.skew_s
        until_s = _moment(claims, "exp") + skew_s
        if until_s <= now_s:
            raise TokenRefused("it has expired")
        for claim in ("nbf", "iat"):
            if claim in claims and _moment(claims, claim) > now_s + skew_s:
                raise TokenRefused("it is of the future")
        return until_s

    def _remember(self, digest: bytes, known: _Known) -> None:
        if len(self._known) >= _MOST_KNOWN:
            now_s = self._now_s()
            self._known = {key: value for key, value in self._known.items() if value.until_s > now_s}
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
        self._known[digest] = known


def client_of(claims: Mapping[str, Any], client_claim: str) -> Client:
    """The client that the claims describe. Raises TokenRefused. Channels that are not said are none at all."""
    name = claims.get(client_claim)
    if not isinstance(name, str) or not 1 <= len(name) <= _MOST_NAME or not name.isprintable() or name == CLIENT:
        raise TokenRefused("it does not name a client")
    recipient = claims.get("kairos_recipient")
    reason_needed = claims.get("kairos_reason_needed", False)
    try:
        channels = frozenset(_words(claims.get("kairos_channels", [])))
        scopes = {word.removeprefix(_SCOPE_PREFIX) for word in _words(claims.get("scope", claims.get("scp", [])))}
        customers = claims.get("kairos_customers")
        limit = claims.get("kairos_limit")
        priority = claims.get("kairos_priority")
        if not isinstance(recipient, str | None) or not isinstance(reason_needed, bool):
            raise ValueError("of another type")
        return Client(
            name=name,
            channels=None if _EVERY_CHANNEL in channels else channels,
            scopes=frozenset(scope for scope in ApiScope if scope.value in scopes),
            recipient=recipient,
            customers=None if customers is None else CustomerScope.of(customers),
            limit=None if limit is None else RateLimit.of(limit),
            priority=None if priority is None else Priority.of(priority),
            reason_needed=reason_needed,
        )
    except ValueError as error:
        raise TokenRefused("a claim of it cannot be read") from error


def _presented(headers: Headers) -> bytes:
    found = [value for name, value in headers if name == b"authorization"]
    if len(found) != 1 or found[0][:7].lower() != b"bearer ":
        raise ApiError(UNAUTHENTICATED, "Send an access token as a bearer token.")
    token = found[0][7:].strip()
    if not token or len(token) > MOST_TOKEN_BYTES:
        raise ApiError(UNAUTHENTICATED, f"Send an access token of at most {MOST_TOKEN_BYTES} bytes.")
    return token


def _words(value: object) -> list[str]:
    """Words of a claim: parted by spaces, or a list. Raises ValueError."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return value
    raise ValueError("neither words nor a list of them")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRefused(f"its {name} is not a moment")
    return float(value)


def _bound_to(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the certificate that the token is bound to (RFC 8705); None where it is bound to nothing. What
    is bound to something else cannot be checked here, and is refused."""
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    thumbprint = confirmation.get(_THUMBPRINT) if isinstance(confirmation, dict) else None
    if not isinstance(thumbprint, str) or len(confirmation) != 1:
        raise TokenRefused("it is bound to what cannot be checked")
    try:
        digest = base64.urlsafe_b64decode(thumbprint + "=" * (-len(thumbprint) % 4))
    except (binascii.Error, ValueError) as error:
        raise TokenRefused("it is bound to what cannot be checked") from error
    if len(digest) != 32:
        raise TokenRefused("it is bound to what cannot be checked")
    return thumbprint.rstrip("=")
