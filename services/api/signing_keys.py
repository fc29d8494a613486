"""The keys that access tokens are signed with, as the issuer publishes them (JWKS): held here, fetched behind the
requests, and kept when the issuer is away."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from services.ports import Metrics, ShellError
from services.use_cases.running_beside import running_beside

LOOK_UP_SECONDS = 10.0
"""An unknown key id has the keys fetched at once, but no sooner than that after the last time."""
MOST_JWKS_BYTES = 256 * 1024
MOST_KEYS = 100
_LEAST_RSA_BITS = 2048
_ALGORITHMS: Mapping[str, str] = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
"""Every algorithm that is taken, with the type of key it needs. No secret shared by two is among them, nor `none`."""
_log = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[bytes]]
"""The published document. Raises ShellError when it cannot be had."""


class SigningKeysUnknown(ShellError):
    """No keys of tokens could be fetched yet."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and what it may verify."""

    key: RSAPublicKey | EllipticCurvePublicKey
    algorithms: frozenset[str]


class SigningKeys:
    """The newest usable keys by their id."""

    def __init__(
        self, fetch: Fetch, metrics: Metrics | None = None, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._metrics = metrics
        self._monotonic_s = monotonic_s
        self._keys: Mapping[str, SigningKey] = {}
        self._tried_s: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._document: bytes | None = None
        self.generation = 0
        """Rises with each change of the keys: what was verified by others is to be verified again."""

    def find(self, key_id: str) -> SigningKey | None:
        """The key, None where the issuer has none of that id, as far as is known."""
        return self._keys.get(key_id)

    @property
    def known(self) -> bool:
        """Whether any keys could ever be fetched."""
        return bool(self._keys)

    async def check(self) -> None:
        """For readiness. Raises SigningKeysUnknown; keys that were had once are good enough."""
        if not self._keys:
            raise SigningKeysUnknown

    async def look_up(self) -> None:
        """Fetches the keys because one was missing; callers at the same time share it, soon after it does nothing."""
        if self._fetching is not None:
            await asyncio.shield(self._fetching)
        elif self._tried_s is None or self._monotonic_s() - self._tried_s >= LOOK_UP_SECONDS:
            await self.refresh()

    async def refresh(self) -> None:
        """Fetches the keys; what fails is logged, and the keys stay as they are."""
        if self._fetching is None:
            self._tried_s = self._monotonic_s()
            self._fetching = asyncio.create_task(self._refresh(), name="signing-keys")
            self._fetching.add_done_callback(self._forget)
        await asyncio.shield(self._fetching)

    @contextlib.asynccontextmanager
    async def following(self, refresh_s: float) -> AsyncIterator["SigningKeys"]:
        """Fetched now, and again and again until leaving."""
        await self.refresh()
        async with running_beside(self._follow(refresh_s), "following-signing-keys"):
            yield self

    async def _follow(self, refresh_s: float) -> None:
        while True:
            await asyncio.sleep(refresh_s if self._keys else min(refresh_s, LOOK_UP_SECONDS))
            try:
                await self.refresh()
            except Exception:  # noqa: BLE001 - with the keys of before tokens are taken; nobody would be let in without
                _log.exception("the keys of tokens were not fetched", extra={"action": "the last ones are kept"})

    async def _refresh(self) -> None:
        outcome = "failed"
        try:
            document = await self._fetch()
            keys = usable_keys(document)
            if document != self._document:
                self._keys, self._document = keys, document
                self.generation += 1
                _log.info("%d keys of tokens are known", len(keys), extra={"action": "signing_keys"})
            outcome = "fetched"
        except (ShellError, ValueError) as error:
            _log.warning("the keys of tokens were not fetched: %s", error, extra={"action": "the last ones are kept"})
        if self._metrics is not None:
            self._metrics.count("signing_key_fetches_total", outcome=outcome)
            self._metrics.gauge("signing_keys", len(self._keys))

    def _forget(self, _: asyncio.Task[None]) -> None:
        self._fetching = None


def usable_keys(document: bytes) -> dict[str, SigningKey]:
    """The keys of a JWKS that can verify signatures of tokens. Raises ValueError where there are none."""
    if len(document) > MOST_JWKS_BYTES:
        raise ValueError(f"the key set is larger than {MOST_JWKS_BYTES} bytes")
    value = orjson.loads(document)
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the key set has no list of keys")
    found = {entry["kid"]: key for entry in entries[:MOST_KEYS] if (key := _usable(entry)) is not None}
    if not found:
        raise ValueError("the key set has no key that tokens may be signed with")
    return found


def _usable(entry: Any) -> SigningKey | None:
    """The key, None where it is not for signatures, too weak, or of a kind that is not taken."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or not entry["kid"]:
        return None
    uses = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        return None
    algorithms = {
        name for name, kind in _ALGORITHMS.items() if kind == entry.get("kty") and entry.get("alg", name) == name
    }
    if not algorithms:
        return None
    public = {name: part for name, part in entry.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        key = jwt.PyJWK.from_dict(public, algorithm=min(algorithms)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return SigningKey(key, frozenset(algorithms))
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return SigningKey(key, frozenset(algorithms))
    return None
