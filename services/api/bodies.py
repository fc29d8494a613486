"""Reading a request's body without trusting it: bounded in bytes, time and depth, and strict JSON."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import numpy as np
import orjson

from services.api.errors import MALFORMED, TOO_LARGE, TOO_SLOW, UNSUPPORTED, ApiError
from services.use_cases.deadlines import within

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
SECONDS_TO_SEND = 8.0
"""A client that takes longer to send its body holds a connection for nothing."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, or one that never ends: so that no byte is looked at from more than one beginning."""
_OPENING = ord("[")
_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


async def read_body(scope: Scope, receive: Receive, most: int = MAX_BYTES) -> bytes:
    """The whole body. Raises ApiError when it is too large, too slow, compressed, or not declared as JSON."""
    refusal = _refusal(scope, most)
    try:
        with within(SECONDS_TO_SEND):
            body = await _collect(receive, most)
    except TimeoutError as error:
        raise ApiError(TOO_SLOW, f"Send it within {SECONDS_TO_SEND:.0f} s.") from error
    if refusal is not None:  # a connection that is closed before it was read to its end may lose the answer
        raise refusal
    return body


def parse_json(body: bytes) -> object:
    """The value of a strict JSON text: no NaN, no duplicate keys, no deep nesting. Raises ApiError."""
    bare = _STRING.sub(b"", body)
    if bare.count(b"[") + bare.count(b"{") > MAX_DEPTH and _is_deep(bare):
        raise ApiError(MALFORMED, f"Nested deeper than {MAX_DEPTH}.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(MALFORMED, f"Not JSON at byte {error.pos}.") from error
    # A parser keeps the last of two equal keys: then there are fewer keys than colons outside of strings.
    if _keys(value) != bare.count(b":"):
        raise ApiError(MALFORMED, "An object has the same key twice.")
    return value


def _refusal(scope: Scope, most: int) -> ApiError | None:
    """Why a body is not of the kind that is read here. Raises ApiError at once where it is too large."""
    refusal = None
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or int(value[:12]) > most:
                raise ApiError(TOO_LARGE, f"At most {most} bytes.")
        elif name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
                refusal = ApiError(UNSUPPORTED, "Send application/json.")
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            refusal = ApiError(UNSUPPORTED, "Send the body without content-encoding.")
    return refusal


async def _collect(receive: Receive, most: int) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if len(body) <= most and not message.get("more_body", False):
        return body
    chunks, size = [body], len(body)
    while size <= most and message.get("more_body", False):
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    if size > most:
        raise ApiError(TOO_LARGE, f"At most {most} bytes.")
    return b"".join(chunks)


def _is_deep(bare: bytes) -> bool:
    """Whether brackets stand in each other more than `MAX_DEPTH` deep; those that are never closed count, too."""
    brackets = np.frombuffer(bare.translate(_AS_BRACKETS, _NO_BRACKETS), np.uint8)
    steps = np.where(brackets == _OPENING, np.int32(1), np.int32(-1))
    return bool(steps.cumsum().max(initial=0) > MAX_DEPTH)


def _keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum([_keys(item) for item in value.values() if isinstance(item, dict | list)])
    if isinstance(value, list):
        return sum([_keys(item) for item in value if isinstance(item, dict | list)])
    return 0
