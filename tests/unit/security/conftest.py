"""An issuer of access tokens whose clock can be moved, certificates, and the small bank behind them."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.api.app import create_app
from services.api.authentication import ApiKey, ApiScope, Client
from services.api.json_web_tokens import JsonWebTokens, TokenTerms
from services.api.signing_keys import SigningKeys
from services.ports import ShellError

ISSUER, AUDIENCE = "https://issuer.bank.example", "kairos"


class Away(ShellError):
    """The issuer does not answer."""


@dataclass
class Issuer:
    """Signs tokens, publishes keys, and can be away. `now` is everybody's clock, in seconds."""

    now: float = 1_800_000_000.0
    away: bool = False
    fetches: int = 0
    keys: dict[str, Any] = field(default_factory=dict)
    published: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, key_id: str, kind: str = "ec", **more: Any) -> None:
        """Begins to publish a key."""
        key: Any
        if kind == "ec":
            key = ec.generate_private_key(ec.SECP256R1())
            entry = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        self.keys[key_id] = key
        self.published[key_id] = {**entry, "kid": key_id, "use": "sig", **more}

    def remove(self, key_id: str) -> None:
        """Ends to publish it; tokens can still be signed with it."""
        del self.published[key_id]

    async def fetch(self) -> bytes:
        self.fetches += 1
        if self.away:
            raise Away("connection refused")
        return json.dumps({"keys": list(self.published.values())}).encode()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Good ones, with some changed; None takes one out."""
        good = {
            "iss": ISSUER, "aud": AUDIENCE, "client_id": "app", "sub": "app", "iat": int(self.now),
            "exp": int(self.now) + 300, "scope": "decide respond read", "kairos_channels": ["mobile"],
        }  # fmt: skip
        return {name: value for name, value in (good | changed).items() if value is not None}

    def token(self, key_id: str = "e1", algorithm: str = "ES256", headers: Any = None, **changed: Any) -> str:
        said = {"kid": key_id, "typ": "at+jwt", **(headers or {})}
        return jwt.encode(self.claims(**changed), self.keys[key_id], algorithm=algorithm, headers=said)

    def clock(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def issuer_keys() -> Issuer:
    """Keys take long to make: once."""
    made = Issuer()
    made.add("e1")
    made.add("r1", "rsa")
    return made


@pytest.fixture
def issuer(issuer_keys: Issuer) -> Issuer:
    return Issuer(keys=dict(issuer_keys.keys), published=dict(issuer_keys.published))


@pytest.fixture
async def tokens(issuer: Issuer) -> JsonWebTokens:
    keys = SigningKeys(issuer.fetch, monotonic_s=issuer.clock)
    await keys.refresh()
    return JsonWebTokens(keys, TokenTerms(issuer=ISSUER, audience=AUDIENCE), now_s=issuer.clock)


@pytest.fixture
def bank(small_bank: ModuleType) -> Any:
    return small_bank.Bank()


@pytest.fixture
async def connect(bank: Any) -> AsyncIterator[Callable[..., Any]]:
    """Opens a client of the bank's API; keywords override parts of its runtime."""
    async with AsyncExitStack() as stack:

        async def open_client(**overrides: Any) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(create_app(bank.runtime(**overrides)))
            return await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://bank"))

        yield open_client


def api_key(text: str, *scopes: ApiScope, **fields: Any) -> ApiKey:
    """A key of that text, for a client of the same name."""
    client = Client(**({"name": text, "channels": None, "scopes": frozenset(scopes)} | fields))
    return ApiKey(sha256=sha256(text.encode()).digest(), client=client)


@pytest.fixture(scope="session")
def make_key() -> Callable[..., ApiKey]:
    return api_key


@dataclass
class Authority:
    """Signs certificates into a folder."""

    folder: Path
    name: str
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = self._certificate(self.name, self.key.public_key(), authority=True)
        self.file = self.folder / f"{self.name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, days: int = 1) -> tuple[Path, Path]:
        """Certificate and key, in files; with days below 0 one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(name, key.public_key(), authority=False, days=days)
        files = self.folder / f"{self.name}-{name}.pem", self.folder / f"{self.name}-{name}.key"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _certificate(self, name: str, public: Any, *, authority: bool, days: int = 2) -> x509.Certificate:
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if authority:
            usage = x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                decipher_only=False,
            )  # fmt: skip
            built = built.add_extension(usage, critical=True)
        else:
            purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            built = built.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            names = [x509.DNSName("localhost")]
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return built.sign(self.key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[str], Authority]:
    return lambda name: Authority(tmp_path, name)


def encoded(value: object) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
