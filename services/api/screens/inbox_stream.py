"""One person's inbox, live: leads as the stream of the channel brings them, and between them what others do.

Leads come under the ids of the outbound log, so that a browser that lost its connection goes on exactly behind the last
one. What others do comes without an id: each connection is told anew how everything stands, and then what changes.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import orjson

from services.api.screens.inbox_board import LeadBoard, Standing
from services.api.stream_session import StreamSession

_WAITING_FRAMES = 32
_CANCEL_SECONDS = 0.1
_log = logging.getLogger(__name__)
Rendered = Callable[[Standing], dict[str, object]]
"""What the page needs to know of how a lead stands."""


class InboxStream:
    """Frames of a session, and of the board. `recipient` None: everybody's leads."""

    def __init__(self, session: StreamSession, board: LeadBoard, recipient: str | None, rendered: Rendered) -> None:
        self._session = session
        self._board = board
        self._recipient = recipient
        self._rendered = rendered
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_FRAMES)
        self._told: dict[str, dict[str, object]] | None = None

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Until the session ends."""
        await self._board.ready()
        async with self._board.watched():
            tasks = [asyncio.create_task(self._pass_leads()), asyncio.create_task(self._tell_standing())]
            try:
                while (frame := await self._frames.get()) is not None:
                    yield frame
            finally:
                for task in tasks:
                    await _end(task)

    async def _pass_leads(self) -> None:
        try:
            async with aclosing(self._session.frames()) as frames:
                async for frame in frames:
                    await self._frames.put(frame)
        except Exception:
            await self._frames.put(None)
            raise
        await self._frames.put(None)

    async def _tell_standing(self) -> None:
        while True:
            if (frame := self._standing()) is not None:
                await self._frames.put(frame)
            await self._board.news()

    def _standing(self) -> bytes | None:
        """How the open leads stand: all of them the first time, then those that stand otherwise than before."""
        now = {standing.lead.id: self._rendered(standing) for standing in self._board.open(self._recipient)}
        told = self._told
        self._told = now
        if told is None:
            document = {"whole": True, "leads": now, "gone": {}}
        else:
            changed = {lead_id: stands for lead_id, stands in now.items() if told.get(lead_id) != stands}
            gone = {lead_id: self._board.why_gone(lead_id) for lead_id in told if lead_id not in now}
            if not changed and not gone:
                return None
            document = {"whole": False, "leads": changed, "gone": gone}
        return b"event: standing\ndata: " + orjson.dumps(document) + b"\n\n"


async def _end(task: "asyncio.Task[None]") -> None:
    """Ends a task for certain: a wait with a timeout that is just over takes a cancellation for its own and goes on."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_CANCEL_SECONDS)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a stream of leads failed", exc_info=error, extra={"action": "it is ended, to be tried again"})
