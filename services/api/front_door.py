"""The outermost ASGI application: hot routes first, then the framework; security headers and problems on all."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from services.api.bodies import Message, Receive, Scope, Send
from services.api.errors import METHOD_NOT_ALLOWED, OVERLOADED_NODE, PROBLEM_JSON, ApiError, Problem, problem_of
from services.api.hot_routes import HotRoute
from services.api.load_gate import HOT_PATHS
from services.api.stream_response import BODILESS

AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
)
SHED = "kairos.shed"
"""In the scope of a request that was refused for want of room: no failure, and counted elsewhere."""
_HOT_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
"""Answers that are never rendered as pages need no more than these."""
_log = logging.getLogger(__name__)


class FrontDoor:
    """Takes every connection. `inner` serves whatever is not hot."""

    def __init__(self, hot: Mapping[str, HotRoute], inner: AsgiApp) -> None:
        self._hot = hot
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        route = self._hot.get(scope["path"])
        if route is None:
            await self._serve_inner(scope, receive, send)
        elif scope["method"] != "POST":
            problem = problem_of(ApiError(METHOD_NOT_ALLOWED, "Use POST."))
            await _send(send, problem.status, (*_problem_headers(problem), (b"allow", b"POST")), problem.body)
        else:
            await _serve_hot(route, scope, receive, send)

    async def _serve_inner(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, bodiless = False, scope["method"] == "HEAD"
        if bodiless:  # whatever can be got can be asked for without its body, as balancers and uptime checks do
            scope = {**scope, "method": "GET", BODILESS: True}

        async def send_secured(message: Message) -> None:
            nonlocal started
            if bodiless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                started = True
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in SECURITY_HEADERS if header[0] not in present),
                ]
            await send(message)

        try:
            await self._inner(scope, receive, send_secured)
        except Exception as error:  # noqa: BLE001 - the top-level handler: nothing may reach the server unanswered
            problem = _problem(error, scope)
            if not started:
                await _send(send, problem.status, _problem_headers(problem), problem.body)


async def _serve_hot(route: HotRoute, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        answer = await route(scope, receive)
    except Exception as error:  # noqa: BLE001 - the top-level handler
        scope[SHED] = isinstance(error, ApiError) and error.kind is OVERLOADED_NODE
        problem = _problem(error, scope)
        await _send(send, problem.status, _problem_headers(problem), problem.body)
        return
    await _send(send, answer.status, _HOT_HEADERS, answer.body)


def _problem(error: Exception, scope: Scope) -> Problem:
    """The problem document; what nobody expected is logged with its trace, without what was sent."""
    problem = problem_of(error)
    if problem.status == 500:
        # Paths hold what people typed, so the route is named instead.
        route = scope["path"] if scope["path"] in HOT_PATHS else getattr(scope.get("route"), "path", "unknown")
        _log.error("a request failed", exc_info=error, extra={"action": f"{scope['method']} {route}"})
    return problem


def _problem_headers(problem: Problem) -> tuple[Header, ...]:
    return ((b"content-type", PROBLEM_JSON), *_HOT_HEADERS[1:], *problem.headers)


async def _send(send: Send, status: int, headers: tuple[Header, ...], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
