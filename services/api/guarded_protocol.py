"""The server's HTTP protocol with the bounds it lacks: headers must be small and must arrive soon.

Without them a client that sends half a request holds a connection for ever, and headers may grow without limit. Where
more is asked than can be done, most is refused here, on the bytes of a request (`api.load_gate`).
"""

import asyncio
from time import perf_counter
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.api.authentication import CERTIFICATE, thumbprint
from services.api.bodies import Scope
from services.api.errors import HEADERS_TOO_LARGE, MALFORMED, PROBLEM_JSON, ApiError, problem_of
from services.api.kernel_wait import Connection, lain_s
from services.api.load_gate import ARRIVED, HOT_PATHS, LoadGate
from services.api.stream_response import ABORT

MAX_HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 8.0
"""From the connection's start, or a request's first byte, to the end of its headers."""
LINGER_SECONDS = 0.5
"""How long a stop leaves an idle connection open: a request may have been sent on it that has not been read yet."""
_REASONS = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class _HeadersTooLarge(Exception):
    """Stops the parser."""


class GuardedProtocol(HttpToolsProtocol):
    """`HttpToolsProtocol` that closes slow senders and refuses large headers with 431."""

    _timer: asyncio.TimerHandle | None = None
    _in_headers = True
    """Also true before a connection's first byte."""
    _received = 0
    """Bytes of the request whose headers are being read."""
    _oversized = False
    _certificate: str | None = None
    """Of the client's certificate."""
    _connection: Connection | None = None
    _between = True
    """Whether the parser has seen whole requests only: the next byte begins another."""

    def __init__(self, *args: Any, gate: LoadGate | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gate = gate

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_SECONDS, transport.close)
        self._connection = transport.get_extra_info("socket")
        connection = transport.get_extra_info("ssl_object")
        certificate = None if connection is None else connection.getpeercert(binary_form=True)
        self._certificate = None if certificate is None else thumbprint(certificate)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; a request whose headers go on in the next piece is timed and counted."""
        if self._between and self._gate is not None and self._gate.is_crowded and self._refused(data):
            return
        self._received += len(data)
        super().data_received(data)
        if not self._in_headers:
            return
        if self._received > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._oversized = True
            self.send_400_response("")
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def shutdown(self) -> None:
        """A stop: what is under way is answered, and so is what comes on an idle connection within a moment. To close
        that at once would break a request that its sender had every reason to send."""
        if self._is_idle():
            self.loop.call_later(LINGER_SECONDS, self._close_if_idle)
        else:
            super().shutdown()

    def _close_if_idle(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are whole: the clock stops. Raises to the parser when they are too large."""
        self._in_headers = False
        self._stop_timer()
        received, self._received = self._received, 0
        if received > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._oversized = True
            raise _HeadersTooLarge
        # A reader that takes nothing must be let go of without waiting for it (`api.stream_response`).
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
        if self._certificate is not None:
            self.scope["extensions"][CERTIFICATE] = {"thumbprint": self._certificate}
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Body bytes are bounded elsewhere and do not count here."""
        self._received = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: since it came it is we who keep its caller waiting."""
        self._between = True
        _further(self.cycle)[ARRIVED] = perf_counter() - lain_s(self._connection)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A task is made, and its work counted until it begins."""
        if self._gate is not None and cycle.scope["path"] in HOT_PATHS and cycle.scope["method"] == "POST":
            self._gate.enqueue(_further(cycle))
        super()._start_asgi_task(cycle, app)

    def _refused(self, data: bytes) -> bool:
        """Answers a request that there is no room for, without the parser; False for what has to be looked at."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._gate is None or not is_idle or self.flow.write_paused or self.transport.is_closing():
            return False
        answer = self._gate.refusal(data)
        if answer is None:
            return False
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.transport.write(answer)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        return True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the server's words are not passed on
        """Answers what is no HTTP, or too large, with a problem document, and closes."""
        detail = f"At most {MAX_HEADER_BYTES} bytes of headers." if self._oversized else "This is no HTTP request."
        problem = problem_of(ApiError(HEADERS_TOO_LARGE if self._oversized else MALFORMED, detail))
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % (problem.status, _REASONS[problem.status], PROBLEM_JSON, len(problem.body))
        )  # fmt: skip
        self.transport.write(head + problem.body)
        self.transport.close()

    def _header_bytes(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _further(cycle: RequestResponseCycle) -> Scope:
    """The request's scope, open to keys of our own."""
    return cast("Scope", cycle.scope)
