"""Readers at the doors: whole requests through the application, tokens, keys, cursors, secrets, addresses."""

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from loadtests.api_fuzz import from_tests
from loadtests.fuzz_targets import GOLDEN_EVENTS, Target, as_text, waited, written
from services.adapters.redis_address import RedisAddress
from services.adapters.redis_sentinel import SentinelAddress
from services.adapters.webhooks_file import load_webhooks
from services.api.app import create_app
from services.api.authentication import OpenAccess
from services.api.bodies import parse_json
from services.api.errors import ApiError
from services.api.json_web_tokens import JsonWebTokens, TokenTerms
from services.api.keys_file import load_api_keys
from services.api.screens.visits import local_path
from services.api.signing_keys import SigningKeys, usable_keys
from services.api.stream_cursor import CursorInvalid, read_cursor
from services.ports import SettingsInvalid
from services.settings import read_settings
from services.use_cases.governance.simulations import Simulations
from services.use_cases.webhook_signature import SecretInvalid, SignatureInvalid, read_secret, signed_headers, verify

_HEX = "0a" * 32
_DECISION = {
    "request_id": "q1", "customer_id": "retail:1", "channel": "mobile", "locale": "zh-CN", "timeout_ms": 50,
    "placements": [{"id": "home_banner", "count": 1}, {"id": "card_page_tile", "count": 2}],
    "context": {"page": "cards", "since": "2026-11-21T09:30:00Z"}, "allow_duplicates": False, "dry_run": False,
}  # fmt: skip
_RESPONSE = {
    "response_id": "r1", "tracking_id": "01J00000000000000000000001.0", "outcome": "accept", "channel": "mobile",
    "time": "2026-11-21T09:30:00.123Z", "detail": {"page": "cards"},
}  # fmt: skip
_STRATEGY = {"files": {"strategy.yaml": "name: bank\nversion: bank-1\n"}, "comment": "first"}
_PATHS = (
    "/v1/customers/retail:1", "/v1/customers/retail:1/attributes/age", "/v1/decisions/01J00000000000000000000001",
    "/v1/stream?channel=manager&customer_id=retail:1", "/v1/strategies/bank-1", "/v1/dictionary?theme=x", "/login",
    "/v1/attribution?since=2026-11-01T00:00:00Z&until=2026-11-21T00:00:00Z&model=last", "/v1/audit?after=3&limit=10",
    "/v1/decision-log?customer_id=retail:1&since=2026-11-01T00:00:00Z", "/agent?customer=retail:1", "/static/a.css",
    "/console/decisions?first=2026-11-01&last=2026-11-02&page=1", "/inbox?view=mine", "/map?day=2026-11-01",
    "/console/results?first=2026-11-01&last=2026-11-09", "/console/history?about=offer:x&since=2026-11-01",
)  # fmt: skip
_HEADERS = (
    "host: bank\naccept: text/html\naccept-language: zh-CN,en;q=0.5\ncookie: kairos_session=a; kairos_locale=en\n"
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nlast-event-id: 0-17.1-4~0-21\n"
    "origin: http://bank\nsec-fetch-site: same-origin\nauthorization: Bearer a.b.c\nx-api-key: k"
)
_SETTINGS = (
    "KAIROS_AUTH=jwt\nKAIROS_JWKS=https://issuer/keys\nKAIROS_JWT_ISSUER=i\nKAIROS_JWT_AUDIENCE=a\nKAIROS_PORT=8000\n"
    "KAIROS_REDIS_URL=redis://localhost:6379/0\nKAIROS_KAFKA_BOOTSTRAP_SERVERS=a:9092,b:9092\nKAIROS_KAFKA_PARTITIONS=3\n"
    "KAIROS_TRACE_SHARE=0.5\nKAIROS_DECISION_TIMEOUT_MS=100\nKAIROS_HOST=127.0.0.1\nKAIROS_LOG_LEVEL=info"
)


def targets() -> list[Target]:
    """Requests first; then what the doors are kept with."""
    return [*_requests(), *_keys(), *_texts()]


