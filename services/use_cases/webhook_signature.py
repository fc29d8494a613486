"""Signatures of webhooks, as the Standard Webhooks specification has them (version v1, HMAC-SHA256).

What is signed is `<id>.<timestamp>.<body>`; the header lists one signature a secret, so that a receiver that knows the
old secret or the new one can verify while keys are changed.
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from hashlib import sha256

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
TOLERANCE_S = 300
"""How old or new a timestamp may be: beyond it a message is taken for one recorded and sent again."""


class SecretInvalid(ValueError):
    """A secret is not `whsec_` and base64 of 24 to 64 bytes."""


class SignatureInvalid(ValueError):
    """A message was not signed with a known secret, or too long ago."""


def read_secret(text: str) -> bytes:
    """The key of a secret as it is handed out. Raises SecretInvalid, never showing the text."""
    try:
        key = b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except (NotBase64, ValueError) as error:
        raise SecretInvalid from error
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise SecretInvalid
    return key


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers; the newest key first."""
    signatures = " ".join(_signature(key, message_id, timestamp_s, body) for key in keys)
    return {ID_HEADER: message_id, TIMESTAMP_HEADER: str(timestamp_s), SIGNATURE_HEADER: signatures}


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> None:
    """Raises SignatureInvalid unless some key signed this body, lately. For receivers; every key and signature is
    compared in constant time."""
    try:
        message_id, timestamp_s = headers[ID_HEADER], int(headers[TIMESTAMP_HEADER])
        given = [text.encode() for text in headers[SIGNATURE_HEADER].split(" ") if text.startswith("v1,")]
        signed = [_signature(key, message_id, timestamp_s, body).encode() for key in keys]
    except (KeyError, ValueError) as error:
        raise SignatureInvalid("the headers are missing or malformed") from error
    if abs(now_s - timestamp_s) > TOLERANCE_S:
        raise SignatureInvalid("the timestamp is too far from now")
    found = False
    for expected in signed:
        for signature in given:
            found |= hmac.compare_digest(expected, signature)
    if not found:
        raise SignatureInvalid("no signature is by a known secret")


def _signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    digest = hmac.new(key, b"%s.%d.%s" % (message_id.encode(), timestamp_s, body), sha256).digest()
    return f"v1,{b64encode(digest).decode()}"
