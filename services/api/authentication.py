"""Who is calling, and what they may do."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from services.api.customer_scope import CustomerScope
from services.api.errors import FORBIDDEN, UNAUTHENTICATED, ApiError
from services.api.priorities import Priority
from services.api.rate_limits import RateLimit
from services.api.revocations import Revocations

Headers = Iterable[tuple[bytes, bytes]]
MAX_KEY_BYTES = 256
CERTIFICATE = "kairos.certificate"
"""Under a request's extensions: the thumbprint of the client's certificate, where the connection has one."""


class ApiScope(StrEnum):
    """An act a client may be allowed."""

    DECIDE = "decide"
    RESPOND = "respond"
    PUBLISH = "publish"
    """Send events in the place of a core system."""
    READ = "read"
    """Customers, decisions, strategies and the dictionary."""
    OPERATE = "operate"
    """Metrics."""
    SERVE = "serve"
    """Serve customers in person: the agent's desktop and the manager's inbox."""
    AUTHOR = "author"
    """Draft, simulate and submit strategies."""
    APPROVE = "approve"
    """Approve, decline, activate and roll back strategies of others."""
    STOP = "stop"
    """Throw kill switches."""
    PRIVACY = "privacy"
    """Erase people, and export what is held on them."""
    AUDIT = "audit"
    """The history of acts and its chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A calling system: its name, the channels it speaks for (None: all of them) and what it may do."""

    name: str
    channels: frozenset[str] | None
    scopes: frozenset[ApiScope]
    recipient: str | None = None
    """Under which name leads are addressed to a person; None: their own."""
    customers: CustomerScope | None = None
    """The customers it may see; None: all of them. Whom it may not see does not exist for it."""
    limit: RateLimit | None = None
    """How much of a node it may use; None: what holds for everybody."""
    priority: Priority | None = None
    """The best class its requests may have (`api.priorities`); None: that of their channels."""
    reason_needed: bool = False
    """Whether a person has to say why before they see a customer at the screens."""

    @property
    def addressed_as(self) -> str:
        """The recipient of outbound messages that this client is."""
        return self.recipient or self.name

    def require(self, scope: ApiScope) -> None:
        """Raises ApiError (forbidden) unless the client has the scope."""
        if scope not in self.scopes:
            raise ApiError(FORBIDDEN, f"The client lacks the scope {scope}.")

    def speaks_for(self, channel: str) -> bool:
        """Whether the client may ask and answer in the channel."""
        return self.channels is None or channel in self.channels


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key by its SHA-256; the key itself is kept nowhere."""

    sha256: bytes
    client: Client


class Authenticator(Protocol):
    """Tells the client of a request by its headers. `certificate` is the thumbprint (base64url of the SHA-256) of the
    certificate that the connection was made with. Raises ApiError (unauthenticated)."""

    def identify(self, headers: Headers, certificate: str | None = None) -> Client: ...


class OpenAccess:
    """No authentication: everyone may do everything. For a loopback address only."""

    _EVERYONE = Client(name="local", channels=None, scopes=frozenset(ApiScope))

    def identify(self, headers: Headers, certificate: str | None = None) -> Client:  # noqa: ARG002 - the protocol's
        """The same client every time."""
        return self._EVERYONE


class ApiKeys:
    """Keys from the header `X-API-Key` or `Authorization: Bearer`."""

    def __init__(self, keys: Sequence[ApiKey], revocations: Revocations | None = None) -> None:
        self._keys = tuple(keys)
        self._revocations = revocations

    def identify(self, headers: Headers, certificate: str | None = None) -> Client:  # noqa: ARG002 - a key has none
        """The client of the key."""
        presented = _presented_key(headers)
        if presented is None:
            raise ApiError(UNAUTHENTICATED, "Send a key as X-API-Key or as a bearer token.")
        found = self.holder(sha256(presented).digest())
        if found is None:
            raise ApiError(UNAUTHENTICATED, "The key is not known.")
        return found

    def holder(self, digest: bytes) -> Client | None:
        """The client whose key has this SHA-256, None where there is none or the client was revoked; every known key is
        compared, so that time tells nothing."""
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key.client
        if found is not None and self._revocations is not None and self._revocations.client(found.name):
            return None
        return found


def thumbprint(certificate: bytes) -> str:
    """Of a certificate (DER): base64url of its SHA-256, without padding, as `x5t#S256` of RFC 8705 has it."""
    return urlsafe_b64encode(sha256(certificate).digest()).rstrip(b"=").decode()


def _presented_key(headers: Headers) -> bytes | None:
    for name, value in headers:
        if name == b"x-api-key":
            return value if len(value) <= MAX_KEY_BYTES else None
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip() if len(value) <= MAX_KEY_BYTES else None
    return None
