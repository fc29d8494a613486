"""What checking an access token costs the hot path. `python -m loadtests.token_cost`"""

import asyncio
import json
import sys
from statistics import median
from time import perf_counter, time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.api.json_web_tokens import JsonWebTokens, TokenTerms
from services.api.signing_keys import SigningKeys

ROUNDS = 5_000
FIRST_MOST_US = 1_000.0
KNOWN_MOST_US = 10.0
_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


async def published() -> bytes:
    """The key set of an issuer with two keys."""
    entries = [
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(_EC.public_key())) | {"kid": "ec"},
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_RSA.public_key())) | {"kid": "rsa"},
    ]
    return json.dumps({"keys": entries}).encode()


def main() -> int:
    """The median of both, by algorithm; the exit status is the verdict."""
    keys = SigningKeys(published)
    asyncio.run(keys.refresh())
    tokens = JsonWebTokens(keys, TokenTerms(issuer="issuer", audience="kairos"))
    holds = True
    for algorithm, key_id, key in (("ES256", "ec", _EC), ("RS256", "rsa", _RSA), ("PS256", "rsa", _RSA)):
        first = _spent(tokens, [_headers(algorithm, key_id, key, number) for number in range(300)])
        known = _spent(tokens, [_headers(algorithm, key_id, key, 0)] * ROUNDS)
        holds &= first <= FIRST_MOST_US and known <= KNOWN_MOST_US
        print(f"{algorithm}: {first:.0f} us a token seen first, {known:.1f} us a token seen before")
    return 0 if holds else 1


def _headers(algorithm: str, key_id: str, key: object, number: int) -> list[tuple[bytes, bytes]]:
    claims = {
        "iss": "issuer", "aud": "kairos", "client_id": "app", "exp": int(time()) + 600, "jti": str(number),
        "scope": "decide respond", "kairos_channels": ["mobile"], "kairos_customers": ["retail:"],
    }  # fmt: skip
    token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": key_id})  # type: ignore[arg-type]
    return [(b"host", b"a"), (b"content-type", b"application/json"), (b"authorization", f"Bearer {token}".encode())]


def _spent(tokens: JsonWebTokens, requests: list[list[tuple[bytes, bytes]]]) -> float:
    """The median, in microseconds."""
    spent = []
    for headers in requests:
        started = perf_counter()
        tokens.identify(headers)
        spent.append(perf_counter() - started)
    return median(spent) * 1e6


if __name__ == "__main__":
    sys.exit(main())
