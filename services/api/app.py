"""The HTTP application: the front door with the hot routes, and FastAPI behind it."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from services.api.allowed_methods import allowed_methods
from services.api.attribution_routes import attribution_routes
from services.api.decision_log_routes import decision_log_routes
from services.api.errors import (
    INVALID,
    MAX_FIELDS,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PROBLEM_JSON,
    TABLE,
    ApiError,
    FieldError,
    Problem,
    path_text,
    problem_of,
    problem_of_status,
)
from services.api.failure_counting import counting_failures
from services.api.front_door import AsgiApp, FrontDoor
from services.api.governance_routes import governance_routes
from services.api.hot_routes import HotRoutes
from services.api.openapi import API_VERSION, openapi_document
from services.api.privacy_routes import privacy_routes
from services.api.routes import event_routes, operating_routes, reading_routes
from services.api.runtime import ApiRuntime
from services.api.screens.screens import screen_routes
from services.api.strategy_routes import strategy_routes
from services.api.stream_routes import stream_routes
from services.use_cases.explain_decision import DecisionUnknown


def create_app(runtime: ApiRuntime) -> AsgiApp:
    """The ASGI application over open ports."""
    runtime.metrics.gauge("strategy_info", 1, version=runtime.live().prepared.strategy.version)
    hot = HotRoutes(runtime).by_path()
    return counting_failures(FrontDoor(hot, framework_app(runtime)), frozenset(hot), runtime.metrics)


def framework_app(runtime: ApiRuntime) -> FastAPI:
    """The routes that FastAPI serves, with its error answers replaced by problem documents."""
    app = FastAPI(title="Kairos", version=API_VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    document: dict[str, object] = {}

    def openapi() -> dict[str, object]:
        if not document:
            document.update(openapi_document(app))
        return document

    app.include_router(reading_routes(runtime))
    app.include_router(event_routes(runtime))
    app.include_router(privacy_routes(runtime))
    app.include_router(stream_routes(runtime))
    app.include_router(attribution_routes(runtime))
    app.include_router(decision_log_routes(runtime))
    app.include_router(strategy_routes(runtime))
    if runtime.governance is not None:
        app.include_router(governance_routes(runtime, runtime.governance))
    if runtime.sessions is not None:
        app.include_router(screen_routes(runtime, runtime.sessions))
    app.include_router(operating_routes(runtime, openapi))
    for error in (ApiError, DecisionUnknown, Exception, *(row[0] for row in TABLE)):
        app.add_exception_handler(error, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _status_answers(openapi))
    return app


async def _answer_error(_: Request, error: Exception) -> Response:
    if isinstance(error, DecisionUnknown):
        error = ApiError(NOT_FOUND, "No record of this decision is kept.")
    return _response(problem_of(error))


async def _answer_invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # The first step of the framework's location says where the field stood (path, query), not what it is called.
    errors = [
        FieldError(path_text(found["loc"][1:]), found["type"], found["msg"]) for found in error.errors()[:MAX_FIELDS]
    ]
    return _response(problem_of(ApiError(INVALID, "See errors.", errors)))


def _status_answers(openapi: Callable[[], dict[str, object]]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Answers to bare statuses, as the framework raises them. Of an address with several methods it knows only some."""
    allowed: list[Callable[[str], str | None]] = []

    async def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        headers = dict(error.headers or {})
        if error.status_code == METHOD_NOT_ALLOWED.status:
            if not allowed:
                allowed.append(allowed_methods(openapi()))
            headers["allow"] = allowed[0](request.url.path) or headers.get("allow", "GET, HEAD")
            headers.pop("Allow", None)
        return _response(problem_of_status(error.status_code), headers)

    return answer


def _response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    extra = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(
        problem.body, problem.status, headers={**(headers or {}), **extra}, media_type=PROBLEM_JSON.decode()
    )
