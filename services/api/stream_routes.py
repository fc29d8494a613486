"""`GET /v1/stream`: outbound decisions for a screen, as they come (docs/delivery.md)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response

from services.api.authentication import ApiScope, Client
from services.api.callers import access_holds, identified
from services.api.customer_guard import CustomerGuard
from services.api.errors import FORBIDDEN, INVALID, UNAVAILABLE, ApiError, FieldError
from services.api.routes import may_stay
from services.api.runtime import ApiRuntime
from services.api.stream_cursor import Cursor, CursorInvalid, read_cursor
from services.api.stream_replay import LogReplay
from services.api.stream_response import EventStreamResponse, StreamAdmission
from services.api.stream_session import Audience, StreamSession

ChannelText = Annotated[str, Query(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="The channel the screen serves")]
RecipientText = Annotated[
    str | None,
    Query(min_length=1, max_length=256, description="Only what is for this one, or for nobody in particular"),
]
CustomerText = Annotated[
    str | None, Query(pattern=r"^(retail|corp):[A-Za-z0-9_-]{1,64}$", description="Only what is about this customer")
]
LastEventId = Annotated[str | None, Header(max_length=8_192, description="Goes on exactly behind that event")]
_DESCRIPTION = (
    "Server-sent events `offered`, `cancelled`, `expired` and `gap`. The id of each is a place in the log: sent back "
    "as Last-Event-ID, to any node, the stream goes on behind it."
)


def stream_routes(runtime: ApiRuntime) -> APIRouter:
    """The stream."""
    router = APIRouter(prefix="/v1", tags=["delivery"])
    admission = StreamAdmission(runtime.stream_limits, runtime.metrics)
    replay = None if runtime.outbound is None else LogReplay(runtime.outbound)
    reader, guard = Depends(may_stay(runtime, ApiScope.READ)), CustomerGuard.of(runtime)
    answers: dict[int | str, dict[str, object]] = {
        200: {"description": "The stream", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    }

    @router.get(
        "/stream",
        summary="Outbound decisions for a screen, as they come",
        description=_DESCRIPTION,
        response_class=Response,
        responses=answers,
    )
    async def stream(
        request: Request,
        client: Annotated[Client, reader],
        channel: ChannelText,
        recipient: RecipientText = None,
        customer_id: CustomerText = None,
        last_event_id: LastEventId = None,
    ) -> Response:
        _check_channel(runtime, client, channel)
        if customer_id is not None:
            await guard.require(client, customer_id)
        cursor = cursor_of(last_event_id)
        if runtime.outbound is None or replay is None or runtime.outbound.ending.is_set():
            raise ApiError(UNAVAILABLE, "This node does not follow the outbound topic now.")
        give_back = admission.admit(client)
        seen = None if customer_id is not None else client.customers  # the one asked for is in scope already
        audience = Audience(channel=channel, recipient=recipient, customer_id=customer_id, customers=seen)
        limits = runtime.stream_limits
        session = StreamSession(runtime.outbound, replay, audience, cursor, limits.heartbeat_s)
        holds = access_holds(lambda: identified(runtime, request.scope))
        return EventStreamResponse(session.frames(), limits, runtime.metrics, give_back, holds)

    return router


def _check_channel(runtime: ApiRuntime, client: Client, channel: str) -> None:
    if not client.speaks_for(channel):
        raise ApiError(FORBIDDEN, "The client does not speak for this channel.")
    placements = runtime.live().prepared.strategy.placements.values()
    if all(placement.channel != channel for placement in placements):
        error = FieldError("channel", "unknown_channel", "The strategy has no placement in this channel")
        raise ApiError(INVALID, "See errors.", [error])


def cursor_of(text: str | None) -> Cursor | None:
    """Where the reader stands. An empty id is that of a stream that had sent none."""
    if not text:
        return None
    try:
        return read_cursor(text)
    except CursorInvalid:
        error = FieldError("Last-Event-ID", "unknown_cursor", "Not an id of this stream; leave it out to begin anew")
        raise ApiError(INVALID, "See errors.", [error]) from None
