"""Access tokens: what is taken, and a table of what is not."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.api.authentication import ApiScope, Client
from services.api.customer_scope import CustomerScope
from services.api.errors import ApiError
from services.api.json_web_tokens import JsonWebTokens, TokenTerms
from services.api.rate_limits import RateLimit
from services.api.signing_keys import LOOK_UP_SECONDS, SigningKeys, usable_keys

QUESTION = {"customer_id": "retail:1", "channel": "mobile", "placements": [{"id": "home_banner"}]}
STRANGER = ec.generate_private_key(ec.SECP256R1())


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def identify(tokens: JsonWebTokens, token: str, certificate: str | None = None) -> Client:
    return tokens.identify([(b"authorization", f"Bearer {token}".encode())], certificate)


def unsigned(issuer: Any, algorithm: str = "none") -> str:
    return f"{part({'alg': algorithm, 'kid': 'e1', 'typ': 'JWT'})}.{part(issuer.claims())}."


def with_secret_of_the_public_key(issuer: Any) -> str:
    """HS256 keyed with what everybody knows: the public key, as PEM."""
    import hmac

    public = issuer.keys["r1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'kid': 'r1', 'typ': 'JWT'})}.{part(issuer.claims())}"
    mac = hmac.digest(public, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def tampered(issuer: Any, **changed: Any) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{part(issuer.claims(**changed))}.{signature}"


def embedded_key(issuer: Any) -> str:
    """Brings its own key along."""
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(STRANGER.public_key()))
    headers = {"kid": "e1", "jwk": public}
    return jwt.encode(issuer.claims(), STRANGER, algorithm="ES256", headers=headers)


BAD: dict[str, Callable[[Any], str]] = {
    "empty": lambda i: "",
    "no token": lambda i: "hello",
    "two parts": lambda i: ".".join(i.token().split(".")[:2]),
    "four parts": lambda i: i.token() + ".x",
    "five parts, as if encrypted": lambda i: i.token() + ".x.y",
    "parts of nothing": lambda i: "..",
    "no base64": lambda i: "!!.??.!!",
    "a header that is no JSON": lambda i: "e30x." + i.token().split(".", 1)[1],
    "a header that is a list": lambda i: f"{part([1])}." + i.token().split(".", 1)[1],
    "algorithm none": unsigned,
    "algorithm None": lambda i: unsigned(i, "None"),
    "algorithm NONE": lambda i: unsigned(i, "NONE"),
    "no algorithm": lambda i: f"{part({'kid': 'e1'})}.{part(i.claims())}.AAAA",
    "a secret instead of a key": lambda i: jwt.encode(
        i.claims(), "s" * 64, algorithm="HS256", headers={"kid": "e1", "typ": "JWT"}
    ),
    "the public key as the secret": with_secret_of_the_public_key,
    "RS384, which is not taken": lambda i: i.token("r1", "RS384"),
    "RS512, which is not taken": lambda i: i.token("r1", "RS512"),
    "an elliptic algorithm with an RSA key": lambda i: jwt.encode(
        i.claims(), STRANGER, algorithm="ES256", headers={"kid": "r1"}
    ),
    "an Edwards key": lambda i: jwt.encode(
        i.claims(), ed25519.Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": "e1"}
    ),
    "signed by a stranger": lambda i: jwt.encode(i.claims(), STRANGER, algorithm="ES256", headers={"kid": "e1"}),
    "a key of its own in the header": embedded_key,
    "an address of keys in the header": lambda i: jwt.encode(
        i.claims(), STRANGER, algorithm="ES256", headers={"kid": "e9", "jku": "https://evil.example/jwks"}
    ),
    "signature cut off": lambda i: i.token().rsplit(".", 1)[0] + ".",
    "signature of zeros": lambda i: i.token().rsplit(".", 1)[0] + "." + "A" * 86,
    "signature changed": lambda i: i.token()[:-6] + ("AAAAAA" if i.token()[-6:] != "AAAAAA" else "BBBBBB"),
    "scope widened": lambda i: tampered(i, scope="decide approve stop"),
    "channels widened": lambda i: tampered(i, kairos_channels="*"),
    "no key id": lambda i: jwt.encode(i.claims(), i.keys["e1"], algorithm="ES256"),
    "a key id that is a number": lambda i: f"{part({'alg': 'ES256', 'kid': 1})}.{part(i.claims())}.AAAA",
    "a key id that climbs": lambda i: i.token(headers={"kid": "../../../../dev/null"}),
    "a key id that injects": lambda i: i.token(headers={"kid": "e1' OR '1'='1"}),
    "the key id of another key": lambda i: i.token("e1", headers={"kid": "r1"}),
    "a critical extension": lambda i: i.token(headers={"crit": ["exp"], "exp": 1}),
    "a detached payload": lambda i: i.token(headers={"b64": False, "crit": ["b64"]}),
    "a proof of possession": lambda i: i.token(headers={"typ": "dpop+jwt"}),
    "a logout token": lambda i: i.token(headers={"typ": "logout+jwt"}),
    "expired": lambda i: i.token(exp=int(i.now) - 31),
    "expired long ago": lambda i: i.token(exp=1),
    "without an end": lambda i: i.token(exp=None),
    "an end that is a text": lambda i: f"{part({'alg': 'ES256', 'kid': 'e1'})}.{part(i.claims(exp='never'))}.AAAA",
    "an end that is true": lambda i: i.token(exp=True),
    "an end beyond numbers": lambda i: i.token(exp=10**400),
    "not yet valid": lambda i: i.token(nbf=int(i.now) + 31),
    "issued in the future": lambda i: i.token(iat=int(i.now) + 3_600),
    "another issuer": lambda i: i.token(iss="https://issuer.evil.example"),
    "an issuer with a slash more": lambda i: i.token(iss="https://issuer.bank.example/"),
    "no issuer": lambda i: i.token(iss=None),
    "another audience": lambda i: i.token(aud="payments"),
    "other audiences": lambda i: i.token(aud=["payments", "kairos-admin"]),
    "no audience": lambda i: i.token(aud=None),
    "no client": lambda i: i.token(client_id=None),
    "an empty client": lambda i: i.token(client_id=""),
    "a client with a line break": lambda i: i.token(client_id="app\nroot"),
    "the name of triggers": lambda i: i.token(client_id="trigger"),
    "a scope that is a number": lambda i: i.token(scope=7),
    "channels that are a number": lambda i: i.token(kairos_channels=7),
    "customers of nothing": lambda i: i.token(kairos_customers=[]),
    "customers of everything": lambda i: i.token(kairos_customers=[""]),
    "a limit of nothing": lambda i: i.token(kairos_limit={"per_second": 0}),
    "bound to a key that is not shown": lambda i: i.token(cnf={"jkt": "x"}),
    "bound to a certificate that is not shown": lambda i: i.token(cnf={"x5t#S256": "A" * 43}),
    "bound to no digest": lambda i: i.token(cnf={"x5t#S256": "abc"}),
    "claims that are a list": lambda i: jwt.api_jws.encode(
        b"[1]", i.keys["e1"], algorithm="ES256", headers={"kid": "e1"}
    ),
    "claims that are no JSON": lambda i: jwt.api_jws.encode(
        b"\xff\xfe", i.keys["e1"], algorithm="ES256", headers={"kid": "e1"}
    ),
    "of a hundred kilobytes": lambda i: i.token(more="x" * 100_000),
    "of a hundred thousand dots": lambda i: "." * 100_000,
    "deeply nested": lambda i: (
        f"{part({'alg': 'ES256', 'kid': 'e1'})}.{base64.urlsafe_b64encode(b'[' * 5_000).decode()}.AAAA"
    ),
}  # fmt: skip


@pytest.fixture
async def guarded(connect: Any, tokens: JsonWebTokens) -> httpx.AsyncClient:
    client: httpx.AsyncClient = await connect(authenticator=tokens)
    return client


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused(tokens: JsonWebTokens, issuer: Any, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        identify(tokens, BAD[name](issuer))
    assert refused.value.kind.status == 401


async def test_every_bad_token_is_401_at_every_door(guarded: httpx.AsyncClient, issuer: Any) -> None:
    for name, made in BAD.items():
        token = made(issuer)
        for method, path in (("POST", "/v1/decisions"), ("POST", "/v1/responses"), ("GET", "/v1/dictionary")):
            answer = await guarded.request(method, path, json=QUESTION, headers=bearer(token))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (name, answer.text)
            assert len(token) < 8 or token not in answer.text


def test_the_table_is_long_enough() -> None:
    assert len(BAD) >= 30


@pytest.mark.parametrize(("key_id", "algorithm"), [("e1", "ES256"), ("r1", "RS256"), ("r1", "PS256")])
async def test_a_good_token_opens_what_it_says(
    guarded: httpx.AsyncClient, issuer: Any, key_id: str, algorithm: str
) -> None:
    headers = bearer(issuer.token(key_id, algorithm))
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=headers)).status_code == 200
    assert (await guarded.get("/v1/dictionary", headers=headers)).status_code == 200
    assert (await guarded.get("/metrics", headers=headers)).status_code == 403
    panel = QUESTION | {"channel": "contact_centre", "placements": [{"id": "agent_panel"}]}
    assert (await guarded.post("/v1/decisions", json=panel, headers=headers)).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "app"}, {"Authorization": "Basic YTpi"}])
async def test_what_is_no_token_is_401(guarded: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=headers)).status_code == 401


async def test_two_tokens_at_once_are_none(guarded: httpx.AsyncClient, issuer: Any) -> None:
    pairs = [("Authorization", f"Bearer {issuer.token()}"), ("Authorization", f"Bearer {issuer.token()}")]
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=pairs)).status_code == 401


async def test_claims_become_a_client(tokens: JsonWebTokens, issuer: Any) -> None:
    token = issuer.token(
        aud=["other", "kairos"],
        scope="openid kairos:serve read unheard_of",
        kairos_channels="branch contact_centre",
        kairos_customers=["corp:", "owner_manager=M012"],
        kairos_limit={"per_second": 5, "at_once": 2},
        kairos_recipient="M012",
        kairos_reason_needed=True,
    )
    assert identify(tokens, token) == Client(
        name="app",
        channels=frozenset({"branch", "contact_centre"}),
        scopes=frozenset({ApiScope.SERVE, ApiScope.READ}),
        recipient="M012",
        customers=CustomerScope(prefixes=("corp:",), attributes=frozenset({("owner_manager", "M012")})),
        limit=RateLimit(per_second=5, at_once=2),
        reason_needed=True,
    )
    assert identify(tokens, issuer.token(kairos_channels="*")).channels is None
    nothing = identify(tokens, issuer.token(kairos_channels=None, scope=None))
    assert (nothing.channels, nothing.scopes) == (frozenset(), frozenset())


async def test_clocks_may_be_apart_by_what_is_allowed_and_no_more(tokens: JsonWebTokens, issuer: Any) -> None:
    token = issuer.token(exp=int(issuer.now) + 10, nbf=int(issuer.now) + 29)
    identify(tokens, token)
    issuer.now += 39
    identify(tokens, token)
    issuer.now += 1
    with pytest.raises(ApiError, match="expired"):  # known from before, and not taken for it
        identify(tokens, token)
    with pytest.raises(ValueError, match="60 s"):
        JsonWebTokens(tokens.keys, TokenTerms(issuer="i", audience="a", skew_s=61))


async def test_the_issuer_may_be_away_for_as_long_as_it_likes(tokens: JsonWebTokens, issuer: Any) -> None:
    seen = issuer.token(exp=int(issuer.now) + 3_600)
    identify(tokens, seen)
    issuer.away = True
    for _ in range(10):
        issuer.now += 60
        await tokens.keys.refresh()
    assert identify(tokens, seen).name == "app"
    assert identify(tokens, issuer.token()).name == "app"  # never seen before
    await tokens.keys.check()


async def test_nobody_is_let_in_before_any_key_is_known(issuer: Any, connect: Any) -> None:
    issuer.away = True
    keys = SigningKeys(issuer.fetch, monotonic_s=issuer.clock)
    await keys.refresh()
    tokens = JsonWebTokens(keys, TokenTerms(issuer="i", audience="a"), now_s=issuer.clock)
    client = await connect(authenticator=tokens, checks={"signing_keys": keys.check})
    answer = await client.post("/v1/decisions", json=QUESTION, headers=bearer(issuer.token()))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await client.get("/readyz")).status_code == 503
    issuer.away = False
    await keys.refresh()
    assert (await client.get("/readyz")).status_code == 200


async def test_a_new_key_is_fetched_once_when_it_is_first_met(guarded: httpx.AsyncClient, issuer: Any) -> None:
    issuer.now += LOOK_UP_SECONDS
    issuer.add("e2")
    headers = bearer(issuer.token("e2"))
    asked = [guarded.post("/v1/decisions", json=QUESTION, headers=headers) for _ in range(20)]
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert issuer.fetches == 2
    for number in range(50):  # keys that there are not cannot be used to have the issuer asked again and again
        made_up = bearer(issuer.token("e2", headers={"kid": f"made-up-{number}"}))
        assert (await guarded.post("/v1/decisions", json=QUESTION, headers=made_up)).status_code == 401
    assert issuer.fetches == 2
    issuer.now += LOOK_UP_SECONDS
    assert (await guarded.post("/v1/decisions", json=QUESTION, headers=made_up)).status_code == 401
    assert issuer.fetches == 3


async def test_a_key_that_is_withdrawn_opens_nothing_any_more(tokens: JsonWebTokens, issuer: Any) -> None:
    token = issuer.token("e1")
    identify(tokens, token)
    issuer.remove("e1")
    await tokens.keys.refresh()
    with pytest.raises(ApiError, match="key that is not known"):
        identify(tokens, token)
    assert identify(tokens, issuer.token("r1", "RS256")).name == "app"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        b'{"keys": []}',
        b'{"keys": 7}',
        b'{"keys": [7]}',
        b" " * 300_000,
        b'{"keys": [{"kid": "e1", "kty": "EC", "key_ops": 0.5}]}',
        b'{"keys": [{"kid": "e1", "kty": "EC", "alg": [1]}]}',
    ],
)
async def test_a_faulty_key_set_leaves_the_last_good_one(tokens: JsonWebTokens, issuer: Any, document: bytes) -> None:
    async def faulty() -> bytes:
        return document

    tokens.keys._fetch = faulty
    await tokens.keys.refresh()
    assert identify(tokens, issuer.token()).name == "app"


def test_keys_that_are_weak_or_for_something_else_are_passed_over(issuer: Any) -> None:
    good = issuer.published["e1"]
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    entries = [
        good,
        good | {"kid": "enc", "use": "enc"},
        good | {"kid": "signing", "key_ops": ["sign"]},
        good | {"kid": "hs", "alg": "HS256"},
        {"kid": "secret", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "broken", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(weak)) | {"kid": "weak"},
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(other_curve)) | {"kid": "p384"},
        {name: value for name, value in good.items() if name != "kid"},
        good | {"kid": ""},
        good | {"kid": ["e3"]},
    ]
    assert list(usable_keys(json.dumps({"keys": entries}).encode())) == ["e1"]


async def test_keys_are_fetched_anew_behind_the_requests(issuer: Any) -> None:
    keys = SigningKeys(issuer.fetch, monotonic_s=issuer.clock)
    async with keys.following(0.001), asyncio.timeout(5):
        while issuer.fetches < 4:
            await asyncio.sleep(0)
    assert keys.known


async def test_a_token_is_verified_once(tokens: JsonWebTokens, issuer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issuer.token()
    first = identify(tokens, token)

    def verified(_: bytes) -> None:
        raise AssertionError("verified again")

    monkeypatch.setattr(tokens, "_verified", verified)
    assert identify(tokens, token) is first


async def test_what_is_remembered_of_tokens_is_bounded(
    tokens: JsonWebTokens, issuer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.json_web_tokens._MOST_KNOWN", 10)
    for number in range(25):
        identify(tokens, issuer.token(jti=str(number)))
        assert len(tokens._known) <= 10