def _requests() -> list[Target]:
    node = _Node()
    events = tuple(path.read_bytes() for path in sorted(GOLDEN_EVENTS.glob("bank.*.json")))
    many = orjson.dumps([orjson.loads(event) for event in events])
    responses = (orjson.dumps(_RESPONSE), orjson.dumps([_RESPONSE, _RESPONSE | {"response_id": "r2"}]))
    forms = (b"next=%2Fagent&secret=k", b"customer=retail:1&reason=call&channel=mobile&offer=a&offer=b")
    acts = (orjson.dumps({"comment": "yes", "at": "2026-11-21T09:30:00Z"}), orjson.dumps(_STRATEGY))
    switch = orjson.dumps({"kind": "offer", "name": "gold", "engaged": True, "comment": "fault"})
    simulation = orjson.dumps({"version": "bank-1", "compare_with": "bank-0", "day": "2026-11-01", "draft": {}})

    def posted(path: str, kind: bytes = b"application/json") -> Callable[[bytes], object]:
        return partial(node.post, path, kind)

    form = b"application/x-www-form-urlencoded"
    return [
        Target(name="JSON of a body", samples=(*responses, *events[:4]), decode=parse_json, refuses=(ApiError,)),
        Target(name="POST decisions", samples=(orjson.dumps(_DECISION),), decode=posted("/v1/decisions"), weight=4),
        Target(name="POST responses", samples=responses, decode=posted("/v1/responses"), weight=3),
        Target(name="POST events", samples=(*events, many), decode=posted("/v1/events"), weight=3),
        Target(name="POST strategies", samples=(acts[1],), decode=posted("/v1/strategies"), weight=0.5),
        Target(name="POST an act", samples=acts, decode=posted("/v1/strategies/bank-1/approve"), weight=0.5),
        Target(name="POST kill switches", samples=(switch,), decode=posted("/v1/kill-switches"), weight=0.5),
        Target(name="POST simulations", samples=(simulation,), decode=posted("/v1/simulations"), weight=0.5),
        Target(name="form of the entrance", samples=forms, decode=posted("/login", form), weight=0.5),
        Target(name="form of the desk", samples=forms, decode=posted("/agent/open", form), weight=0.5),
        Target(name="path and query", samples=tuple(p.encode() for p in _PATHS), decode=node.get, weight=2),
        Target(name="headers", samples=(_HEADERS.encode(),), decode=node.ask_with, weight=1.5),
    ]


def _keys() -> list[Target]:
    signer = ec.generate_private_key(ec.SECP256R1())
    published = _published(signer)
    tokens = _Tokens(signer, published)
    entry = {
        "client": "app", "sha256": _HEX, "channels": ["mobile"], "scopes": ["decide", "read"], "recipient": "lin",
        "customers": ["retail:", "owner_manager=M012"], "limit": {"per_second": 50, "burst": 100, "at_once": 8},
        "reason_needed": True,
    }  # fmt: skip
    webhook = {
        "name": "sms", "url": "https://sms.example/k", "channels": ["sms"], "secret_file": "s", "tries": 3,
        "recipients": ["lin"], "timeout_seconds": 1.5,
    }  # fmt: skip
    refused = (SettingsInvalid,)
    return [
        Target(name="access token", samples=tokens.samples(), decode=tokens.show, refuses=(ApiError,), weight=2),
        Target(name="claims of a token", samples=(tokens.claims(),), decode=tokens.claim, refuses=(ApiError,)),
        Target(name="signing keys", samples=(published,), decode=usable_keys, refuses=(ValueError,), weight=2),
        Target(
            name="file of keys", samples=(orjson.dumps([entry, entry | {"sha256": "0b" * 32}]),), refuses=refused,
            decode=lambda value: load_api_keys(written(value, "keys.json")),
        ),
        Target(
            name="file of webhooks", samples=(orjson.dumps([webhook]),), refuses=refused,
            decode=lambda value: load_webhooks(written(value, "webhooks.json")),
        ),
    ]  # fmt: skip


def _texts() -> list[Target]:
    secret = b"whsec_" + b64encode(b"k" * 32)
    key = b"k" * 32
    signed = "\n".join(f"{name}={value}" for name, value in signed_headers([key], "m1", 1_800_000_000, b"{}").items())

    def signature(value: bytes) -> None:
        pairs = [line.partition("=") for line in as_text(value).split("\n")]
        verify([key], {name: text for name, _, text in pairs}, b"{}", 1_800_000_000)

    def settings(value: bytes) -> None:
        pairs = [line.partition("=") for line in as_text(value).replace("\0", "").split("\n")]
        read_settings({name: text for name, _, text in pairs})

    cursors = (b"0-17.1-4", b"0-17.1-4~0-21", b"")
    addresses = (b"redis://u:p@localhost:6379/2?client_name=a", b"unix:///run/valkey.sock?db=1", b"redis://[::1]:1/0")
    return [
        Target(
            name="cursor of the stream", samples=cursors, refuses=(CursorInvalid,),
            decode=lambda value: read_cursor(as_text(value)),
        ),
        Target(
            name="secret of a webhook", samples=(secret,), refuses=(SecretInvalid,), weight=0.5,
            decode=lambda value: read_secret(as_text(value)),
        ),
        Target(name="signature", samples=(signed.encode(),), decode=signature, refuses=(SignatureInvalid,), weight=0.5),
        Target(
            name="address of the store", samples=addresses, refuses=(SettingsInvalid,), weight=0.5,
            decode=lambda value: RedisAddress.parse(as_text(value)),
        ),
        Target(
            name="address by Sentinel", refuses=(SettingsInvalid,), weight=0.5,
            samples=(b"redis+sentinel://u:p@a:26379,b:26379/main/0?sentinel_password=s",),
            decode=lambda value: SentinelAddress.parse(as_text(value)),
        ),
        Target(name="settings", samples=(_SETTINGS.encode(),), decode=settings, refuses=(SettingsInvalid,), weight=0.5),
        Target(
            name="where to go next", samples=(b"/agent?customer=retail:1", b"//evil", b"/\\evil"), weight=0.5,
            decode=lambda value: local_path(as_text(value)),
        ),
    ]  # fmt: skip


