"""One keep-alive connection of HTTP/1.1 on a raw asyncio protocol: a request, its answer, the next request.

No pipelining: a request behind another on one connection would wait for it, which no real client's does.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, whether it says when to come again, the body, and whether the connection can be used again."""

    status: int
    retry_after: bool
    body: bytes
    kept_alive: bool = True


OnAnswer = Callable[["HttpConnection", HttpAnswer], None]
OnLost = Callable[["HttpConnection"], None]


class HttpConnection(asyncio.Protocol):
    """Calls `on_answer` when an answer is whole and `on_lost` once when the connection is gone."""

    def __init__(self, on_answer: OnAnswer, on_lost: OnLost) -> None:
        self._on_answer, self._on_lost = on_answer, on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._retry_after = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop's."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not of its type

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's."""
        self._transport = None
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """The loop's. What is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def send(self, request: bytes) -> None:
        """Sends a request; nothing else may be under way."""
        if self._transport is not None:
            self._transport.write(request)

    def abort(self) -> None:
        """Ends the connection at once; `on_lost` follows."""
        if self._transport is not None:
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's."""
        if name.lower() == b"retry-after" and value:
            self._retry_after = True

    def on_body(self, body: bytes) -> None:
        """The parser's."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The parser's."""
        answer = HttpAnswer(
            self._parser.get_status_code(),
            self._retry_after,
            b"".join(self._body),
            self._parser.should_keep_alive(),
        )
        self._body, self._retry_after = [], False
        self._on_answer(self, answer)


def request_bytes(method: str, path: str, host: str, headers: str, body: str | None) -> bytes:
    """A request as it goes over the wire. `headers` are whole lines, each with its line end."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}"
    if body is None:
        return f"{head}\r\n".encode()
    content = body.encode()
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
