"""A stream on its connection: sent as fast as the reader takes it, cut off when it takes nothing, ended at a stop."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from fastapi.responses import Response

from services.api.authentication import Client
from services.api.bodies import Receive, Scope, Send
from services.api.errors import OVERLOADED, ApiError
from services.api.rate_limits import UNCLASSED
from services.ports import Metrics

ABORT = "kairos.abort"
"""The server's way to end a connection at once, under the request's extensions."""
BODILESS = "kairos.bodiless"
"""In the scope of a request that wants no body: a stream of nothing would never end."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """`per_client` and `in_all` bound the streams of a node. A reader that takes nothing for `send_s` is cut off; every
    `heartbeat_s` it hears that the line is alive."""

    per_client: int = 50
    in_all: int = 1_000
    send_s: float = 10.0
    heartbeat_s: float = 15.0


Holds = Callable[[], Awaitable[bool]]
"""Whether the reader would be let in again now: a stream does not outlive its token, key or session."""


class StreamAdmission:
    """Counts the streams that are open, by client."""

    def __init__(self, limits: StreamLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._open: dict[str, int] = {}

    def admit(self, client: Client) -> Callable[[], None]:
        """Room for one more stream; answers how it is given back. Raises ApiError."""
        own = self._open.get(client.name, 0)
        if own >= self._limits.per_client or sum(self._open.values()) >= self._limits.in_all:
            self._metrics.count("shed_total", reason="streams", priority=UNCLASSED)
            raise ApiError(OVERLOADED, "Too many streams are open; close some, or try again shortly.")
        self._open[client.name] = own + 1
        self._show()

        def give_back() -> None:
            self._open[client.name] -= 1
            if not self._open[client.name]:
                del self._open[client.name]
            self._show()

        return give_back

    def _show(self) -> None:
        self._metrics.gauge("streams_open", sum(self._open.values()))


class EventStreamResponse(Response):
    """Server-sent events from a generator of frames, as long as what the reader was let in by `holds`."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        limits: StreamLimits,
        metrics: Metrics,
        give_back: Callable[[], None],
        holds: Holds,
    ) -> None:
        super().__init__(status_code=200, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._limits = limits
        self._metrics = metrics
        self._give_back = give_back
        self._holds = holds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope.get(BODILESS):
            await self._send_head(send)
            return
        sending = asyncio.create_task(self._send_all(send), name="stream")
        leaving = asyncio.create_task(_until_disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                self._finish(sending, scope)
        finally:
            for task in (sending, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            self._give_back()

    async def _send_head(self, send: Send) -> None:
        try:
            await self._frames.aclose()
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._give_back()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._frames) as frames:
            async for frame in frames:  # heartbeats, too: so it is asked again and again
                if not await self._holds():
                    self._metrics.count("stream_cut_off_total", reason="access_ended")
                    break
                async with asyncio.timeout(self._limits.send_s):
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
        async with asyncio.timeout(self._limits.send_s):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _finish(self, sending: "asyncio.Task[None]", scope: Scope) -> None:
        """A reader that takes nothing is let go of at once, with what the connection still holds for it."""
        failure = sending.exception()
        if failure is None:
            return
        if not isinstance(failure, TimeoutError):
            raise failure
        self._metrics.count("stream_cut_off_total", reason="slow")
        _log.warning("a stream's reader takes nothing and is cut off", extra={"action": "stream"})
        extension = scope.get("extensions", {}).get(ABORT)
        if extension is not None:
            extension["abort"]()


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
