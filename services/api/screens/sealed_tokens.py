"""Access tokens of people as the store holds them: under a key that only the person's browser has.

Who reads the store finds neither the access token nor the session's; who changes what is stored ends the session.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_PURPOSE = b"kairos session: access token"


def sealed(access_token: str, session_token: str) -> str:
    """The access token under a key of the session's token."""
    nonce = token_bytes(_NONCE_BYTES)
    return urlsafe_b64encode(nonce + AESGCM(_key(session_token)).encrypt(nonce, access_token.encode(), None)).decode()


def unsealed(text: str, session_token: str) -> str | None:
    """The access token; None where the text is not what was sealed for the session."""
    try:
        raw = urlsafe_b64decode(text)
        return AESGCM(_key(session_token)).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None).decode()
    except (InvalidTag, ValueError):
        return None


def _key(session_token: str) -> bytes:
    """The session's token has 256 random bits, so a derivation without salt is enough."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(session_token.encode())