class ServerError(AssertionError):
    """A request was answered 500 or above, 503 apart."""


@dataclass(slots=True)
class _Node:
    """The application with its use cases and governance, in memory; begun in the process that asks."""

    _app: Any = None
    _asked: int = 0

    def post(self, path: str, kind: bytes, body: bytes) -> None:
        """A body to a path."""
        self._ask("POST", path, b"", [(b"content-type", kind), (b"sec-fetch-site", b"same-origin")], body)

    def get(self, target: bytes) -> None:
        """A path with its query, as a server would pass it on."""
        path, _, query = target[:16_000].partition(b"?")
        self._ask("GET", "/" + path.decode("utf-8", "replace").lstrip("/"), query, [], b"")

    def ask_with(self, lines: bytes) -> None:
        """Headers, one a line, to a route of each kind."""
        pairs = [line.partition(b":") for line in lines[:16_000].split(b"\n")]
        headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        for path in ("/agent", "/v1/stream", "/v1/customers/retail:1"):
            self._ask("GET", path, b"channel=nowhere", headers, b"")

    def _ask(self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._asked += 1
        if self._app is None or self._asked % 5_000 == 0:  # what piles up in the bank's lists is no leak of the node
            self._app = waited(_application())
        status = waited(_answered(self._app, method, path, query, headers, body))
        if status >= 500 and status != 503:
            raise ServerError(f"{status} {method} {path[:60]!r}")


async def _application() -> Any:
    bench = from_tests("governance_bench").Bench()
    desk = await bench.desk()
    bank = from_tests("api_bank").Bank()
    jobs = Simulations(desk, _NoSimulations(), bench, bench)
    return create_app(bank.runtime(authenticator=OpenAccess(), governance=desk, simulations=jobs))


class _NoSimulations:
    async def load(self, job_id: str) -> bytes | None:
        return None


async def _answered(
    app: Any, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> int:
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(), "scheme":
        "http", "query_string": query, "headers": [(b"host", b"127.0.0.1"), *headers], "root_path": "",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"},
    }  # fmt: skip
    found: list[int] = []
    gone = asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])
            if found[0] == 200 and path == "/v1/stream":
                gone.set()

    await app(scope, receive, send)
    return found[0]


@dataclass(slots=True)
class _Tokens:
    """Tokens as they come, and claims that are signed as they should be."""

    signer: ec.EllipticCurvePrivateKey
    published: bytes
    _reader: JsonWebTokens | None = field(default=None)

    def claims(self) -> bytes:
        """Good ones."""
        return orjson.dumps({
            "iss": "i", "aud": ["a", "b"], "client_id": "app", "exp": 4_000_000_000, "nbf": 1, "iat": 1.5, "jti": "t1",
            "scope": "decide kairos:read", "kairos_channels": ["mobile"], "kairos_customers": ["retail:", "a=b"],
            "kairos_limit": {"per_second": 5, "burst": 9, "at_once": 2}, "kairos_recipient": "lin",
            "kairos_reason_needed": True, "cnf": {"x5t#S256": urlsafe_b64encode(b"c" * 32).decode().rstrip("=")},
        })  # fmt: skip

    def samples(self) -> tuple[bytes, ...]:
        """A good token and one that is none."""
        good = self._signed(self.claims())
        return good, urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=") + b".e30."

    def show(self, token: bytes) -> None:
        """A token in the header."""
        self._tokens().identify([(b"authorization", b"Bearer " + token)], None)

    def claim(self, claims: bytes) -> None:
        """Claims, rightly signed."""
        self.show(self._signed(claims))

    def _signed(self, claims: bytes) -> bytes:
        return (
            jwt.PyJWS().encode(claims, self.signer, algorithm="ES256", headers={"kid": "ec", "typ": "at+jwt"}).encode()
        )

    def _tokens(self) -> JsonWebTokens:
        if self._reader is None:

            async def fetch() -> bytes:
                return self.published

            keys = SigningKeys(fetch)
            waited(keys.refresh())
            self._reader = JsonWebTokens(keys, TokenTerms(issuer="i", audience="a"))
        return self._reader


def _published(signer: ec.EllipticCurvePrivateKey) -> bytes:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = [
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signer.public_key()))
        | {"kid": "ec", "use": "sig", "alg": "ES256"},
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(other.public_key())) | {"kid": "rsa", "key_ops": ["verify"]},
    ]
    return orjson.dumps({"keys": keys})
