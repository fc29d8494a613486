"""The way in and out: signing in and out, language and theme, the first screen, and what is not well right now."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.api.errors import INVALID, UNAUTHENTICATED, ApiError
from services.api.screens.desk import NAVIGATION, PAGE_HEADERS, Desk
from services.api.screens.sessions import SESSION_SECONDS, cookie_name
from services.api.screens.visits import (
    LOCALE_COOKIE,
    THEME_COOKIE,
    THEMES,
    Visit,
    local_path,
    on_loopback,
    read_form,
    require_same_origin,
)
from services.api.screens.words import LOCALES
from services.ports import StoreUnavailable

MOST_NAME = 60
PREFERENCE_SECONDS = 365 * 86_400
_STATUS_SECONDS = 2.0
_CHECK_SECONDS = 0.5


def entrance_routes(desk: Desk) -> APIRouter:
    """`/`, `/sign-in`, `/sign-out`, `/preferences` and `/screens/status`."""
    router = desk.router()
    anyone = Depends(desk.visitor())

    @router.get("/")
    async def start(visit: Annotated[Visit, anyone]) -> Response:
        first = next((path for _, path, scope in NAVIGATION if scope in visit.client.scopes), None)
        if first is None:
            return desk.page(visit, "nothing_to_see.html")
        return RedirectResponse(first, 303)

    _add_signing(router, desk)
    _add_preferences(router)
    _add_status(router, desk, anyone)
    return router


def _add_signing(router: APIRouter, desk: Desk) -> None:
    @router.get("/sign-in", name="sign_in")
    async def sign_in(request: Request) -> Response:
        return _sign_in_page(desk, request, local_path(request.query_params.get("next", "/")))

    @router.post("/sign-in")
    async def signing_in(request: Request) -> Response:
        require_same_origin(request)
        form = await read_form(request)
        target = local_path(form.one("next", "/"))
        secret = form.one("secret")
        if not secret or (desk.sessions.by_name and (len(secret) > MOST_NAME or not secret.isprintable())):
            return _sign_in_page(desk, request, target, problem="missing")
        try:
            token = await desk.sessions.sign_in(secret)
        except ApiError as error:
            if error.kind is not UNAUTHENTICATED:
                raise
            return _sign_in_page(desk, request, target, problem="unknown")
        except StoreUnavailable:
            return _sign_in_page(desk, request, target, problem="unavailable")
        response = RedirectResponse(target, 303)
        _set_cookie(response, request, cookie_name(request), token, SESSION_SECONDS)
        return response

    @router.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        require_same_origin(request)
        await desk.sessions.sign_out(request)
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(cookie_name(request), path="/", secure=not on_loopback(request), httponly=True)
        return response


def _sign_in_page(desk: Desk, request: Request, target: str, problem: str | None = None) -> Response:
    status = {None: 200, "missing": 422, "unknown": 401, "unavailable": 503}[problem]
    return HTMLResponse(
        desk.render_for(request, None, "sign_in.html", next=target, problem=problem), status, PAGE_HEADERS
    )


def _add_preferences(router: APIRouter) -> None:
    @router.post("/preferences")
    async def preferences(request: Request) -> Response:
        require_same_origin(request)
        form = await read_form(request)
        response = RedirectResponse(_back(request), 303)
        for name, cookie, known in (("locale", LOCALE_COOKIE, LOCALES), ("theme", THEME_COOKIE, THEMES)):
            if chosen := form.one(name):
                if chosen not in known:
                    raise ApiError(INVALID, f"The {name} is one of {', '.join(known)}.")
                _set_cookie(response, request, cookie, chosen, PREFERENCE_SECONDS)
        if form.one("back"):
            response.headers["location"] = local_path(form.one("back"))
        return response


def _back(request: Request) -> str:
    referrer = urlsplit(request.headers.get("referer", ""))
    return local_path(referrer.path) if referrer.netloc == request.headers.get("host") else "/"


@dataclass(slots=True)
class _Status:
    """What is not well, looked at anew after a while; every person at every screen asks."""

    desk: Desk
    troubles: tuple[str, ...] = ()
    until_s: float = 0.0
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def now(self) -> tuple[str, ...]:
        """Words' keys below `status.`."""
        async with self.looking:
            if time.monotonic() >= self.until_s:
                self.troubles = await self._look()
                self.until_s = time.monotonic() + _STATUS_SECONDS
            return self.troubles

    async def _look(self) -> tuple[str, ...]:
        runtime = self.desk.runtime
        results = await asyncio.gather(
            *(asyncio.wait_for(check(), _CHECK_SECONDS) for check in runtime.checks.values()), return_exceptions=True
        )
        found = [
            name for name, result in zip(runtime.checks, results, strict=True) if isinstance(result, BaseException)
        ]
        if runtime.pending() is not None:
            found.append("strategy_pending")
        if runtime.volumes is not None and runtime.volumes.rebuilding:
            found.append("volumes_rebuilding")
        return tuple(found)


def _add_status(router: APIRouter, desk: Desk, anyone: object) -> None:
    status = _Status(desk)

    @router.get("/screens/status", dependencies=[anyone])  # type: ignore[list-item]
    async def now(request: Request) -> Response:
        return HTMLResponse(desk.render_for(request, None, "status.html", troubles=await status.now()))


def _set_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=not on_loopback(request), httponly=True, samesite="strict"
    )
