"""The metrics page of roles that serve nothing else: `GET /metrics`, and `GET /livez` while the loop turns."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

_HEAD_BYTES = 8_192
_READ_SECONDS = 5.0

Exposition = Callable[[], tuple[bytes, str]]
"""The page's bytes and their content type."""


@asynccontextmanager
async def metrics_page(host: str, port: int, exposition: Exposition) -> AsyncIterator[int]:
    """Serves the page while the context lasts and answers the port it is on; port 0 serves none. Raises OSError when
    the port is taken."""
    if port == 0:
        yield 0
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, exposition))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port, limit=_HEAD_BYTES)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def _response(head: bytes, exposition: Exposition) -> bytes:
    path = head.split(b" ", 2)[1] if head.startswith(b"GET ") else b""
    match path.split(b"?")[0]:
        case b"/metrics":
            body, content_type = exposition()
            status = "200 OK"
        case b"/livez":
            body, content_type, status = b"ok\n", "text/plain", "200 OK"
        case _:
            body, content_type, status = b"GET /metrics or /livez\n", "text/plain", "404 Not Found"
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Connection: close")
    return "\r\n".join((*lines, "", "")).encode() + body
