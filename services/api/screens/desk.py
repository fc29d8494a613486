"""What every screen stands on: its pages and fragments, who visits them, and how they fail in plain words."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context

from services.api.authentication import ApiScope, Client
from services.api.errors import PROBLEM_JSON, UNAUTHENTICATED, ApiError, Problem, problem_of
from services.api.runtime import ApiRuntime
from services.api.screens import formats
from services.api.screens.sessions import Sessions
from services.api.screens.static_files import static_address
from services.api.screens.visits import (
    Visit,
    is_fragment,
    locale_of,
    require_same_origin,
    theme_of,
)
from services.api.screens.words import LOCALES, load_words
from services.ports import SessionStore, ShellError

_log = logging.getLogger(__name__)
NAVIGATION: tuple[tuple[str, str, ApiScope], ...] = (
    ("agent", "/agent", ApiScope.SERVE),
    ("inbox", "/inbox", ApiScope.SERVE),
    ("console", "/console", ApiScope.READ),
    ("map", "/map", ApiScope.READ),
)
"""Screens by name, with the path and the scope without which a person does not see the way there."""

PAGE_HEADERS = {"referrer-policy": "same-origin"}
"""Otherwise browsers would not say where a page's own forms come from; other sites still learn nothing."""


class _CompiledTemplates(BytecodeCache):
    """Templates compiled once a process, by their text."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Gives the bucket what is known of its very text."""
        known = self._known.get((bucket.key, bucket.checksum))
        if known is not None:
            bucket.bytecode_from_string(known)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keeps it."""
        self._known[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


async def _tried(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await work()
    except ShellError as error:
        _log.warning("a screen could not be made ready: %s", error, extra={"action": "its first page takes longer"})


@cache
def _compiled() -> _CompiledTemplates:
    return _CompiledTemplates()


class Desk:
    """Renders templates of `services/web/templates` for a visit, and tells who visits. `store` holds the sessions."""

    def __init__(self, runtime: ApiRuntime, store: SessionStore) -> None:
        self.runtime = runtime
        self.sessions = Sessions(store, runtime.authenticator)
        self.words = load_words()
        self._before_use: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._templates = self._environment()
        # What a node shows is fixed as it starts, and no visit waits for it.
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    def before_use(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Has it done, once, beside the first page anybody is shown: whoever signs in need not wait for it later."""
        self._before_use.append(work)

    def _begin(self) -> None:
        while self._before_use:
            task = asyncio.create_task(_tried(self._before_use.pop()))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    def visitor(self, *scopes: ApiScope) -> Callable[[Request], Awaitable[Visit]]:
        """A dependency: the signed-in person, who needs all of these scopes. A changing request must come from these
        screens. Raises ApiError, StoreUnavailable."""

        async def visit_of(request: Request) -> Visit:
            if request.method not in ("GET", "HEAD"):
                require_same_origin(request)
            client = await self.sessions.client(request)
            for scope in scopes:
                client.require(scope)
            return Visit(client=client, locale=locale_of(request), theme=theme_of(request), request=request)

        return visit_of

    def router(self, prefix: str = "", *scopes: ApiScope) -> APIRouter:
        """Routes whose failures are answered as pages where a page was asked for. With scopes every route is guarded
        by them, beside what it asks for itself."""
        guards = [Depends(self.visitor(*scopes))] if scopes else []
        return APIRouter(prefix=prefix, include_in_schema=False, route_class=self._route_class(), dependencies=guards)

    def page(self, visit: Visit, template: str, *, status: int = 200, **values: object) -> Response:
        """A whole page: a template that extends `layout.html`."""
        return HTMLResponse(self.render(visit, template, **values), status, PAGE_HEADERS)

    def fragment(self, visit: Visit, template: str, *, status: int = 200, **values: object) -> Response:
        """A part of a page, for base.js to put where it belongs."""
        return HTMLResponse(self.render(visit, template, **values), status)

    def render(self, visit: Visit, template: str, **values: object) -> str:
        """The template's text for the visit."""
        return self.render_for(visit.request, visit.client, template, **values)

    def render_for(self, request: Request, client: Client | None, template: str, **values: object) -> str:
        """The same for whoever is there; nobody, before they sign in."""
        self._begin()
        around = {
            "locale": locale_of(request),
            "theme": theme_of(request),
            "person": client,
            "path": request.url.path,
            "navigation": [] if client is None else [row for row in NAVIGATION if row[2] in client.scopes],
            "locales": LOCALES,
            "open_access": self.sessions.by_name,
        }
        return self._templates.get_template(template).render({**around, **values})

    def refusal(self, request: Request, error: Exception) -> Response:
        """The answer to a failure: to sign in, a page that says what happened, or a problem document in the person's
        language."""
        problem = problem_of(error)
        if isinstance(error, ApiError) and error.kind is UNAUTHENTICATED and not is_fragment(request):
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/sign-in?{urlencode({'next': target})}", 303)
        document = self._in_words(problem, locale_of(request))
        headers = {name.decode(): value.decode() for name, value in problem.headers}
        if is_fragment(request):
            return Response(orjson.dumps(document), problem.status, headers, PROBLEM_JSON.decode())
        page = self.render_for(request, None, "refusal.html", problem=document)
        return HTMLResponse(page, problem.status, PAGE_HEADERS | headers)

    def _in_words(self, problem: Problem, locale: str) -> dict[str, Any]:
        """The problem document with a title of the screens' words where there is one for its kind."""
        document: dict[str, Any] = orjson.loads(problem.body)
        key = f"problems.{str(document['type']).rpartition(':')[2]}"
        if self.words.has(key):
            document["title"] = self.words.text(key, locale)
        return document

    def _route_class(self) -> type[APIRoute]:
        refusal = self.refusal

        class ScreenRoute(APIRoute):
            """Answers what goes wrong behind it."""

            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handler = super().get_route_handler()

                async def handle(request: Request) -> Response:
                    try:
                        return await handler(request)
                    except Exception as error:
                        if problem_of(error).status == 500:
                            raise  # logged by the front door, with its trace
                        return refusal(request, error)

                return handle

        return ScreenRoute

    def _environment(self) -> Environment:
        templates = Environment(
            loader=PackageLoader("services.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
            bytecode_cache=_compiled(),
        )
        words = self.words

        @pass_context
        def text(context: Context, key: str, **values: object) -> str:
            return words.text(key, context["locale"], **values)

        templates.globals["t"] = text
        templates.globals["static"] = static_address
        templates.globals["has_words"] = self.words.has
        templates.filters.update(self._filters())
        return templates

    def _filters(self) -> Mapping[str, Callable[..., str]]:
        """Formats by the visit's language, and by the bank's currency, time zone and clock."""
        runtime = self.runtime

        def currency() -> str:
            return runtime.live().prepared.strategy.currency

        def when(context: Context, at: str | int) -> str:
            return formats.moment(at, context["locale"], runtime.live().prepared.zone, runtime.clock.now_ms())

        return {
            "money": lambda minor: formats.money(minor, currency()),
            "short_money": pass_context(lambda c, minor: formats.short_money(minor, currency(), c["locale"])),
            "number": formats.number,
            "short_number": pass_context(lambda c, value: formats.short_number(value, c["locale"])),
            "percent": formats.percent,
            "when": pass_context(when),
            "since": pass_context(lambda c, at: formats.since(at, c["locale"], runtime.clock.now_ms())),
            "length": pass_context(lambda c, ms: formats.length(ms, c["locale"])),
            "localized": pass_context(lambda c, texts, default="": formats.localized(texts, c["locale"], default)),
        }
